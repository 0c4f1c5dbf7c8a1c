package diskfill

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

func TestAVolumeOfAContainerIsFullForItAndItsOwnRootIsRefused(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedDocker(t)
	name := fmt.Sprintf("dapple-diskfill-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	out, err := exec.Command("docker", "run", "-d", "--name", name, "--label", "dapple.testrun="+os.Getenv("DAPPLE_TEST_RUN"), "--network", "none",
		"--tmpfs", "/data:size=16m,mode=777", "-v", "/var/data", "debian:trixie-slim", "sleep", "600").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "rm", "-f", "-v", name).CombinedOutput(); err != nil {
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
	for path, says := range map[string]string{"/": "no file system of its own", "/usr": "no file system of its own", "/var/data": "host's /"} {
		if err := planned(t, n, Params{Path: path}); !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "limit") {
			t.Errorf("%s: %v", path, err)
		}
	}
	inj := injectors.Of(kind, newFiller(Params{Path: "/data"}))
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	if err := inj.Inject(t.Context(), n, faults[0]); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := inj.Effect(t.Context(), n, faults[0]); !held || err != nil {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
	write := func() (string, error) {
		out, err := exec.Command("docker", "exec", "-u", "nobody", name, "sh", "-c", "head -c 1000000 /dev/zero > /data/victim").CombinedOutput()
		return string(out), err
	}
	if out, err := write(); err == nil || !strings.Contains(out, "No space left on device") {
		t.Errorf("a write inside: %q, %v", out, err)
	}
	if err := inj.Revert(t.Context(), n, faults[0]); err != nil {
		t.Fatal(err)
	}
	if out, err := write(); err != nil {
		t.Errorf("afterwards: %q, %v", out, err)
	}
}
