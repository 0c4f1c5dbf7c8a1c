package pause

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A child is a node that is a child process of the test and what it started, in a
// process group of their own.
type child struct{ main targets.ProcID }

// newChild starts sh with the script, in the control group dir if there is one.
func newChild(t *testing.T, script, dir string) *child {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read go; "+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	t.Cleanup(func() {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // it may be gone
		_ = cmd.Wait()
	})
	if dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	id, err := kernel.Identity(pid)
	if err != nil {
		t.Fatal(err)
	}
	return &child{id}
}

func (c *child) Name() string { return "n1" }

func (c *child) Exec(context.Context, ...string) ([]byte, error) {
	return nil, errors.New("not needed")
}

func (c *child) Processes(context.Context) (list []targets.Proc, err error) {
	all, err := kernel.Procs(kernel.Filter{Keep: func(p kernel.Proc) bool {
		group, err := syscall.Getpgid(p.PID)
		return err == nil && group == c.main.PID && p.State != "Z"
	}})
	for _, p := range all {
		if p.Main = p.ProcID == c.main; p.Main {
			list = slices.Insert(list, 0, p.Proc)
		} else {
			list = append(list, p.Proc)
		}
	}
	return list, err
}

func (c *child) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return kernel.Hold(ctx, id)
}

// waitFor waits until the node has n processes or more.
func (c *child) waitFor(t *testing.T, n int) {
	t.Helper()
	until(t, fmt.Sprintf("there are %d processes", n), func() (bool, error) {
		all, err := c.Processes(t.Context())
		return len(all) >= n, err
	})
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

type held struct {
	inj injectors.Injector
	n   targets.Node
	f   injectors.Fault
}

// paused plans, injects, and returns once the fault holds.
func paused(t *testing.T, n targets.Node, with string) held {
	t.Helper()
	p, err := made(with)
	if err != nil {
		t.Fatal(err)
	}
	inj := injectors.Of(kind, newPauser(p))
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}, Processes: map[string][]string{"server": {"server"}}})
	if err != nil {
		t.Fatal(err)
	}
	h := held{inj, n, faults[0]}
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

func (h held) isHeld(t *testing.T) bool {
	t.Helper()
	held, proof, err := h.inj.Effect(t.Context(), h.n, h.f)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(proof)
	return held
}

// reverted reverts twice by the record alone, as dapple revert does.
func (h held) reverted(t *testing.T) {
	t.Helper()
	inj := Kind().Reopen()
	for range 2 {
		if err := inj.Revert(t.Context(), h.n, h.f); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "it is taken back", func() (bool, error) {
		ok, proof, err := inj.(injectors.Reverted).Reverted(t.Context(), h.n, h.f)
		return ok, errors.Join(err, errors.New(proof))
	})
}

// counter is a script that counts in a file for as long as it runs.
func counter(file string) string {
	return "i=0; while :; do i=$((i+1)); echo $i > " + file + "; done"
}

func count(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func goesOn(t *testing.T, file string) {
	t.Helper()
	was := count(t, file)
	until(t, "the counter goes on", func() (bool, error) {
		now := count(t, file)
		return now != was && now != "", nil
	})
}

func standsStill(t *testing.T, file string) {
	t.Helper()
	was := count(t, file)
	<-time.After(50 * time.Millisecond) // a process that runs counts thousands of times
	if now := count(t, file); now != was {
		t.Errorf("a paused process went on from %q to %q", was, now)
	}
}

func TestARealProcessStandsStillAndGoesOn(t *testing.T) {
	for _, with := range []string{`{}`, `{"process": "all"}`} {
		t.Run(with, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "count")
			n := newChild(t, "("+counter(file)+") & wait", "")
			n.waitFor(t, 2)
			until(t, "it counts", func() (bool, error) { _, err := os.Stat(file); return err == nil, err })
			h := paused(t, n, with)
			standsStill(t, file)
			h.reverted(t)
			goesOn(t, file)
		})
	}
}

// Four shells start a process after the other, so that at every moment some are
// just being made.
func TestProcessesThatForkWhileTheyAreStoppedAreAllCaught(t *testing.T) {
	n := newChild(t, "for i in 1 2 3 4; do (while :; do (true); (:; true) & wait; done) & done; wait", "")
	n.waitFor(t, 5)
	for range 20 {
		h := paused(t, n, `{}`)
		all, err := n.Processes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			if states, err := kernel.Threads(p.ProcID); err != nil || strings.Trim(states, "TZX") != "" {
				t.Fatalf("%+v: threads %q, %v", p, states, err)
			}
		}
		h.reverted(t)
	}
}

func TestAloneMeansWithoutTheDescendants(t *testing.T) {
	file := filepath.Join(t.TempDir(), "count")
	n := newChild(t, "("+counter(file)+") & wait", "")
	n.waitFor(t, 2)
	until(t, "it counts", func() (bool, error) { _, err := os.Stat(file); return err == nil, err })
	h := paused(t, n, `{"tree": false}`)
	goesOn(t, file)
	h.reverted(t)
}

func TestContinuedByOthersIsSeenAsAHole(t *testing.T) {
	n := newChild(t, "sleep 600 & wait", "")
	n.waitFor(t, 2)
	h := paused(t, n, `{}`)
	if !h.isHeld(t) {
		t.Fatal("not held")
	}
	if err := syscall.Kill(n.main.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "it is seen", func() (bool, error) { return !h.isHeld(t), nil })
	h.reverted(t)
}

func TestAProcessThatRunsGetsNoSignalWhenItIsTakenBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "continued")
	n := newChild(t, "trap 'echo yes > "+file+"' CONT; while :; do sleep 0.01; done", "")
	n.waitFor(t, 2)
	p, err := made(`{"tree": false}`)
	if err != nil {
		t.Fatal(err)
	}
	inj := injectors.Of(kind, newPauser(p))
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	if err := inj.Revert(t.Context(), n, faults[0]); err != nil { // Inject never ran
		t.Fatal(err)
	}
	<-time.After(50 * time.Millisecond)
	if _, err := os.Stat(file); err == nil {
		t.Error("it was sent SIGCONT")
	}
}
