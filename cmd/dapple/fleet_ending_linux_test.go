package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets/ssh/sshtest"
)

// below are the processes below root of that name.
func below(t *testing.T, root int, name string) (pids []int) {
	t.Helper()
	all, err := kernel.Procs(kernel.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	in := map[int]bool{root: true}
	for again := true; again; {
		again = false
		for _, p := range all {
			if in[p.Parent] && !in[p.PID] {
				in[p.PID], again = true, true
			}
		}
	}
	for _, p := range all {
		if in[p.PID] && p.PID != root && p.Name == name {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

func signalAll(t *testing.T, pids []int, sig syscall.Signal) {
	t.Helper()
	if len(pids) == 0 {
		t.Fatal("there is nobody to send it to")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
}

// However a connection ends, the fault over there ends by itself; and the runner
// finds the machine again and sees that it did.
func TestWhenAConnectionDiesTheFaultEndsOverThere(t *testing.T) {
	for name, cut := range map[string]func(t *testing.T, s *sshtest.Server){
		"every ssh of ours is killed": func(t *testing.T, _ *sshtest.Server) {
			signalAll(t, below(t, os.Getpid(), "ssh"), syscall.SIGKILL)
		},
		"the sessions of sshd are killed": func(t *testing.T, s *sshtest.Server) {
			signalAll(t, below(t, s.PID(), "sshd"), syscall.SIGKILL)
		},
		"every ssh of ours hangs": func(t *testing.T, _ *sshtest.Server) {
			signalAll(t, below(t, os.Getpid(), "ssh"), syscall.SIGSTOP)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
			c.Add("db1", s)
			asProgram(t, c)
			n := service(t, "a", "db1")
			f, nodes := opened(t, n)
			h := holding(t, f)
			injected(t, f, h, "pause", "{how: stop}", nodes, nil)
			guarded, over := f.guard(t.Context())
			defer over()
			at := time.Now()
			cut(t, s)
			eventually(t, "the service runs again", func() bool { return state(n) == "S" })
			if took := time.Since(at); took > leaseTime+5*time.Second { // the rest is what a busy machine adds
				t.Errorf("it took %v, the lease is %v", took, leaseTime)
			}
			hole := false
			for saw := range until(t, h.Sightings()) {
				hole = hole || saw.What == "hole"
				if hole {
					break
				}
			}
			if !hole {
				t.Error("the runner did not see that the fault ended")
			}
			if span, err := h.Revert(t.Context(), "pause"); err != nil || span.Lo.After(span.Hi) {
				t.Errorf("%+v, %v", span, err)
			}
			records, err := agent.Outstanding(s.Home)
			if err != nil || len(records) > 0 {
				t.Errorf("the journal over there: %+v, %v", records, err)
			}
			<-guarded.Done()
			var abort *drills.AbortError
			if !errors.As(context.Cause(guarded), &abort) || !strings.Contains(abort.Why, "machine db1") {
				t.Errorf("the drill goes on: %v", context.Cause(guarded))
			}
		})
	}
}

// until is the channel for as long as a busy machine may take.
func until(t *testing.T, all <-chan agent.Sighted) <-chan agent.Sighted {
	t.Helper()
	some := make(chan agent.Sighted)
	go func() {
		defer close(some)
		deadline := time.After(40 * time.Second)
		for {
			select {
			case s, ok := <-all:
				if !ok {
					return
				}
				some <- s
			case <-deadline:
				return
			case <-t.Context().Done():
				return
			}
		}
	}()
	return some
}

func TestAMachineThatIsLostForGoodIsNamedAsOneThatNobodyLookedAt(t *testing.T) {
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("db1", s)
	asProgram(t, c)
	n := service(t, "a", "db1")
	f, nodes := opened(t, n)
	f.machines[0].patience = time.Second
	h := holding(t, f)
	injected(t, f, h, "pause", "{how: stop}", nodes, nil)
	signalAll(t, append(below(t, s.PID(), "sshd"), s.PID()), syscall.SIGKILL)
	_, err := h.Revert(t.Context(), "pause")
	if err == nil || !strings.Contains(err.Error(), "whether its faults have ended is not known") || !strings.Contains(err.Error(), "db1") {
		t.Errorf("%v", err)
	}
	eventually(t, "the service runs again", func() bool { return state(n) == "S" })
}

// Runner and agent die at once: what is left stands in the journal over there.
func TestWhatIsLeftOverThereIsTakenBackByRevertOn(t *testing.T) {
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("db1", s)
	asProgram(t, c)
	n := service(t, "a", "db1")
	f, nodes := opened(t, n)
	h := holding(t, f)
	injected(t, f, h, "pause", "{how: stop}", nodes, nil)
	id, _ := h.(*agent.Fleet).Agents()["db1"].Agent()
	f.machines[0].patience = 0 // this runner takes nothing back
	signalAll(t, []int{id.PID}, syscall.SIGKILL)
	if _, err := h.Revert(t.Context(), "pause"); err == nil {
		t.Fatal("it was taken back")
	}
	if state(n) != "T" {
		t.Fatal("nothing is left: the test proves nothing")
	}
	system := filepath.Join(t.TempDir(), "system.yaml")
	text := fmt.Sprintf("name: s1\nkind: postgres\nnodes: {ssh: [{name: a, host: db1, addr: \"127.0.0.1:9\", pidfile: %q, start: [%q]}]}\n", n.PIDFile, n.Start[0])
	if err := os.WriteFile(system, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	dapple := func(want int, args ...string) string {
		t.Helper()
		dir, err := built()
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(filepath.Join(dir, "dapple"), args...).CombinedOutput()
		var exit *exec.ExitError
		if code := 0; errors.As(err, &exit) && exit.ExitCode() != want || err == nil && code != want {
			t.Errorf("%v: %v, want %d: %s", args, err, want, out)
		}
		return string(out)
	}
	if out := dapple(0, "revert"); !strings.Contains(out, "nothing is left") || state(n) != "T" {
		t.Errorf("without --on: %s", out)
	}
	if out := dapple(0, "revert", "--on", system); !strings.Contains(out, "a: ") || !strings.Contains(out, "reverted") || state(n) != "S" {
		t.Errorf("with --on: %s (%s)", out, state(n))
	}
	if out := dapple(0, "revert", "--on", system); !strings.Contains(out, "nothing is left") {
		t.Errorf("once more: %s", out)
	}
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if out := dapple(exitLeft, "revert", "--on", system); !strings.Contains(out, "db1") {
		t.Errorf("out of reach: %s", out)
	}
}
