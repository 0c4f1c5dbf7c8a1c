package trend

import (
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
)

var start = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

// runs are records a day apart, with the trials' bounds of rto in ms each.
func runs(setups string, medians ...[][2]float64) ([]history.Run, map[string][]history.Reading) {
	var out []history.Run
	rs := map[string][]history.Reading{}
	for i, trials := range medians {
		id := string(rune('a' + i))
		out = append(out, history.Run{Run: id, System: "orders", Scenario: "kill", Started: start.AddDate(0, 0, i), Verdict: verdict.Pass,
			Digest: history.Digest{Phase: "random", Setup: string(setups[i%len(setups)])}})
		for n, t := range trials {
			rs[id] = append(rs[id], history.Reading{Metric: "rto", Trial: n + 1, Lo: t[0], Hi: t[1]})
		}
	}
	return out, rs
}

func one(lo, hi float64) [][2]float64 { return [][2]float64{{lo, hi}} }

func many(n int, lo, hi float64) (out [][2]float64) {
	for range n {
		out = append(out, [2]float64{lo, hi})
	}
	return out
}

func shifts(t *testing.T, setups string, medians ...[][2]float64) []Shift {
	t.Helper()
	rs, readings := runs(setups, medians...)
	got := Make(rs, readings, "rto")
	if len(got.Series) != 1 || len(got.Series[0].Points) != len(medians) {
		t.Fatalf("%+v", got)
	}
	return got.Series[0].Shifts
}

func TestARegressionBeyondTheErrorBarsIsNamedWithItsTwoRecords(t *testing.T) {
	got := shifts(t, "x", one(100, 110), one(105, 115), one(200, 210))
	if len(got) != 1 || !got[0].Worse || got[0].From != "b" || got[0].To != "c" || got[0].Call != BeyondBars || got[0].DeltaMS != [2]float64{85, 105} {
		t.Errorf("%+v", got)
	}
}

func TestWithinTheErrorBarsNothingIsNamed(t *testing.T) {
	if got := shifts(t, "x", one(100, 200), one(150, 250), one(199, 300), one(160, 261)); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestManyTrialsExcludeChance(t *testing.T) {
	got := shifts(t, "x", many(6, 100, 110), many(6, 200, 210))
	if len(got) != 1 || got[0].Call != BeyondChance || got[0].P > 0.05 {
		t.Errorf("%+v", got)
	}
}

func TestWhatGotFasterIsNoRegression(t *testing.T) {
	rs, readings := runs("x", one(200, 210), one(100, 110))
	got := Make(rs, readings, "")
	if got.Regressions != 0 || len(got.Series[0].Shifts) != 1 || got.Series[0].Shifts[0].Worse {
		t.Errorf("%+v", got)
	}
}

func TestSmallStepsThatAddUpAreADrift(t *testing.T) {
	got := shifts(t, "x", one(100, 120), one(115, 135), one(130, 150))
	if len(got) != 1 || !got[0].Drift || !got[0].Worse || got[0].From != "a" || got[0].To != "c" {
		t.Errorf("%+v", got)
	}
}

func TestAnotherSetupIsSaidAndNotCalledADrift(t *testing.T) {
	got := shifts(t, "xy", one(100, 110), one(200, 210))
	if len(got) != 1 || !got[0].Setup {
		t.Errorf("%+v", got)
	}
	if got := shifts(t, "xyyyyy", one(100, 120), one(115, 135), one(130, 150)); len(got) != 0 {
		t.Errorf("the oldest had other settings: %+v", got)
	}
}

func TestWhatWasCutShortHasNoUpperBound(t *testing.T) {
	rs, readings := runs("x", one(200, 210), one(100, 110), one(300, 310))
	readings["a"][0].Censored = true
	got := Make(rs, readings, "rto").Series[0]
	if !got.Points[0].Censored || len(got.Shifts) != 2 || got.Shifts[0].Worse || got.Shifts[1].From != "b" {
		t.Errorf("%+v", got.Shifts)
	}
	readings["c"], readings["a"] = readings["a"], readings["c"]
	got = Make(rs, readings, "rto").Series[0]
	if len(got.Shifts) != 2 || !got.Shifts[1].Worse || got.Shifts[1].To != "c" {
		t.Errorf("at least 200 is more than 110: %+v", got.Shifts)
	}
}

func TestSystemsScenariosPhasesAndMetricsAreNeverPooled(t *testing.T) {
	rs, readings := runs("x", one(1, 2), one(1, 2), one(1, 2), one(1, 2))
	rs[1].System, rs[2].Scenario, rs[3].Digest.Phase = "users", "freeze", "worst"
	readings["a"] = append(readings["a"], history.Reading{Metric: "detection", Trial: 1, Lo: 1, Hi: 2})
	if got := Make(rs, readings, ""); len(got.Series) != 5 {
		t.Errorf("%d series", len(got.Series))
	}
	if got := Make(rs, readings, "detection"); len(got.Series) != 1 {
		t.Errorf("%d series", len(got.Series))
	}
}
