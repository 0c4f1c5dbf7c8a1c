package diskslow

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets/docker"
)

// A container's root is an overlay on the host's own disk. That of the container
// alone is slow.
func TestARootOfAContainerIsSlowForItAlone(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedDocker(t)
	name := fmt.Sprintf("dapple-diskslow-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	out, err := exec.Command("docker", "run", "-d", "--name", name, "--label", "dapple.testrun="+os.Getenv("DAPPLE_TEST_RUN"), "--network", "none",
		"debian:trixie-slim", "sleep", "600").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "rm", "-f", name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	e, err := docker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	nodes, err := e.Find(t.Context(), docker.Query{Names: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	n := nodes[0]
	inj := injectors.Of(kind, newSlower(Params{Path: "/var/lib", Write: Rate{"1MiB/s", 1 << 20}}))
	f := proven(t, inj, n)
	begin := time.Now()
	if out, err := exec.Command("docker", "exec", name, "dd", "if=/dev/zero", "of=/var/lib/victim", "bs=64k", "count=16", "conv=fsync").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if took := time.Since(begin); took < 700*time.Millisecond {
		t.Errorf("a megabyte at 1 MiB/s was written and synced in %v", took)
	}
	if err := inj.Revert(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	if ok, proof, err := inj.(injectors.Reverted).Reverted(t.Context(), n, f); !ok || err != nil {
		t.Errorf("%v, %q, %v", ok, proof, err)
	}
}
