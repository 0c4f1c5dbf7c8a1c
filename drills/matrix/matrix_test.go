package matrix

import (
	"testing"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

func trial(v verdict.Verdict, rto float64, lost int64, split int, absent bool) verdict.Trial {
	return verdict.Trial{Verdict: v, Faults: []verdict.Fault{{Effect: &[2]float64{1000, 1010}}},
		Metrics: verdict.Metrics{RTO: &verdict.Metric{LoMS: rto - 10, HiMS: rto}, Loss: &verdict.Loss{Lost: lost, RPOHiMS: float64(lost)},
			SplitBrain: verdict.SplitBrain{Level: split, ProvenAbsent: absent},
			Workload:   verdict.Workload{FirstMS: 0, BucketMS: 500, P50: []float64{2, 4, 900}, P99: []float64{5, 7, 950}}}}
}

func TestDesignsStandBesideEachOtherUnderTheSameDrills(t *testing.T) {
	a := &drills.Record{Run: "a", Verdict: verdict.Fail, Trials: []verdict.Trial{
		trial(verdict.Pass, 100, 0, 0, true), trial(verdict.Fail, 300, 7, 2, false), trial(verdict.Invalid, 9000, 99, 0, false)}}
	b := &drills.Record{Run: "b", Verdict: verdict.Pass, Trials: []verdict.Trial{trial(verdict.Pass, 50, 0, 0, true)}}
	m := Make([]Drilled{{"one", "kill", a, ""}, {"two", "kill", b, ""}, {"one", "split", nil, "refused"}})
	if len(m.Rows) != 2 || len(m.Scenarios) != 2 || len(m.Rows[1].Cells) != 2 {
		t.Fatalf("%+v", m)
	}
	c := m.Rows[0].Cells[0]
	if c.N != 2 || *c.RTO != [2]float64{190, 200} || *c.RTOMax != 300 || *c.Lost != 7 || c.SplitBrain != 2 || c.Absent {
		t.Errorf("%+v", c)
	}
	if c := m.Rows[1].Cells[0]; !c.Absent || *c.Lost != 0 || c.SplitBrain != 0 {
		t.Errorf("%+v", c)
	}
	if c := m.Rows[0].Cells[1]; c.Why != "refused" || c.Verdict != "" || c.Absent {
		t.Errorf("%+v", c)
	}
	if w := m.Rows[1].Write; w == nil || w.P50 != 3 || w.P99 != 6 {
		t.Errorf("the outage is in the cost of a write: %+v", w)
	}
}

func TestSplitBrainIsAbsentOnlyWhereThatIsProven(t *testing.T) {
	none := &drills.Record{Trials: []verdict.Trial{trial(verdict.Invalid, 1, 0, 0, true)}}
	if c := Make([]Drilled{{"one", "kill", none, ""}}).Rows[0].Cells[0]; c.Absent || c.N != 0 || c.RTO != nil {
		t.Errorf("%+v", c)
	}
}
