package agent_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/process"
)

// Who dies while a fault holds, and what then ends it. The lease is short, and
// long where its end must not be what ends the fault.
const (
	short = 500 * time.Millisecond // as in the kill matrix (safety, "Tested by")
	long  = time.Hour
)

// each runs the test for a fault that stops a process and for one that kills it.
func each(t *testing.T, test func(t *testing.T, n *process.Node, with string, over func() bool)) {
	for name, with := range map[string]string{"a stopped process runs again": `{"signal": "STOP"}`, "a killed node is started": `{}`} {
		t.Run(name, func(t *testing.T) {
			n := node(t)
			was := main1(t, n)
			test(t, n, with, func() bool {
				now := main1(t, n)
				if with == `{}` {
					return now.PID != 0 && now != was
				}
				return now == was && stateOf(t, now) != "T"
			})
		})
	}
}

func TestWhenTheRunnerIsKilledTheAgentReverts(t *testing.T) {
	each(t, func(t *testing.T, n *process.Node, with string, over func() bool) {
		home := t.TempDir()
		runner, id := started(t, order{home, long, n.Spec(), with})
		if err := runner.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		until(t, "the fault is over", over)
		gone(t, id)
		empty(t, home)
	})
}

func TestWhenTheRunnerHangsTheLeaseEndsTheFault(t *testing.T) {
	each(t, func(t *testing.T, n *process.Node, with string, over func() bool) {
		home := t.TempDir()
		runner, id := started(t, order{home, short, n.Spec(), with})
		if err := runner.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		until(t, "the fault is over", over)
		gone(t, id)
		empty(t, home)
	})
}

func TestWhenTheAgentIsAskedToEndItReverts(t *testing.T) {
	each(t, func(t *testing.T, n *process.Node, with string, over func() bool) {
		home := t.TempDir()
		c := client(t, home, long)
		inject(t, c, "k", n, planned(t, n, with))
		id, _ := c.Agent()
		if err := syscall.Kill(id.PID, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		until(t, "the fault is over", over)
		gone(t, id)
		empty(t, home)
		if s := sighting(t, c, "hole"); s.Key != "k" {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhenTheAgentIsKilledTheRunnerRevertsAndSaysSo(t *testing.T) {
	each(t, func(t *testing.T, n *process.Node, with string, over func() bool) {
		home := t.TempDir()
		c := client(t, home, long)
		h := inject(t, c, "k", n, planned(t, n, with))
		id, _ := c.Agent()
		kill9(t, id)
		until(t, "the fault is over", over)
		s := sighting(t, c, "hole")
		if s.Key != "k" || s.Node != "n1" || s.Hi.Before(h.Effect.Lo) || !strings.Contains(s.Evidence, "agent") {
			t.Errorf("%+v", s)
		}
		if span, err := c.Revert(t.Context(), "k"); err != nil || span.Hi.Before(span.Lo) {
			t.Errorf("Revert: %v, %v", span, err)
		}
		if _, err := c.Inject(t.Context(), "k2", n.Spec(), planned(t, n, with)); !errors.Is(err, agent.ErrLost) {
			t.Errorf("Inject: %v, want ErrLost", err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		empty(t, home)
	})
}

func TestWhenTheAgentHangsTheRunnerEndsItAndReverts(t *testing.T) {
	each(t, func(t *testing.T, n *process.Node, with string, over func() bool) {
		home := t.TempDir()
		c := client(t, home, short)
		inject(t, c, "k", n, planned(t, n, with))
		id, _ := c.Agent()
		if err := syscall.Kill(id.PID, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		until(t, "the fault is over", over)
		if s := sighting(t, c, "hole"); s.Key != "k" {
			t.Errorf("%+v", s)
		}
		gone(t, id)
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		empty(t, home)
	})
}

func TestWhenBothAreKilledTheJournalEndsTheFault(t *testing.T) {
	each(t, func(t *testing.T, n *process.Node, with string, over func() bool) {
		home := t.TempDir()
		runner, id := started(t, order{home, long, n.Spec(), with})
		// The agent first, stopped, so that it can do nothing more.
		if err := errors.Join(syscall.Kill(id.PID, syscall.SIGSTOP), runner.Process.Kill()); err != nil {
			t.Fatal(err)
		}
		_ = runner.Wait() // it was killed
		kill9(t, id)
		if over() {
			t.Fatal("the fault is over already: the test proves nothing")
		}
		rep, err := agent.RevertAll(t.Context(), agent.RevertOptions{Config: config(home)})
		if err != nil || rep.Err() != nil || len(rep.Outcomes) != 1 || rep.Outcomes[0].Result != agent.Reverted {
			t.Fatalf("%+v, %v", rep, err)
		}
		if !over() {
			t.Error("the fault is still there")
		}
		empty(t, home)
		rep, err = agent.RevertAll(t.Context(), agent.RevertOptions{Config: config(home)})
		if err != nil || len(rep.Outcomes) != 0 {
			t.Errorf("once more: %+v, %v", rep, err)
		}
	})
}

func TestWhatARunningDrillHoldsIsLeftAloneUnlessForced(t *testing.T) {
	each(t, func(t *testing.T, n *process.Node, with string, over func() bool) {
		home := t.TempDir()
		c := client(t, home, long)
		inject(t, c, "k", n, planned(t, n, with))
		id, _ := c.Agent()
		rep, err := agent.RevertAll(t.Context(), agent.RevertOptions{Config: config(home)})
		if err != nil || len(rep.Outcomes) != 1 || rep.Outcomes[0].Result != agent.Busy || !strings.Contains(rep.Outcomes[0].Proof, id.String()) {
			t.Fatalf("%+v, %v", rep, err)
		}
		if over() {
			t.Fatal("the fault was taken from a running drill")
		}
		rep, err = agent.RevertAll(t.Context(), agent.RevertOptions{Config: config(home), Force: true})
		if err != nil || rep.Err() != nil {
			t.Fatalf("%+v, %v", rep, err)
		}
		if !over() {
			t.Error("the fault is still there")
		}
		gone(t, id)
		empty(t, home)
	})
}

// The agent of a runner that died is just ending its faults: revert waits for it
// instead of working against it.
func TestRevertWaitsForAnAgentWhoseRunnerIsDead(t *testing.T) {
	each(t, func(t *testing.T, n *process.Node, with string, over func() bool) {
		home := t.TempDir()
		runner, id := started(t, order{home, short, n.Spec(), with})
		if err := runner.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = runner.Wait() // it was killed
		rep, err := agent.RevertAll(t.Context(), agent.RevertOptions{Config: config(home)})
		if err != nil || rep.Err() != nil {
			t.Fatalf("%+v, %v", rep, err)
		}
		if !over() {
			t.Error("the fault is still there")
		}
		gone(t, id)
		empty(t, home)
	})
}

// written puts a record into the journal as an agent that is dead has left it.
func written(t *testing.T, home string, n *process.Node, change func(*journal.Record)) {
	t.Helper()
	boot, err := kernel.BootID()
	if err != nil {
		t.Fatal(err)
	}
	dead := targets.ProcID{PID: 1 << 22, Start: 1} // no pid is that high (proc(5), pid_max)
	r := journal.Record{Key: "k", Boot: boot, Drill: "d", System: "s", Agent: dead, Runner: dead, Node: n.Spec(), Fault: planned(t, n, `{"signal": "STOP"}`)}
	change(&r)
	if _, err := openJournal(t, home).Write(r); err != nil {
		t.Fatal(err)
	}
}

func TestAfterARebootAStoppedProcessIsVoidAndADeadNodeIsStarted(t *testing.T) {
	home, n := t.TempDir(), node(t)
	written(t, home, n, func(r *journal.Record) { r.Boot = "another" })
	written(t, home, n, func(r *journal.Record) { r.Boot, r.Fault = "another", planned(t, n, `{}`) })
	kill9(t, main1(t, n)) // as the reboot did
	rep, err := agent.RevertAll(t.Context(), agent.RevertOptions{Config: config(home)})
	if err != nil || len(rep.Outcomes) != 2 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if rep.Outcomes[0].Result != agent.Reverted || rep.Outcomes[1].Result != agent.Void {
		t.Errorf("newest first: %q, %q; want reverted, void", rep.Outcomes[0].Result, rep.Outcomes[1].Result)
	}
	if main1(t, n).PID == 0 {
		t.Error("the node does not run")
	}
	empty(t, home)
}

func TestWhatCannotBeRevertedStaysOnRecordAndTheRestIsReverted(t *testing.T) {
	home, n := t.TempDir(), node(t)
	id := main1(t, n)
	written(t, home, n, func(*journal.Record) {})
	written(t, home, n, func(r *journal.Record) { r.Fault = stuckFault(stuckState{FailRevert: true}) })
	written(t, home, n, func(r *journal.Record) { r.Fault.Kind = "unheard-of" })
	if err := syscall.Kill(id.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "it is stopped", func() bool { return stateOf(t, id) == "T" })
	cfg := config(home)
	cfg.Deadline = 100 * time.Millisecond
	rep, err := agent.RevertAll(t.Context(), agent.RevertOptions{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	got := map[agent.Result]int{}
	for _, o := range rep.Outcomes {
		got[o.Result]++
	}
	if got[agent.Reverted] != 1 || got[agent.Failed] != 2 {
		t.Errorf("%+v", rep)
	}
	for _, want := range []string{"does not come off", "unheard-of", "by hand: none"} {
		if rep.Err() == nil || !strings.Contains(rep.Err().Error(), want) {
			t.Errorf("%q does not say %q", rep.Err(), want)
		}
	}
	if stateOf(t, id) == "T" {
		t.Error("one that fails kept another from being reverted")
	}
	if records, err := agent.Outstanding(home); err != nil || len(records) != 2 {
		t.Errorf("%d records are left, want 2, %v", len(records), err)
	}
}

func TestAFaultOnANodeThatIsGoneIsOver(t *testing.T) {
	home := t.TempDir()
	func() {
		gone := node(t)
		written(t, home, gone, func(r *journal.Record) {
			r.Node.Config = []byte(`{"socket": "/nowhere/keeper.sock"}`)
		})
	}()
	rep, err := agent.RevertAll(t.Context(), agent.RevertOptions{Config: config(home)})
	if err != nil || rep.Err() != nil || len(rep.Outcomes) != 1 || rep.Outcomes[0].Result != agent.Reverted {
		t.Errorf("%+v, %v", rep, err)
	}
	empty(t, home)
}

func TestWithoutAJournalThereIsNothingToRevertAndNothingIsMade(t *testing.T) {
	home := t.TempDir() + "/none"
	rep, err := agent.RevertAll(t.Context(), agent.RevertOptions{Config: config(home)})
	if err != nil || len(rep.Outcomes) != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
	empty(t, home)
}
