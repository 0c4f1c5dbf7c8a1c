package pause

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

// container starts one that is gone when the test ends.
func container(t testing.TB, script string) *docker.Node {
	t.Helper()
	testenv.NeedDocker(t)
	testenv.NeedRoot(t)
	name := fmt.Sprintf("dapple-pause-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	out, err := exec.Command("docker", "run", "-d", "--name", name, "--label", "dapple.testrun="+os.Getenv("DAPPLE_TEST_RUN"), "--network", "none", "debian:trixie-slim", "sh", "-c", script).CombinedOutput()
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
	return nodes[0].(*docker.Node)
}

// ticks is how much processor time the server has used.
func ticks(t *testing.T, n *docker.Node) string {
	t.Helper()
	all, err := n.Processes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", all[len(all)-1].PID))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestARealContainerStandsStillAndGoesOn(t *testing.T) {
	n := container(t, "cp /bin/sh /tmp/server; while :; do /tmp/server -c 'while :; do :; done'; done")
	until(t, "the server runs", func() (bool, error) {
		all, err := n.Processes(t.Context())
		return len(all) >= 2 && all[len(all)-1].Name == "server", err
	})
	main, err := n.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, with := range []string{`{}`, `{"process": "server"}`, `{"process": "all", "how": "freezer"}`} {
		t.Run(with, func(t *testing.T) {
			h := paused(t, n, with)
			t.Cleanup(func() { _ = h.inj.Revert(context.WithoutCancel(t.Context()), n, h.f) })
			was := ticks(t, n)
			<-time.After(50 * time.Millisecond)
			if now := ticks(t, n); now != was {
				t.Errorf("it used the processor:\n%s\n%s", was, now)
			}
			h.reverted(t)
			until(t, "it goes on", func() (bool, error) { return ticks(t, n) != was, nil })
		})
	}
	now, err := n.State(t.Context())
	if err != nil || now.Main != main.Main || now.Restarts != main.Restarts {
		t.Errorf("it is not the same container: %+v, %+v, %v", main, now, err)
	}
	// docker pause is the same freezer, and not ours to end.
	if out, err := exec.Command("docker", "pause", n.Container()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := Params{Process: "all", Tree: true, How: Freezer}
	if _, err := newPauser(p).planOne(t.Context(), n, nil); err == nil || errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("paused by others, yet planned: %v", err)
	}
	if out, err := exec.Command("docker", "unpause", n.Container()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
