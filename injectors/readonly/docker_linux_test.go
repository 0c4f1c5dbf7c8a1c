package readonly

import (
	"errors"
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

// A victim is a container whose main process has a file open and its working
// directory below /data.
type victim struct {
	name string
	node targets.Node
}

func started(t *testing.T) victim {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedDocker(t)
	name := fmt.Sprintf("dapple-readonly-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	out, err := exec.Command("docker", "run", "-d", "--name", name, "--label", "dapple.testrun="+os.Getenv("DAPPLE_TEST_RUN"), "--network", "none",
		"--tmpfs", "/data/below:size=1m", "debian:trixie-slim",
		"sh", "-c", "mkdir -p /data/db && cd /data/db && exec 5> open && while :; do echo x >&5; echo y > relative; sleep 0.05; done").CombinedOutput()
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
	v := victim{name, nodes[0]}
	until(t, "it runs", func() (bool, error) { out, err := v.sh("test -s /data/db/open"); return err == nil, errors.New(out) })
	return v
}

func (v victim) sh(script string) (string, error) {
	out, err := exec.Command("docker", "exec", v.name, "sh", "-c", script).CombinedOutput()
	return string(out), err
}

func until(t *testing.T, what string, ok func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for {
		done, err := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come to be that %s: %v", what, err)
		}
	}
}

func (v victim) mounts(t *testing.T) string {
	t.Helper()
	out, err := v.sh("cut -d' ' -f3- /proc/1/mountinfo")
	if err != nil {
		t.Fatal(err, out)
	}
	return out
}

func TestADirectoryOfAContainerIsReadOnlyForWhatComesLater(t *testing.T) {
	v := started(t)
	before := v.mounts(t)
	inj := injectors.Of(kind, newCoverer(Params{Path: "/data/db"}))
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{v.node}})
	if err != nil {
		t.Fatal(err)
	}
	f := faults[0]
	if held, proof, err := inj.Effect(t.Context(), v.node, f); held || err != nil {
		t.Errorf("before it was made: %v, %q, %v", held, proof, err)
	}
	begin := time.Now()
	if err := inj.Inject(t.Context(), v.node, f); err != nil {
		t.Fatal(err)
	}
	held, proof, err := inj.Effect(t.Context(), v.node, f)
	if !held || err != nil {
		t.Fatalf("%v, %q, %v", held, proof, err)
	}
	t.Logf("%s: in %v: %s", f.Does, time.Since(begin).Round(100*time.Microsecond), proof)
	if out, err := v.sh("echo z > /data/db/new"); err == nil || !strings.Contains(out, "Read-only file system") {
		t.Errorf("a new file: %q, %v", out, err)
	}
	// What is open, and what is reached from a working directory, goes on.
	size := func() string { out, err := v.sh("stat -c '%s %Y' /data/db/open"); return fmt.Sprint(out, err) }
	was := size()
	until(t, "the open file grows", func() (bool, error) { return size() != was, nil })
	// A process that is below the view now must not stay below it.
	stays := exec.Command("docker", "exec", v.name, "sh", "-c", "cd /data/db && while ! echo z > late 2>/dev/null; do sleep 0.05; done")
	if err := stays.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is there", func() (bool, error) {
		out, err := v.sh("grep -c 'while ! echo' /proc/*/cmdline")
		return err == nil, errors.New(out)
	})
	for range 2 {
		if err := Kind().Reopen().Revert(t.Context(), v.node, f); err != nil {
			t.Fatal(err)
		}
	}
	if ok, proof, err := inj.(injectors.Reverted).Reverted(t.Context(), v.node, f); !ok || err != nil {
		t.Errorf("%v, %q, %v", ok, proof, err)
	}
	if after := v.mounts(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if out, err := v.sh("echo z > /data/db/new"); err != nil {
		t.Errorf("afterwards: %q, %v", out, err)
	}
	if err := stays.Wait(); err != nil {
		t.Errorf("what was below the view: %v", err)
	}
}

func TestAContainerThatIsStartedAgainHasNoViewAndNothingToTakeBack(t *testing.T) {
	v := started(t)
	inj := injectors.Of(kind, newCoverer(Params{Path: "/data/db"}))
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{v.node}})
	if err != nil {
		t.Fatal(err)
	}
	if err := inj.Inject(t.Context(), v.node, faults[0]); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("docker", "restart", "-t", "0", v.name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if held, proof, err := inj.Effect(t.Context(), v.node, faults[0]); held || err != nil {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
	if err := inj.Revert(t.Context(), v.node, faults[0]); err != nil {
		t.Error(err)
	}
	if ok, proof, err := inj.(injectors.Reverted).Reverted(t.Context(), v.node, faults[0]); !ok || err != nil {
		t.Errorf("%v, %q, %v", ok, proof, err)
	}
}

func TestWhatWouldHideAMountIsRefused(t *testing.T) {
	v := started(t)
	for path, says := range map[string]string{"/data": "/data/below is mounted below", "/nowhere": "not there"} {
		if f, err := injectors.Of(kind, newCoverer(Params{Path: path})).Plan(t.Context(), injectors.Aim{On: []targets.Node{v.node}}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v; want %q", path, f, err, says)
		}
	}
}
