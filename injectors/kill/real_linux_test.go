package kill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// A child is a node that is a child process of the test: the main one and what it
// started, in a process group of their own.
type child struct {
	script string

	mu  sync.Mutex
	cmd *exec.Cmd
	out chan struct{} // closed when it was reaped
}

var (
	_ targets.Processes = (*child)(nil)
	_ targets.Starter   = (*child)(nil)
)

// newChild starts sh with the script.
func newChild(t *testing.T, script string) *child {
	t.Helper()
	c := &child{script: script}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGCONT)
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // it may be gone
		<-c.out
	})
	return c
}

func (c *child) Name() string { return "n1" }

func (c *child) Exec(context.Context, ...string) ([]byte, error) {
	return nil, errors.New("not needed")
}

func (c *child) Start(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		select {
		case <-c.out:
		default:
			return nil
		}
	}
	cmd, out := exec.Command("sh", "-c", c.script), make(chan struct{})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait() // it is killed
		close(out)
	}()
	c.cmd, c.out = cmd, out
	return nil
}

func (c *child) State(context.Context) (targets.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.out:
		return targets.State{Policy: "no"}, nil
	default:
	}
	id, err := kernel.Identity(c.cmd.Process.Pid)
	if errors.Is(err, targets.ErrGone) {
		return targets.State{Policy: "no"}, nil
	}
	return targets.State{Running: true, Main: id, Policy: "no"}, err
}

func (c *child) Processes(ctx context.Context) ([]targets.Proc, error) {
	s, err := c.State(ctx)
	if err != nil || !s.Running {
		return nil, err
	}
	all, err := kernel.Procs(kernel.Filter{Keep: func(p kernel.Proc) bool {
		group, err := syscall.Getpgid(p.PID)
		return err == nil && group == s.Main.PID && p.State != "Z"
	}})
	var procs []targets.Proc
	for _, p := range all {
		if p.Main = p.ProcID == s.Main; p.Main {
			procs = slices.Insert(procs, 0, p.Proc)
		} else {
			procs = append(procs, p.Proc)
		}
	}
	return procs, err
}

func (c *child) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return kernel.Hold(ctx, id)
}

// waitFor waits until the node has n processes, and returns them.
func (c *child) waitFor(t *testing.T, n int) (procs []targets.Proc) {
	t.Helper()
	until(t, fmt.Sprintf("there are %d processes", n), func() (bool, error) {
		var err error
		procs, err = c.Processes(t.Context())
		return len(procs) == n, err
	})
	return procs
}

func ofPID(t *testing.T, pid int) targets.Proc {
	t.Helper()
	p, err := kernel.ReadProc(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p.Proc
}

func until(t *testing.T, what string, ok func() (bool, error)) {
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

// ordinary is an injector as the catalogue makes it.
func ordinary(t *testing.T, with string) injectors.Injector {
	t.Helper()
	p, err := made(t, with)
	if err != nil {
		t.Fatal(err)
	}
	return injectors.Of(kind, newKiller(p))
}

func planned(t *testing.T, inj injectors.Injector, n targets.Node, parts map[string][]string) injectors.Fault {
	t.Helper()
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}, Processes: parts})
	if err != nil {
		t.Fatal(err)
	}
	return faults[0]
}

// effect looks until the fault holds.
func effect(t *testing.T, inj injectors.Injector, n targets.Node, f injectors.Fault) {
	t.Helper()
	until(t, "the fault holds", func() (bool, error) {
		held, proof, err := inj.Effect(t.Context(), n, f)
		if err == nil && !held {
			err = errors.New(proof)
		}
		return held, err
	})
}

func TestRealProcessesDieAndTheNodeIsStartedAgain(t *testing.T) {
	for _, with := range []string{`{}`, `{"signal": "TERM"}`, `{"signal": "SEGV"}`} {
		t.Run(with, func(t *testing.T) {
			n := newChild(t, "exec sleep 600")
			n.waitFor(t, 1)
			inj := ordinary(t, with)
			f := planned(t, inj, n, nil)
			if err := inj.Inject(t.Context(), n, f); err != nil {
				t.Fatal(err)
			}
			effect(t, inj, n, f)
			// At once: the engine may not have noticed the death yet.
			if err := inj.Revert(t.Context(), n, f); err != nil {
				t.Fatal(err)
			}
			ok, proof, err := inj.(injectors.Reverted).Reverted(t.Context(), n, f)
			if !ok || err != nil {
				t.Errorf("%v, %q, %v", ok, proof, err)
			}
		})
	}
}

// Between the signal and the death the node still runs; a Revert that took that
// for the end of its work would leave it dead.
func TestRevertAtOnceAfterTheSignalLeavesTheNodeRunning(t *testing.T) {
	for range 50 {
		n := newChild(t, "exec sleep 600")
		was := n.waitFor(t, 1)[0]
		inj := ordinary(t, `{}`)
		f := planned(t, inj, n, nil)
		if err := inj.Inject(t.Context(), n, f); err != nil {
			t.Fatal(err)
		}
		if err := inj.Revert(t.Context(), n, f); err != nil {
			t.Fatal(err)
		}
		now, err := n.State(t.Context())
		if err != nil || !now.Running || now.Main == was.ProcID {
			t.Fatalf("%+v, %v; was %v", now, err, was.ProcID)
		}
	}
}

func TestAllRealProcessesDieAlsoThoseThatAreJustForked(t *testing.T) {
	n := newChild(t, `while :; do sleep 0.01 & done`)
	until(t, "it forks", func() (bool, error) {
		procs, err := n.Processes(t.Context())
		return len(procs) > 5, err
	})
	inj := ordinary(t, `{"process": "all"}`)
	f := planned(t, inj, n, nil)
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	effect(t, inj, n, f)
	if !f.NodeDead {
		t.Error("NodeDead is not set")
	}
}

func TestRealProcessesAreStoppedInEveryThreadAndContinued(t *testing.T) {
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KILL_TEST_THREADS", "1")
	n := newChild(t, `exec "`+me+`"`)
	until(t, "it has threads", func() (bool, error) {
		procs, err := n.Processes(t.Context())
		if err != nil || len(procs) != 1 {
			return false, err
		}
		states, err := kernel.Threads(procs[0].ProcID)
		return len(states) >= 4, err
	})
	inj := ordinary(t, `{"signal": "STOP"}`)
	f := planned(t, inj, n, nil)
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	effect(t, inj, n, f)
	for range 2 {
		if err := inj.Revert(t.Context(), n, f); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "it is reverted", func() (bool, error) {
		ok, _, err := inj.(injectors.Reverted).Reverted(t.Context(), n, f)
		return ok, err
	})
	if held, proof, err := inj.Effect(t.Context(), n, f); held || err != nil {
		t.Errorf("it still holds: %q, %v", proof, err)
	}
}

// TestMain lets the test's binary be a process with threads.
func TestMain(m *testing.M) {
	if os.Getenv("KILL_TEST_THREADS") != "" {
		for range 4 {
			go func() {
				_, _ = syscall.Read(0, make([]byte, 1)) // a thread each, if stdin blocks
				<-time.After(10 * time.Minute)
			}()
		}
		<-time.After(10 * time.Minute)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestAStoppedProcessThatDiedHasNothingToRevert(t *testing.T) {
	n := newChild(t, "sleep 600 & exec sleep 601")
	procs := n.waitFor(t, 2)
	inj := ordinary(t, `{"signal": "STOP", "process": "all"}`)
	f := planned(t, inj, n, nil)
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	effect(t, inj, n, f)
	if err := syscall.Kill(procs[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := inj.Revert(t.Context(), n, f); err != nil {
		t.Error(err)
	}
}

func TestWhoWasStoppedBeforeStaysStopped(t *testing.T) {
	n := newChild(t, "sleep 600 & exec sleep 601")
	procs := n.waitFor(t, 2)
	theirs := procs[1]
	if err := syscall.Kill(theirs.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "it is stopped", func() (bool, error) { s, err := kernel.Threads(theirs.ProcID); return s == "T", err })
	inj := ordinary(t, `{"signal": "STOP", "process": "all"}`)
	f := planned(t, inj, n, nil)
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	effect(t, inj, n, f)
	if err := inj.Revert(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	until(t, "ours runs", func() (bool, error) { s, err := kernel.Threads(procs[0].ProcID); return s != "T", err })
	if s, err := kernel.Threads(theirs.ProcID); s != "T" || err != nil {
		t.Errorf("theirs is %q, %v", s, err)
	}
	if ok, proof, err := inj.(injectors.Reverted).Reverted(t.Context(), n, f); !ok || err != nil {
		t.Errorf("%q, %v", proof, err)
	}
}

func TestAProcessThatIsGoneByNowIsNotTakenForAnother(t *testing.T) {
	n := newChild(t, "exec sleep 600")
	n.waitFor(t, 1)
	inj := ordinary(t, `{}`)
	f := planned(t, inj, n, nil)
	s := stateIn(t, f)
	stranger := newChild(t, "exec sleep 600")
	p := stranger.waitFor(t, 1)[0]
	s.Procs[0].PID = p.PID // as if the kernel had given the number away
	f.State = encode(t, s)
	if err := inj.Inject(t.Context(), stranger, f); !errors.Is(err, targets.ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
	if st, err := stranger.State(t.Context()); err != nil || st.Main != p.ProcID {
		t.Errorf("the stranger: %+v, %v", st, err)
	}
}

func BenchmarkFromSignalToEffect(b *testing.B) {
	inj := injectors.Of(kind, newKiller(Params{"KILL", procs.Main, Crash}))
	for b.Loop() {
		b.StopTimer()
		c := &child{script: "exec sleep 600"}
		if err := c.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		faults, err := inj.Plan(b.Context(), injectors.Aim{On: []targets.Node{c}})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := inj.Inject(b.Context(), c, faults[0]); err != nil {
			b.Fatal(err)
		}
		for held := false; !held; {
			if held, _, err = inj.Effect(b.Context(), c, faults[0]); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		<-c.out
		b.StartTimer()
	}
}
