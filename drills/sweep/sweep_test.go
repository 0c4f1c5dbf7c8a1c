package sweep

import (
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

func trial(v verdict.Verdict, objective string, o verdict.Outcome, hi float64) verdict.Trial {
	t := verdict.Trial{Verdict: v, Findings: []verdict.Finding{{Objective: objective, Outcome: o}}}
	if hi > 0 {
		t.Metrics.RTO = &verdict.Metric{LoMS: hi - 10, HiMS: hi}
	}
	return t
}

func record(ts ...verdict.Trial) *drills.Record { return &drills.Record{Run: "r", Trials: ts} }

func TestAKillIsMetOnlyIfEveryTrialProvesIt(t *testing.T) {
	met := trial(verdict.Pass, "rto", verdict.Met, 1000)
	for name, c := range map[string]struct {
		rec  *drills.Record
		want bool
		n    int
	}{
		"all":                     {record(met, met), true, 2},
		"one missed":              {record(met, trial(verdict.Fail, "rto", verdict.Missed, 9000)), false, 2},
		"one that could not tell": {record(met, trial(verdict.Inconclusive, "rto", verdict.Unproven, 0)), false, 2},
		"one that does not count": {record(met, trial(verdict.Invalid, "rto", verdict.Unproven, 0)), true, 1},
		"none":                    {record(), false, 0},
	} {
		if k := KillOf(c.rec); k.Met != c.want || k.N != c.n {
			t.Errorf("%s: %+v", name, k)
		}
	}
	if k := KillOf(record(met, trial(verdict.Pass, "rto", verdict.Met, 3000))); *k.RTO != [2]float64{1990, 2000} || k.WorstMS != 3000 {
		t.Errorf("%+v", k)
	}
}

func TestABlipCountsFailoversAndWhatCouldNotTell(t *testing.T) {
	b := BlipOf(300*time.Millisecond, record(trial(verdict.Inconclusive, "failover", verdict.Met, 0), trial(verdict.Fail, "failover", verdict.Missed, 0),
		trial(verdict.Invalid, "failover", verdict.Met, 0), trial(verdict.Inconclusive, "failover", verdict.Unproven, 0)))
	if b.N != 2 || b.Failovers != 1 || b.Untold != 2 || b.BlipMS != 300 {
		t.Errorf("%+v", b)
	}
}

func value(ms float64, met bool, blips ...Blip) Value {
	return Value{ValueMS: ms, Kill: Kill{Met: met, N: 3}, Blips: blips}
}

func TestTheRangeHoldsWhatIsProvenOnBothSides(t *testing.T) {
	rto := 5000.0
	quiet, loud := Blip{BlipMS: 300, N: 3}, Blip{BlipMS: 300, N: 3, Failovers: 2}
	longer := Blip{BlipMS: 900, N: 3, Failovers: 3} // not tolerated, so no matter
	s := Sweep{RTOMS: &rto, Tolerate: 300, Values: []Value{
		value(4000, false, quiet), value(100, true, loud), value(500, true, quiet, longer), value(1000, true, quiet), value(2000, true, quiet),
	}}
	s.Judge()
	if s.Range == nil || *s.Range != (Range{500, 2000}) {
		t.Errorf("%+v: %s", s.Range, s.Why)
	}
	if v := s.Values[0]; v.Fits || !strings.Contains(v.Why, "300ms caused 2 failovers in 3 trials") {
		t.Errorf("%+v", v)
	}
	if v := s.Values[4]; v.Fits || !strings.Contains(v.Why, "RTO") {
		t.Errorf("%+v", v)
	}
}

func TestNothingIsRecommendedThatWasNotProven(t *testing.T) {
	rto := 5000.0
	for name, s := range map[string]Sweep{
		"no RTO":         {Tolerate: 300, Values: []Value{value(500, true, Blip{BlipMS: 300, N: 3})}},
		"no blip":        {RTOMS: &rto, Tolerate: 300, Values: []Value{value(500, true)}},
		"longer ones":    {RTOMS: &rto, Tolerate: 300, Values: []Value{value(500, true, Blip{BlipMS: 900, N: 3})}},
		"could not tell": {RTOMS: &rto, Tolerate: 300, Values: []Value{value(500, true, Blip{BlipMS: 300, N: 2, Untold: 1})}},
		"nothing":        {RTOMS: &rto, Tolerate: 300},
	} {
		s.Judge()
		if s.Range != nil || s.Why == "" {
			t.Errorf("%s: %+v, %s", name, s.Range, s.Why)
		}
	}
}
