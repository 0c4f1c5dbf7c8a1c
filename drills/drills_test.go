package drills

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/scenarios"
)

func TestADrillInjectsRevertsAuditsAndCleansUpInThatOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		rec, err := Run(t.Context(), w.plan(t))
		if err != nil {
			t.Fatal(err)
		}
		got := w.log()
		for _, want := range []string{"prepare", "inject a", "revert", "stop clients", "audit A1", "clean", "agent closed"} {
			i := slices.Index(got, want)
			if i < 0 {
				t.Fatalf("no %q after the steps before it; it did %v", want, got)
			}
			got = got[i+1:]
		}
		if len(rec.Trials) != 1 || len(rec.Trials[0].Faults) != 1 || rec.Trials[0].Faults[0].Effect == nil {
			t.Errorf("the record does not tell of the one fault and its effect: %+v", rec.Trials)
		}
	})
}

func TestAFaultIsHeldForItsTimeAlsoIfANodeLetsQuestionsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.slow = true
		rec, err := Run(t.Context(), w.plan(t))
		if err != nil {
			t.Fatal(err)
		}
		f := rec.Trials[0].Faults[0]
		if held := f.Revert[0] - f.Effect[1]; held < 1990 || held > 2010 {
			t.Errorf("held for %v ms, want 2000", held)
		}
		got := w.log()
		asked, reverted := slices.Index(got, "ask for forks"), slices.Index(got, "revert")
		if asked < 0 || asked > reverted {
			t.Errorf("whether the histories forked was not asked before the revert: %v", got)
		}
	})
}

func TestPreflightRefusesWithWhatEachNodeSaidAndTouchesNothing(t *testing.T) {
	for name, roles := range map[string]map[string]probes.Role{
		"two primaries": {"a": probes.Primary, "b": probes.Primary, "c": probes.Replica},
		"no primary":    {"a": probes.Replica, "b": probes.Replica, "c": probes.Silent},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.roles = roles
			_, err := Run(t.Context(), w.plan(t))
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v, want a refusal", err)
			}
			for node, role := range roles {
				if !strings.Contains(err.Error(), node+" says "+string(role)) {
					t.Errorf("the refusal does not say that %s says %s: %v", node, role, err)
				}
			}
			if got := w.log(); len(got) > 0 {
				t.Errorf("it touched the system: %v", got)
			}
		})
	}
}

func TestABlastRadiusSmallerThanTheAimIsRefused(t *testing.T) {
	w := newWorld()
	p := w.plan(t)
	p.Steps[0].On = scenarios.Strings{"all replicas"}
	if _, err := Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), "more than blast_radius.nodes: 1") {
		t.Errorf("got %v", err)
	}
}

func TestAnInterruptedDrillRevertsBeforeItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ctx, cancel := context.WithCancelCause(t.Context())
		interrupted := errors.New("interrupted")
		go func() {
			_ = wait(context.WithoutCancel(ctx), 2*time.Second) // in the middle of the hold
			cancel(interrupted)
		}()
		rec, err := Run(ctx, w.plan(t))
		if !errors.Is(err, interrupted) {
			t.Errorf("got %v", err)
		}
		got := w.log()
		if i, j := slices.Index(got, "inject a"), slices.Index(got, "revert"); i < 0 || j < i {
			t.Errorf("not reverted: %v", got)
		}
		if slices.Contains(got, "audit A1") {
			t.Error("it went on to audit")
		}
		if rec.Verdict != verdict.Aborted || rec.ExitCode != 4 {
			t.Errorf("verdict %s, exit code %d; want aborted, 4", rec.Verdict, rec.ExitCode)
		}
	})
}

func TestAFaultWithoutProofIsRevertedAndMakesTheTrialInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.noProof = true
		rec, err := Run(t.Context(), w.plan(t))
		if err != nil {
			t.Fatal(err)
		}
		if rec.Verdict != verdict.Invalid || rec.ExitCode != 5 {
			t.Errorf("verdict %s, exit code %d; want invalid, 5", rec.Verdict, rec.ExitCode)
		}
		if !slices.Contains(w.log(), "revert") {
			t.Error("not reverted")
		}
	})
}

func TestAFaultThatWillNotGoAwayIsALeftoverAndExit6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.stuck = true
		rec, err := Run(t.Context(), w.plan(t))
		if err == nil {
			t.Error("no error")
		}
		if rec.ExitCode != 6 || len(rec.Trials) != 1 || len(rec.Trials[0].Leftovers) != 1 {
			t.Fatalf("exit code %d, trials %+v", rec.ExitCode, rec.Trials)
		}
		if got := rec.Trials[0].Leftovers[0].Command; got != "mend a" {
			t.Errorf("the command that removes it is %q", got)
		}
	})
}

func TestALedgerIsRemovedAsSoonAsTheSystemTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.unclean = 60 // half a minute without a primary
		rec, err := Run(t.Context(), w.plan(t))
		if err != nil {
			t.Fatal(err)
		}
		if left := rec.Trials[0].Leftovers; len(left) != 0 || !slices.Contains(w.log(), "clean") {
			t.Errorf("left: %+v; it did %v", left, w.log())
		}
	})
}

func TestALedgerThatCannotBeRemovedIsNamedAndExit6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.unclean = 1 << 20
		rec, err := Run(t.Context(), w.plan(t))
		if err != nil {
			t.Fatal(err)
		}
		if left := rec.Trials[0].Leftovers; len(left) != 1 || rec.ExitCode != 6 {
			t.Errorf("exit code %d, left: %+v", rec.ExitCode, left)
		}
	})
}

func TestALedgerThatGoesWithItsSystemIsNoLeftover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.unclean = 1 << 20
		p := w.plan(t)
		p.ThrownAway = true
		var told atomic.Bool
		p.Watch = func(e timeline.Event) {
			if e.Kind == timeline.Note && strings.Contains(e.Value, "no primary") {
				told.Store(true)
			}
		}
		rec, err := Run(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if left := rec.Trials[0].Leftovers; len(left) != 0 || rec.ExitCode == 6 {
			t.Errorf("exit code %d, left: %+v", rec.ExitCode, left)
		}
		if !told.Load() {
			t.Error("why it could not be removed is not told")
		}
	})
}

func TestAnOutageOverTheLimitAbortsAndReverts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.plan(t)
		p.Scenario.Steps[0].For = scenarios.Duration(time.Minute)
		p.Steps[0].For = scenarios.Duration(time.Minute)
		p.Scenario.Abort = []scenarios.Abort{{Outage: scenarios.Duration(5 * time.Second)}}
		go func() {
			_ = wait(t.Context(), 3*time.Second)
			w.set(true)
		}()
		begin := time.Now()
		rec, err := Run(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Verdict != verdict.Aborted {
			t.Errorf("verdict %s: %s", rec.Verdict, rec.Reason)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("it held the fault on for %v", took)
		}
		if !slices.Contains(w.log(), "revert") {
			t.Error("not reverted")
		}
	})
}

func TestASystemThatFailsWhileSteadyIsNotDrilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		go func() {
			_ = wait(t.Context(), 300*time.Millisecond)
			w.set(true)
		}()
		rec, err := Run(t.Context(), w.plan(t))
		if err != nil {
			t.Fatal(err)
		}
		if rec.Verdict != verdict.Invalid {
			t.Errorf("verdict %s", rec.Verdict)
		}
		if slices.Contains(w.log(), "inject a") {
			t.Error("it was drilled all the same")
		}
	})
}

func TestAHoleInAHeldFaultMakesTheTrialInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		go func() {
			_ = wait(t.Context(), 2*time.Second)
			now := time.Now()
			w.saw <- agent.Sighted{Node: "a", Lo: now, Hi: now, What: "hole", Evidence: "it was gone"}
		}()
		rec, err := Run(t.Context(), w.plan(t))
		if err != nil {
			t.Fatal(err)
		}
		if rec.Verdict != verdict.Invalid {
			t.Errorf("verdict %s: %s", rec.Verdict, rec.Reason)
		}
	})
}

func TestARecordIsJudgedAgainToTheSameVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.plan(t)
		rec, err := Run(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := ReadRecord(p.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if kept.Verdict != rec.Verdict || kept.ExitCode != rec.ExitCode || len(kept.Trials) != len(rec.Trials) {
			t.Errorf("on disk: %s %d, returned: %s %d", kept.Verdict, kept.ExitCode, rec.Verdict, rec.ExitCode)
		}
	})
}

var _ injectors.Injector = breaker{}

func TestAFaultLandsInThePhaseOfTheLeaseThatWasAskedFor(t *testing.T) {
	for _, c := range []struct {
		phase    scenarios.Phase
		early    time.Duration
		verdict  verdict.Verdict
		locked   bool
		from, to time.Duration // the effect, after the renewal before it
	}{
		{scenarios.Worst, 0, verdict.Pass, true, 0, leaseEvery / 5},
		{scenarios.Best, 0, verdict.Pass, true, leaseEvery * 4 / 5, leaseEvery},
		// It renews before the fault that was to precede it, again and again.
		{scenarios.Best, leaseEvery / 2, verdict.Invalid, false, 0, 0},
	} {
		t.Run(fmt.Sprintf("%s, renewed %v early", c.phase, c.early), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := w.plan(t)
				p.System, p.Phase, p.Kind.Lock = leased{w, c.early}, c.phase, []string{"worst", "best"}
				r, err := Run(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				got := r.Trials[0]
				if got.Verdict != c.verdict || got.Phase.Locked != c.locked {
					t.Fatalf("%s, locked %v: %s", got.Verdict, got.Phase.Locked, got.Reason)
				}
				if !c.locked {
					return
				}
				age := timeline.FromMS(got.Faults[0].Effect[0]) % leaseEvery // the first was due when the trial began
				if age < c.from || age > c.to {
					t.Errorf("the fault landed %v after a renewal, want it within [%v, %v]", age, c.from, c.to)
				}
			})
		})
	}
}

func TestAPhaseThatCannotBeLockedOnIsRefused(t *testing.T) {
	w := newWorld()
	p := w.plan(t)
	p.Phase = scenarios.Worst
	_, err := Preflight(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "phase worst is not available for kind fake") {
		t.Errorf("%v", err)
	}
}

// Only where the first fault landed can be judged: a phase of a later one would be
// asked for and never looked at.
func TestAPhaseOfALaterStepIsRefusedAndTheAskedOneIsForTheFirst(t *testing.T) {
	p := newWorld().plan(t)
	p.System, p.Kind.Lock = leased{newWorld(), 0}, []string{"worst", "best"}
	p.Steps[0].Pos.Line = 3
	later := p.Steps[0]
	later.Pos.Line, later.At = 9, scenarios.Duration(5*time.Second)
	p.Steps = append(p.Steps, later)
	p.Phase = scenarios.Best
	if a, b := p.phaseOf(p.Steps[0]), p.phaseOf(p.Steps[1]); a != scenarios.Best || b != scenarios.Random {
		t.Errorf("the first is to land in %s, the later one in %s", a, b)
	}
	p.Steps[1].Phase = scenarios.Worst
	if err := p.lockable(t.Context(), p.Steps[1]); err == nil || !strings.Contains(err.Error(), "later step") {
		t.Errorf("%v", err)
	}
}
