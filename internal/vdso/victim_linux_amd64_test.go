package vdso

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

// built compiles a victim.
func built(t testing.TB, flags ...string) string {
	t.Helper()
	testenv.NeedCC(t)
	out := filepath.Join(t.TempDir(), "victim")
	args := append([]string{"-O1", "-pthread", "-o", out, "testdata/victim.c"}, flags...)
	if text, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, text)
	}
	return out
}

// A victim is a program that says what it thinks the time is.
type victim struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
	id  targets.ProcID
}

func run(t testing.TB, name string, args ...string) *victim {
	t.Helper()
	v := &victim{t: t, cmd: exec.Command(name, args...)}
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := v.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-v.cmd.Process.Pid, syscall.SIGKILL) // it may be gone
		_ = v.cmd.Wait()
	})
	v.in, v.out = in, bufio.NewReader(out)
	if v.id, err = kernel.Identity(v.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if line := v.line(); line != "ready\n" {
		t.Fatalf("the victim said %q", line)
	}
	return v
}

func (v *victim) line() string {
	v.t.Helper()
	line, err := v.out.ReadString('\n')
	if err != nil {
		v.t.Fatalf("the victim ended: %v", err)
	}
	return line
}

// said is how far each answer is from the truth: within that many ns.
type said struct {
	Who                                       string
	Realtime, Coarse, TAI, Gettimeofday, Time [2]int64
	Monotonic, Boottime, CPU                  [2]int64
	Calls, Wrong, Handled                     int64
}

func (v *victim) ask(command string) (s said) {
	v.t.Helper()
	v.decode(command, &s)
	return s
}

func (v *victim) decode(command string, into any) {
	v.t.Helper()
	fmt.Fprintln(v.in, command)
	if err := json.Unmarshal([]byte(v.line()), into); err != nil {
		v.t.Fatal(err)
	}
}

// coarse is how far two looks at a coarse clock may be apart: a tick, 10 ms at most.
const coarse = int64(10 * time.Millisecond)

// is fails the test unless the victim sees that skew with every function, and the
// other clocks as they are.
func (s said) is(t testing.TB, want time.Duration) {
	t.Helper()
	for name, c := range map[string]struct {
		got  [2]int64
		want time.Duration
		more int64
	}{
		"clock_gettime":    {s.Realtime, want, 0},
		"CLOCK_TAI":        {s.TAI, want, 0},
		"coarse":           {s.Coarse, want, coarse},
		"gettimeofday":     {s.Gettimeofday, want, 0},
		"time":             {s.Time, want, coarse},
		"CLOCK_MONOTONIC":  {s.Monotonic, 0, 0},
		"CLOCK_BOOTTIME":   {s.Boottime, 0, 0},
		"of the processor": {s.CPU, 0, 0},
	} {
		if int64(c.want) < c.got[0]-c.more || int64(c.want) > c.got[1]+c.more {
			t.Errorf("%s: %s is %v to %v from the truth, want %v", s.Who, name, time.Duration(c.got[0]), time.Duration(c.got[1]), c.want)
		}
	}
	if s.Wrong != 0 {
		t.Errorf("%s: %d answers that cannot be", s.Who, s.Wrong)
	}
}

func own(t testing.TB) *Layout {
	t.Helper()
	l, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (v *victim) open(l *Layout) *Process {
	v.t.Helper()
	p, err := l.Open(v.id)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = p.Close() }) // some tests close it
	return p
}

func now(t testing.TB) int64 {
	t.Helper()
	n, err := Truth()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// skewed has the process differ for a lease.
func skewed(t testing.TB, p *Process, s Skew, lease time.Duration) {
	t.Helper()
	tai, err := TAI()
	if err != nil {
		t.Fatal(err)
	}
	s.TAI = tai
	armed(t, p, s)
	at := now(t)
	if err := p.Begin(at, LeaseOf(at, lease)); err != nil {
		t.Fatal(err)
	}
}

// armed tries again where the threads are busy.
func armed(t testing.TB, p *Process, s Skew) {
	t.Helper()
	again(t, func() error { return p.Arm(t.Context(), s) })
}

func disarmed(t testing.TB, p *Process) {
	t.Helper()
	again(t, func() error { return p.Disarm(t.Context()) })
}
