package reports

import (
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// The curve of a series bounds the share of trials that were over within a time, from
// both sides; what is not known to have ended is never counted as over.
func TestACurveOfASeriesBoundsTheShareThatWasOver(t *testing.T) {
	r := series(t, 1000, 2000, 3000, 4000)
	if got := seriesCurve(&r); strings.Count(string(got), `class="cdf"`) != 1 {
		t.Errorf("no curve: %s", got)
	}
	var k curve
	k.spans, k.axis = make([]reading, 4), axis{5000, 500}
	all, most := k.steps([]float64{3000, 1000, 2000, 4000}), k.steps([]float64{1000, 2000, 3000})
	top, three := px(k.y(1)), px(k.y(0.75))
	if !strings.HasSuffix(all, " "+top) || !strings.HasSuffix(most, " "+three) {
		t.Errorf("of four, four end at %q and three at %q; want %s and %s", all, most, top, three)
	}
	if at := px(k.at(2000)) + " " + px(k.y(0.25)) + "L" + px(k.at(2000)) + " " + px(k.y(0.5)); !strings.Contains(all, at) {
		t.Errorf("the second is no step at its time: %s, want %s", all, at)
	}
}

func TestASeriesOfThreeHasNoCurve(t *testing.T) {
	r := series(t, 1000, 2000, 3000)
	if got := seriesCurve(&r); got != "" {
		t.Errorf("a curve of three: %s", got)
	}
}

func TestLockedTrialsOfRunsBesideAreDrawnAndOthersAreNot(t *testing.T) {
	r := series(t, 1000, 2000, 3000, 4000)
	worst, loose := series(t, 6000), series(t, 7000)
	worst.Record.Trials[0].Phase = verdict.Phase{Asked: "worst", Locked: true}
	loose.Record.Trials[0].Phase = verdict.Phase{Asked: "best"}
	r.Beside = []drills.Record{worst.Record, loose.Record}
	got := string(seriesCurve(&r))
	if strings.Count(got, `class="locked"`) != 1 || !strings.Contains(got, "locked to the worst phase") || strings.Contains(got, "the best phase") {
		t.Errorf("%s", got)
	}
}
