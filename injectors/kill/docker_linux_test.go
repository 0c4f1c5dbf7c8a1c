package kill_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/kill"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

// supervised is a container whose pid 1 is a shell that keeps a server.
const supervised = "cp /bin/sleep /tmp/server; while :; do /tmp/server 600; done"

// container starts one that is gone when the test ends.
func container(t testing.TB, policy, script string) *docker.Node {
	t.Helper()
	testenv.NeedDocker(t)
	name := fmt.Sprintf("dapple-kill-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	out, err := exec.Command("docker", "run", "-d", "--name", name, "--network", "none", "--restart", policy, "debian:trixie-slim", "sh", "-c", script).CombinedOutput()
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

type held struct {
	inj  injectors.Injector
	n    *docker.Node
	f    injectors.Fault
	seen chan injectors.Sighting
	stop func()
	was  targets.State
}

// made plans, watches, injects, and returns once the fault holds.
func made(t *testing.T, n *docker.Node, with string) *held {
	t.Helper()
	inj, err := kill.Kind().New(func(into any) error { return json.Unmarshal([]byte(with), into) })
	if err != nil {
		t.Fatal(err)
	}
	awaitServer(t, n)
	aim := injectors.Aim{On: []targets.Node{n}, Processes: map[string][]string{"server": {"server"}}}
	faults, err := inj.Plan(t.Context(), aim)
	if err != nil {
		t.Fatal(err)
	}
	h := &held{inj: inj, n: n, f: faults[0], seen: make(chan injectors.Sighting, 100)}
	if h.was, err = n.State(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- inj.(injectors.Watcher).Watch(ctx, n, h.f, func(s injectors.Sighting) { h.seen <- s })
	}()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	begin := time.Now()
	if err := inj.Inject(t.Context(), n, h.f); err != nil {
		t.Fatal(err)
	}
	until(t, "the fault holds", func() (bool, error) {
		held, proof, err := inj.Effect(t.Context(), n, h.f)
		return held, errors.Join(err, errors.New(proof))
	})
	t.Logf("%s: effect after at most %v", h.f.Does, time.Since(begin).Round(10*time.Microsecond))
	return h
}

func awaitServer(t testing.TB, n *docker.Node) {
	t.Helper()
	until(t, "the server runs", func() (bool, error) {
		procs, err := n.Processes(t.Context())
		return slices.ContainsFunc(procs, func(p targets.Proc) bool { return p.Name == "server" }), err
	})
}

// reverted reverts twice, and sees that the node runs.
func (h *held) reverted(t *testing.T) {
	t.Helper()
	for range 2 {
		if err := h.inj.Revert(t.Context(), h.n, h.f); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "it is reverted", func() (bool, error) {
		ok, proof, err := h.inj.(injectors.Reverted).Reverted(t.Context(), h.n, h.f)
		return ok, errors.Join(err, errors.New(proof))
	})
}

func (h *held) restart(t *testing.T, by string) {
	t.Helper()
	select {
	case s := <-h.seen:
		if s.What != "restart" || s.By != by {
			t.Errorf("%+v, want a restart by %s", s, by)
		}
		t.Logf("%s, within %v", s.Evidence, s.Hi.Sub(s.Lo).Round(time.Millisecond))
	case <-time.After(30 * time.Second):
		t.Fatalf("no restart by %s was seen within 30 s", by)
	}
}

func until(t testing.TB, what string, ok func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
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

func TestAContainerWithoutAPolicyStaysDeadUntilDappleStartsIt(t *testing.T) {
	for _, with := range []string{`{}`, `{"process": "all"}`, `{"mode": "fence"}`} {
		t.Run(with, func(t *testing.T) {
			h := made(t, container(t, "no", supervised), with)
			if !h.f.NodeDead || !h.f.Momentary {
				t.Errorf("%+v", h.f)
			}
			// At once: the engine may not have noticed.
			h.reverted(t)
			h.restart(t, "dapple")
			h.stop()
		})
	}
}

func TestAPolicyActsAfterACrashAndTheEngineIsNamed(t *testing.T) {
	h := made(t, container(t, "always", supervised), `{}`)
	h.restart(t, "engine")
	h.reverted(t)
	h.stop()
	if s, err := h.n.State(t.Context()); err != nil || s.Restarts != h.was.Restarts+1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAPolicyDoesNotActAfterAFence(t *testing.T) {
	h := made(t, container(t, "always", supervised), `{"mode": "fence"}`)
	select {
	case s := <-h.seen:
		t.Errorf("%+v", s)
	case <-time.After(2 * time.Second): // the policy acted after 0.35 to 0.43 s (injection §4)
	}
	h.reverted(t)
	h.restart(t, "dapple")
	h.stop()
}

func TestASupervisorInTheContainerIsTheManager(t *testing.T) {
	h := made(t, container(t, "no", supervised), `{"process": "server"}`)
	if h.f.NodeDead {
		t.Error("NodeDead is set")
	}
	h.restart(t, "manager")
	h.reverted(t)
	h.stop()
	if s, err := h.n.State(t.Context()); err != nil || s.Main != h.was.Main {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestProcessesOfAContainerAreStoppedAndContinued(t *testing.T) {
	for _, with := range []string{`{"signal": "STOP", "process": "server"}`, `{"signal": "STOP", "process": "all"}`, `{"signal": "STOP"}`} {
		t.Run(with, func(t *testing.T) {
			h := made(t, container(t, "no", supervised), with)
			h.reverted(t)
			if held, proof, err := h.inj.Effect(t.Context(), h.n, h.f); held || err != nil {
				t.Errorf("it still holds: %q, %v", proof, err)
			}
			h.stop()
		})
	}
}

func TestASignalThatTheKernelKeepsFromPid1IsRefused(t *testing.T) {
	n := container(t, "no", "exec sleep 600")
	inj, err := kill.Kind().New(func(into any) error { return json.Unmarshal([]byte(`{"signal": "TERM"}`), into) })
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it says why", func() (bool, error) {
		_, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
		return err != nil && strings.Contains(err.Error(), "pid 1 of its container"), err
	})
}
