package drills

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/training"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

// lesson is a drill of two faults, each of which would hold for a minute, the second
// 40 s after the first; do is what people say when an event comes.
func lesson(t *testing.T, w *world, do func(d *training.Desk, e timeline.Event)) Record {
	t.Helper()
	p := w.plan(t)
	p.Scenario.BlastRadius.Nodes = 2
	minute := scenarios.Duration(time.Minute)
	p.Steps = []Step{
		{Step: scenarios.Step{Inject: "break", On: scenarios.Strings{"a"}, For: minute}, Injector: breaker{w}},
		{Step: scenarios.Step{Inject: "break", On: scenarios.Strings{"b"}, For: minute, At: scenarios.Duration(40 * time.Second)}, Injector: breaker{w}},
	}
	p.Scenario.Training = scenarios.Training{Task: "mend it", Hints: []scenarios.Hint{{Text: "look"}}}
	d := training.New(training.Options{Trainee: "ana", Steps: 2})
	p.Training = &Training{People: []Person{{"ana", Trainee}}, Pace: d}
	p.Probes = append(p.Probes, d)
	events := make(chan timeline.Event, 1000)
	p.Watch = func(e timeline.Event) {
		d.See(e)
		if e.Kind == timeline.Phase || e.Kind == timeline.FaultEffect {
			events <- e
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for {
			select {
			case e := <-events:
				do(d, e)
			case <-ctx.Done():
				return
			}
		}
	}()
	rec, err := Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func say(t *testing.T, d *training.Desk, what string) {
	t.Helper()
	if _, err := d.Say(training.Said{What: what, Via: "terminal"}); err != nil {
		t.Error(err)
	}
}

func TestATrainerBringsTheNextFaultForwardAndEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := lesson(t, newWorld(), func(d *training.Desk, e timeline.Event) {
			switch {
			case e.Kind == timeline.FaultEffect && e.Node == "a":
				say(t, d, training.Next)
			case e.Kind == timeline.FaultEffect && e.Node == "b":
				say(t, d, training.End)
			}
		})
		f := rec.Trials[0].Faults
		if len(f) != 2 {
			t.Fatalf("%d faults", len(f))
		}
		if since := f[1].Effect[0] - f[0].Effect[0]; since > 1000 {
			t.Errorf("the second came %v ms after the first: not brought forward", since)
		}
		if held := f[1].Revert[0] - f[1].Effect[1]; held > 5000 {
			t.Errorf("the faults were held for another %v ms after the end", held)
		}
		paced := rec.Trials[0].Training.Paced
		if len(paced) != 2 || paced[0].What != training.Next || paced[1].What != training.End {
			t.Errorf("the record tells of %+v", paced)
		}
	})
}

func TestAfterTheEndNoFurtherFaultComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		rec := lesson(t, w, func(d *training.Desk, e timeline.Event) {
			if e.Kind == timeline.FaultEffect {
				say(t, d, training.End)
			}
		})
		if got := w.log(); slices.Contains(got, "inject b") || !slices.Contains(got, "revert") || !slices.Contains(got, "audit A1") {
			t.Errorf("it did %v", got)
		}
		if n := len(rec.Trials[0].Faults); n != 1 {
			t.Errorf("%d faults", n)
		}
	})
}

func TestWithoutAWordEachFaultComesAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := lesson(t, newWorld(), func(*training.Desk, timeline.Event) {})
		f := rec.Trials[0].Faults
		if len(f) != 2 || f[1].Effect[0]-f[0].Effect[0] < 39_900 || f[0].Revert[0]-f[0].Effect[0] < 59_900 {
			t.Errorf("faults %+v", f)
		}
		if tr := rec.Trials[0].Training; tr == nil || tr.Alert != nil || tr.Reasons["alert"] == "" {
			t.Errorf("nobody said anything, and the record says %+v", tr)
		}
	})
}

func TestTheRecordNamesWhoWasTrainedAndIsJudgedAgainTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := lesson(t, newWorld(), func(d *training.Desk, e timeline.Event) {
			if e.Kind == timeline.FaultEffect && e.Node == "a" {
				say(t, d, verdict.Acknowledged)
				say(t, d, training.End)
			}
		})
		if len(rec.People) != 1 || rec.People[0] != (Person{"ana", Trainee}) || rec.Scenario.Training == nil || rec.Scenario.Training.Hints != 1 {
			t.Errorf("people %+v, training %+v", rec.People, rec.Scenario.Training)
		}
		again := Rejudge(rec, nil)
		if tr := again.Trials[0].Training; tr == nil {
			t.Error("judged again, it is no training any more")
		}
	})
}
