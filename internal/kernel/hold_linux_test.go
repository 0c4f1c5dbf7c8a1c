package kernel

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// child starts a process that lives until it is killed, at the end of the test
// at the latest.
func child(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead by the test itself
		_ = cmd.Wait()
	})
	return cmd
}

func identity(t *testing.T, pid int) targets.ProcID {
	t.Helper()
	id, err := Identity(pid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func hold(t *testing.T, id targets.ProcID) targets.Handle {
	t.Helper()
	h, err := Hold(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() }) // closed twice by some tests, on purpose
	return h
}

func TestAKilledProcessIsSeenDead(t *testing.T) {
	cmd := child(t)
	h := hold(t, identity(t, cmd.Process.Pid))
	short, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := h.Exited(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a living process: %v, want the error of the context", err)
	}
	seen := make(chan error, 3)
	for range cap(seen) { // many may wait at once
		go func() { seen <- h.Exited(t.Context()) }()
	}
	if err := h.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range cap(seen) {
		if err := <-seen; err != nil {
			t.Error(err)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Exited(over); err != nil {
		t.Errorf("a dead process with a context that has ended: %v, want nil", err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended well")
	}
	if err := h.Signal(syscall.SIGKILL); !errors.Is(err, targets.ErrGone) {
		t.Errorf("signal to what was waited for: %v, want ErrGone", err)
	}
}

func TestANumberThatBelongsToAnotherProcessIsGone(t *testing.T) {
	cmd := child(t)
	id := identity(t, cmd.Process.Pid)
	id.Start--
	if h, err := Hold(t.Context(), id); !errors.Is(err, targets.ErrGone) {
		t.Fatalf("holding a stranger: %v, %v; want ErrGone", h, err)
	} else if !strings.Contains(err.Error(), "another process") {
		t.Errorf("error does not say why: %v", err)
	}
}

func TestWhatWasWaitedForIsGone(t *testing.T) {
	cmd := child(t)
	id := identity(t, cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if _, err := Hold(t.Context(), id); !errors.Is(err, targets.ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
	for _, pid := range []int{0, -1} {
		if _, err := Hold(t.Context(), targets.ProcID{PID: pid}); !errors.Is(err, targets.ErrGone) {
			t.Errorf("pid %d: %v, want ErrGone", pid, err)
		}
	}
	if _, err := ReadProc(id.PID); !errors.Is(err, targets.ErrGone) {
		t.Errorf("reading it: %v, want ErrGone", err)
	}
	if dying, err := Dying(id); !dying || err != nil {
		t.Errorf("dying = %v, %v", dying, err)
	}
	if _, err := Threads(id); !errors.Is(err, targets.ErrGone) {
		t.Errorf("its threads: %v, want ErrGone", err)
	}
}

func TestAZombieCanBeHeldAndIsDead(t *testing.T) {
	cmd := child(t)
	id := identity(t, cmd.Process.Pid)
	first := hold(t, id)
	if err := first.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := first.Exited(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := hold(t, id).Exited(t.Context()); err != nil {
		t.Errorf("a zombie: %v", err)
	}
	p, err := ReadProc(id.PID)
	if err != nil || p.State != "Z" {
		t.Errorf("state is %q, %v; want Z", p.State, err)
	}
	if dying, err := Dying(id); !dying || err != nil {
		t.Errorf("dying = %v, %v", dying, err)
	}
}

func TestClosingAHandleEndsWhoWaitsAndLeavesNoGoroutine(t *testing.T) {
	cmd := child(t)
	before := runtime.NumGoroutine()
	h := hold(t, identity(t, cmd.Process.Pid))
	waiting := make(chan error, 1)
	go func() { waiting <- h.Exited(t.Context()) }()
	until(t, func() bool { return runtime.NumGoroutine() >= before+2 })
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, os.ErrClosed) {
		t.Errorf("the one who waits got %v, want %v", err, os.ErrClosed)
	}
	if err := h.Signal(0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("signal through a closed handle: %v", err)
	}
	until(t, func() bool { return runtime.NumGoroutine() <= before })
}

func TestStoppedThreadsAreSeen(t *testing.T) {
	cmd := child(t)
	id := identity(t, cmd.Process.Pid)
	h := hold(t, id)
	if err := h.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { s, err := Threads(id); return err == nil && s == "T" })
	if err := h.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { s, err := Threads(id); return err == nil && s != "T" })
}

func TestProcessesAreListedWithWhoTheyAre(t *testing.T) {
	cmd := child(t)
	procs, err := Procs(Filter{Keep: func(p Proc) bool { return p.PID == cmd.Process.Pid }})
	if err != nil {
		t.Fatal(err)
	}
	if len(procs) != 1 {
		t.Fatalf("%d processes, want 1", len(procs))
	}
	p := procs[0]
	if p.ProcID != identity(t, p.PID) || p.Parent != os.Getpid() || p.Name != "sleep" || strings.Join(p.Args, " ") != "sleep 600" || len(p.CGroups) == 0 || len(p.NSPID) == 0 || p.Main {
		t.Errorf("%+v", p)
	}
	none, err := Procs(Filter{CGroup: func(string) bool { return false }})
	if err != nil || len(none) != 0 {
		t.Errorf("%d processes pass a filter that takes none, %v", len(none), err)
	}
	if frozen, err := Frozen(p.PID); frozen || err != nil {
		t.Errorf("frozen = %v, %v", frozen, err)
	}
	d, err := Signals(p.ProcID)
	if err != nil || Has(d.Caught, int(syscall.SIGTERM)) || len(d.NSPID) == 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestTheStartOfAProcessIsDatedToATick(t *testing.T) {
	before := time.Now()
	cmd := child(t)
	after := time.Now()
	lo, hi, err := Began(identity(t, cmd.Process.Pid))
	if err != nil || lo.After(after) || hi.Before(before) || hi.Sub(lo) < tick || hi.Sub(lo) > time.Second {
		t.Errorf("started within %v to %v, want one that meets %v to %v, %v", lo, hi, before, after, err)
	}
}

func TestBootClockAndMemoryCanBeRead(t *testing.T) {
	a, err := BootID()
	if err != nil || len(a) != 36 {
		t.Errorf("boot id %q, %v", a, err)
	}
	from, err := Monotonic()
	if err != nil {
		t.Fatal(err)
	}
	to, err := Monotonic()
	if err != nil || to < from {
		t.Errorf("the clock went from %v to %v, %v", from, to, err)
	}
	if rss, err := RSS(); err != nil || rss < 1<<20 {
		t.Errorf("memory is %d bytes, %v", rss, err)
	}
	missing, err := Missing(CapKill)
	if err != nil || os.Geteuid() == 0 && len(missing) > 0 {
		t.Errorf("missing %v, %v", missing, err)
	}
}

func BenchmarkProcs(b *testing.B) {
	for b.Loop() {
		if _, err := Procs(Filter{CGroup: func(string) bool { return false }}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHold(b *testing.B) {
	self, err := Self()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		h, err := Hold(b.Context(), self)
		if err != nil {
			b.Fatal(err)
		}
		if err := h.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// until polls for what has no event to wait for.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to be within 10 s")
		}
	}
}
