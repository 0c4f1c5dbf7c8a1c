package clockskew

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

// built compiles the victim: see the source for what it can be asked.
func built(t testing.TB, flags ...string) string {
	t.Helper()
	testenv.NeedCC(t)
	out := filepath.Join(t.TempDir(), "victim")
	args := append([]string{"-O1", "-pthread", "-o", out, "../../internal/vdso/testdata/victim.c"}, flags...)
	if text, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, text)
	}
	return out
}

// A child is a node that is a child process of the test, and its process group.
type child struct {
	t    testing.TB
	main targets.ProcID
	in   io.Writer
	out  *bufio.Reader
}

func newChild(t testing.TB, name string, args ...string) *child {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
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
	id, err := kernel.Identity(pid)
	if err != nil {
		t.Fatal(err)
	}
	return &child{t, id, in, bufio.NewReader(out)}
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

func (c *child) line() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the victim ended: %v", err)
	}
	return line
}

// said is how far some of its answers are from the truth, within that many ns.
type said struct {
	Realtime, Gettimeofday, Time, Monotonic [2]int64
	Calls, Wrong, Handled                   int64
}

func (c *child) ask(command string) (s said) {
	c.t.Helper()
	fmt.Fprintln(c.in, command)
	if err := json.Unmarshal([]byte(c.line()), &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// sees fails the test unless the victim sees that skew.
func (s said) sees(t testing.TB, want time.Duration) {
	t.Helper()
	for name, got := range map[string][2]int64{"clock_gettime": s.Realtime, "gettimeofday": s.Gettimeofday, "time": {s.Time[0] - 1e7, s.Time[1] + 1e7}} {
		if int64(want) < got[0] || int64(want) > got[1] {
			t.Errorf("%s is %v to %v from the truth, want %v", name, time.Duration(got[0]), time.Duration(got[1]), want)
		}
	}
	if s.Monotonic[0] > 0 || s.Monotonic[1] < 0 || s.Wrong != 0 {
		t.Errorf("%+v", s)
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

// A held fault is watched and renewed as by an agent, until the test ends or it is
// reverted.
type held struct {
	t    testing.TB
	inj  injectors.Injector
	n    targets.Node
	f    injectors.Fault
	stop func()
}

// skewed plans, injects, and returns once the fault holds.
func skewed(t testing.TB, n targets.Node, with string, lease time.Duration) *held {
	t.Helper()
	p, err := made(with)
	if err != nil {
		t.Fatal(err)
	}
	inj := injectors.Of(kind, newSkewer(p, kernelGround{}))
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	h := &held{t: t, inj: inj, n: n, f: faults[0]}
	if err := inj.(injectors.Renewer).Renew(t.Context(), n, h.f, lease); err != nil {
		t.Fatal(err)
	}
	h.watch(lease)
	begin := time.Now()
	if err := inj.Inject(t.Context(), n, h.f); err != nil {
		t.Fatal(err)
	}
	made := time.Since(begin)
	until(t, "the fault holds", func() (bool, error) {
		held, proof, err := inj.Effect(t.Context(), n, h.f)
		if held {
			t.Logf("made in %v, proven after %v: %s", made.Round(10*time.Microsecond), time.Since(begin).Round(10*time.Microsecond), proof)
		}
		return held, errors.Join(err, errors.New(proof))
	})
	return h
}

func (h *held) watch(lease time.Duration) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	watched, renewed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		_ = h.inj.(injectors.Watcher).Watch(ctx, h.n, h.f, func(injectors.Sighting) {}) // ends with ctx
	}()
	go func() {
		defer close(renewed)
		tick := time.NewTicker(lease / 5)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := h.inj.(injectors.Renewer).Renew(ctx, h.n, h.f, lease); err != nil && ctx.Err() == nil {
					h.t.Errorf("renewing: %v", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	h.stop = func() { cancel(); <-watched; <-renewed }
	h.t.Cleanup(h.stop)
}

// reverted reverts twice by the record alone, as dapple revert does.
func (h *held) reverted() {
	h.t.Helper()
	h.stop()
	inj := Kind().Reopen()
	for range 2 {
		if err := inj.Revert(h.t.Context(), h.n, h.f); err != nil {
			h.t.Fatal(err)
		}
	}
	ok, proof, err := inj.(injectors.Reverted).Reverted(h.t.Context(), h.n, h.f)
	if !ok || err != nil {
		h.t.Fatal(proof, err)
	}
	h.t.Log(proof)
}
