package reports

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dapple-drills/dapple/drills/verdict"
)

// series is a run whose trials had these outages, each ± 20 ms.
func series(t testing.TB, outages ...float64) Run {
	r := etcdDemo(t)
	trial := r.Record.Trials[0]
	r.Record.Trials = nil
	for i, ms := range outages {
		one := trial
		one.N = i + 1
		one.Metrics.RTO = &verdict.Metric{LoMS: ms - 20, HiMS: ms + 20}
		r.Record.Trials = append(r.Record.Trials, one)
	}
	return r
}

func rto(t *testing.T, c Comparison) MetricDiff {
	t.Helper()
	i := slices.IndexFunc(c.Metrics, func(m MetricDiff) bool { return m.Name == "rto" })
	if i < 0 {
		t.Fatal("no rto")
	}
	return c.Metrics[i]
}

func TestADifferenceIsCalledWhatItIsProvenToBe(t *testing.T) {
	for name, c := range map[string]struct {
		before, after []float64
		want          string
		p             float64
	}{
		"the bounds meet":                {[]float64{2000}, []float64{2030}, CallSame, 1},
		"one trial each proves no more":  {[]float64{2000}, []float64{9000}, CallApart, 1},
		"three each may be chance":       {[]float64{2000, 2100, 2200}, []float64{900, 950, 980}, CallApart, 0.1},
		"four each, all apart":           {[]float64{2000, 2100, 2200, 2300}, []float64{900, 950, 980, 990}, CallDiffers, 2.0 / 70},
		"they lie within each other":     {[]float64{1000, 2000, 3000, 4000}, []float64{1100, 2100, 3100, 4100}, CallApart, 1},
		"pairs that touch do not count":  {[]float64{1000, 1001, 1002, 1003}, []float64{1035, 1036, 1037, 1038}, CallSame, 1},
		"after is slower, and it counts": {[]float64{900, 950, 980, 990}, []float64{2000, 2100, 2200, 2300}, CallDiffers, 2.0 / 70},
	} {
		d := rto(t, Compare(series(t, c.before...), series(t, c.after...)))
		if d.Call != c.want || math.Abs(*d.P-c.p) > 1e-9 && name != "they lie within each other" {
			t.Errorf("%s: %s, p = %v; want %s, %v", name, d.Call, *d.P, c.want, c.p)
		}
	}
}

func TestTheDifferenceHoldsTheTrueOne(t *testing.T) {
	d := rto(t, Compare(series(t, 2000), series(t, 1000)))
	if got := *d.DeltaMS; got != [2]float64{-1040, -960} {
		t.Errorf("%v", got)
	}
	if got := d.delta(); got != "0.96 – 1.04"+nbsp+"s less" {
		t.Errorf("%q", got)
	}
}

func TestWhatWasCutShortProvesNoUpperBoundOfADifference(t *testing.T) {
	after := series(t, 9000)
	after.Record.Trials[0].Metrics.RTO.Censored = true
	d := rto(t, Compare(series(t, 1000), after))
	if d.Call != CallApart || !strings.HasPrefix(d.delta(), "at least +7.96") || !strings.HasPrefix(d.span(d.After), "≥") {
		t.Errorf("%+v: %s, %s", d, d.delta(), d.span(d.After))
	}
	d = rto(t, Compare(after, series(t, 20000)))
	if d.Call != CallSame {
		t.Errorf("it was at least 9 s, and then 20 s: %s", d.Call)
	}
}

func TestTrialsThatDoNotCountAreNotCompared(t *testing.T) {
	before := series(t, 1000, 50000)
	before.Record.Trials[1].Verdict = verdict.Invalid
	if d := rto(t, Compare(before, series(t, 1000))); d.N != [2]int{1, 1} || d.Call != CallSame {
		t.Errorf("%+v", d)
	}
}

func TestWhatWasChangedIsListedAndDoubtsAreTold(t *testing.T) {
	a, b := series(t, 1000), series(t, 1000)
	if c := Compare(a, b); len(c.Changed) > 0 || len(c.Doubts) > 0 {
		t.Errorf("nothing differs: %+v", c)
	}
	b.Record.System.Settings = map[string]string{"election-timeout": "500ms", "new": ""}
	b.Record.Scenario.RatePerS = 50
	b.Record.Drill.ScenarioSHA256 = "other"
	c := Compare(a, b)
	text := render(t, func(w *bytes.Buffer) error { return c.Text(w, Plain) })
	for _, want := range []string{"setting election-timeout: 1s → 500ms", "setting heartbeat-interval: 100ms → (absent)", "setting new: (absent) → (empty)", "scenario rate_per_s: ", "Doubt: the scenarios are not the same file"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(line) > columns+1 {
			t.Errorf("too wide: %q", line)
		}
	}
	markdown := render(t, func(w *bytes.Buffer) error { return c.Markdown(w) })
	if !strings.Contains(markdown, "| setting | election-timeout | 1s | 500ms |") {
		t.Error(markdown)
	}
	var back Comparison
	if err := json.Unmarshal([]byte(render(t, func(w *bytes.Buffer) error { return c.JSON(w) })), &back); err != nil || back.Schema != CompareSchema || len(back.Changed) != len(c.Changed) {
		t.Errorf("%v, %+v", err, back)
	}
}
