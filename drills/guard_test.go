package drills

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapple-drills/dapple/drills/verdict"
)

func TestAGuardThatRefusesIsNamedAndNothingIsTouched(t *testing.T) {
	for _, why := range []error{&Tripped{"it is Christmas"}, errors.New("nobody answers")} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			p := w.plan(t)
			p.Guards = []Guard{
				{Name: "freeze", Check: func(context.Context) error { return why }},
				{Name: "backup", Check: func(context.Context) error { return nil }},
			}
			_, err := Run(t.Context(), p)
			var refusal *Refusal
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), "guardrail freeze: "+why.Error()) {
				t.Errorf("%v", err)
			}
			if slices.Contains(w.log(), "prepare") || slices.Contains(w.log(), "inject a") {
				t.Errorf("it did %v", w.log())
			}
		})
	}
}

// during runs a drill whose guard says what comes out of check as soon as the fault
// holds.
func during(t *testing.T, check func(n int32) error) (Record, *world) {
	t.Helper()
	w := newWorld()
	p := w.plan(t)
	var n atomic.Int32
	p.Guards = []Guard{{Name: "stop", During: 250 * time.Millisecond, Check: func(context.Context) error {
		if !slices.Contains(w.log(), "inject a") {
			return nil
		}
		return check(n.Add(1))
	}}}
	rec, err := Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return rec, w
}

func TestAGuardThatTripsDuringTheDrillEndsItWithEverythingReverted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, w := during(t, func(int32) error { return &Tripped{"somebody said stop"} })
		if rec.Verdict != verdict.Aborted || !strings.Contains(rec.Trials[0].Reason, "guardrail stop: somebody said stop") {
			t.Errorf("%s: %s", rec.Verdict, rec.Trials[0].Reason)
		}
		f := rec.Trials[0].Faults[0]
		if f.Revert == nil || f.Revert[0]-f.Effect[1] > 1000 {
			t.Errorf("the fault was held on: %+v", f)
		}
		if !slices.Contains(w.log(), "revert") {
			t.Errorf("it did %v", w.log())
		}
	})
}

func TestAGuardWithoutAnAnswerEndsADrillOnlyIfThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, _ := during(t, func(n int32) error {
			if n%3 == 0 {
				return nil
			}
			return errors.New("connection refused")
		})
		if rec.Verdict == verdict.Aborted {
			t.Errorf("two questions without an answer ended it: %s", rec.Trials[0].Reason)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		rec, _ := during(t, func(int32) error { return errors.New("connection refused") })
		if rec.Verdict != verdict.Aborted || !strings.Contains(rec.Trials[0].Reason, "connection refused") {
			t.Errorf("%s: %s", rec.Verdict, rec.Trials[0].Reason)
		}
	})
}

func TestRedundancyThatIsNotAsDeclaredIsRefused(t *testing.T) {
	w := newWorld()
	p := w.plan(t)
	p.Target.Guardrails.Replicas = 9
	_, err := Preflight(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "guardrail redundancy: ") || !strings.Contains(err.Error(), "and 9 are declared") {
		t.Errorf("%v", err)
	}
	p.Target.Guardrails.Replicas = 0
	p.Scenario.Maintenance = []string{p.Nodes[1].Name()}
	_, err = Preflight(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "is declared to be in maintenance, and says") {
		t.Errorf("%v", err)
	}
}
