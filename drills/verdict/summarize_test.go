package verdict_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/verdict"
)

// passed are n trials that passed, the k-th with an RTO of k to k + 0.1 s.
func passed(n int) []verdict.Trial {
	var out []verdict.Trial
	for k := 1; k <= n; k++ {
		m := verdict.Metrics{Loss: &verdict.Loss{}, Reasons: map[string]string{}}
		m.RTO = &verdict.Metric{LoMS: float64(k) * 1000, HiMS: float64(k)*1000 + 100}
		out = append(out, verdict.Trial{N: k, Verdict: verdict.Pass, Metrics: m, Phase: verdict.Phase{Asked: "random"}})
	}
	return out
}

func with(v verdict.Verdict, trials []verdict.Trial) []verdict.Trial {
	return append(trials, verdict.Trial{N: len(trials) + 1, Verdict: v, Reason: "because", Phase: verdict.Phase{Asked: "random"}})
}

func TestASeriesIsAsGoodAsItsWorstTrialThatCounts(t *testing.T) {
	for _, c := range []struct {
		name   string
		trials []verdict.Trial
		want   verdict.Verdict
	}{
		{"all passed", passed(3), verdict.Pass},
		{"one failed", with(verdict.Fail, passed(3)), verdict.Fail},
		{"one failed and one was aborted", with(verdict.Aborted, with(verdict.Fail, passed(3))), verdict.Fail},
		{"one was aborted", with(verdict.Aborted, passed(3)), verdict.Aborted},
		{"an invalid one is listed, not counted", with(verdict.Invalid, passed(3)), verdict.Pass},
		{"one is inconclusive", with(verdict.Inconclusive, passed(3)), verdict.Inconclusive},
		{"invalid and inconclusive", with(verdict.Invalid, with(verdict.Inconclusive, passed(1))), verdict.Inconclusive},
		{"only invalid ones", with(verdict.Invalid, nil), verdict.Invalid},
		{"none", nil, verdict.Invalid},
	} {
		s, v, _, reason := verdict.Summarize(c.trials)
		if v != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, v, reason, c.want)
		}
		if v != verdict.Pass && reason == "" {
			t.Errorf("%s: %s without a reason", c.name, v)
		}
		if s.N+s.Invalid+s.Aborted+s.Apart != len(c.trials) {
			t.Errorf("%s: %d trials, of which %+v", c.name, len(c.trials), s)
		}
	}
}

func TestTheClaimIsTheOneThatSoManyTrialsAllow(t *testing.T) {
	want := map[int]string{
		1:   "1 of 1 met; no 95 % claim",
		4:   "4 of 4 met; no 95 % claim",
		5:   "median RTO ≤ 5.1 s (95 %, n = 5); no loss: probability ≤ 45.1 % (95 %, n = 5)",
		10:  "median RTO ≤ 9.1 s (95 %, n = 10); no loss: probability ≤ 25.9 % (95 %, n = 10)",
		29:  "p90 RTO ≤ 29.1 s (95 %, n = 29); median RTO ≤ 20.1 s (95 %, n = 29); no loss: probability ≤ 9.8 % (95 %, n = 29)",
		59:  "p95 RTO ≤ 59.1 s (95 %, n = 59); median RTO ≤ 37.1 s (95 %, n = 59); no loss: probability ≤ 5.0 % (95 %, n = 59)",
		299: "p99 RTO ≤ 4 min 59 s (95 %, n = 299)…",
	}
	for n, w := range want {
		_, _, got, _ := verdict.Summarize(passed(n))
		if got != w && !(strings.HasSuffix(w, "…") && strings.HasPrefix(got, strings.TrimSuffix(w, "…"))) {
			t.Errorf("n = %d: %q, want %q", n, got, w)
		}
	}
}

func TestASeriesThatDidNotPassClaimsNothing(t *testing.T) {
	if _, _, got, _ := verdict.Summarize(with(verdict.Fail, passed(10))); got != "10 of 11 met; no claim" {
		t.Errorf("got %q", got)
	}
	if _, _, got, _ := verdict.Summarize(with(verdict.Invalid, nil)); got != "no trial counts; no claim" {
		t.Errorf("got %q", got)
	}
}

func TestTrialsUnderAnotherPhaseAreNotPooled(t *testing.T) {
	trials := passed(7)
	trials[5].Phase = verdict.Phase{Asked: "worst", Locked: true}
	trials[6].Phase = verdict.Phase{Asked: "worst", Locked: true}
	s, _, claim, _ := verdict.Summarize(trials)
	if s.N != 5 || s.Apart != 2 || s.Metrics["rto"].N != 5 {
		t.Errorf("counted %d, apart %d, pooled %d", s.N, s.Apart, s.Metrics["rto"].N)
	}
	if want := "median RTO ≤ 5.1 s (95 %, n = 5)"; !strings.HasPrefix(claim, want) {
		t.Errorf("claim %q, want %q …", claim, want)
	}
}

func TestALossInAnyTrialLeavesNoBoundOnLoss(t *testing.T) {
	trials := passed(6)
	if s, _, _, _ := verdict.Summarize(trials); s.LossBound == nil || math.Abs(*s.LossBound-0.393) > 0.001 {
		t.Errorf("bound %v", s.LossBound)
	}
	trials[2].Metrics.Reasons["loss"] = "audit A2 was not done"
	if s, _, _, _ := verdict.Summarize(trials); s.LossBound != nil {
		t.Errorf("a bound of %v, although one trial was not audited twice", *s.LossBound)
	}
}

func TestASpreadIsOfIntervals(t *testing.T) {
	s, _, _, _ := verdict.Summarize(passed(4))
	want := verdict.Spread{
		N: 4, Min: [2]float64{1000, 1100}, Median: [2]float64{2500, 2600}, Max: [2]float64{4000, 4100}, PNext: 0.8,
		Modes: []verdict.Mode{{N: 4, At: [2]float64{1000, 4100}}},
	}
	if d := cmp.Diff(want, s.Metrics["rto"]); d != "" {
		t.Errorf("spread (-want +got):\n%s", d)
	}
}

func TestSharesSayWhereTheTimeWent(t *testing.T) {
	trials := passed(2)
	for i, m := range []*verdict.Metrics{&trials[0].Metrics, &trials[1].Metrics} {
		m.Detection = &verdict.Metric{LoMS: 19_000, HiMS: 21_000}
		m.Election = &verdict.Metric{LoMS: 1000, HiMS: 1000}
		m.Promotion = &verdict.Metric{LoMS: 2000, HiMS: 2000}
		if i == 0 {
			m.Routing = &verdict.Metric{LoMS: 2000, HiMS: 2000} // the other has no routing, and does not count
		}
	}
	s, _, _, _ := verdict.Summarize(trials)
	want := map[string]float64{"detection": 0.8, "election": 0.04, "promotion": 0.08, "routing": 0.08}
	if d := cmp.Diff(want, s.Shares); d != "" {
		t.Errorf("shares (-want +got):\n%s", d)
	}
}

func TestExitCodesAreThoseOfTheContract(t *testing.T) {
	got := map[string]int{}
	for _, v := range []verdict.Verdict{verdict.Pass, verdict.Fail, verdict.Aborted, verdict.Inconclusive, verdict.Invalid, "new"} {
		got[string(v)] = verdict.ExitCode(v, false)
		if code := verdict.ExitCode(v, true); code != 6 {
			t.Errorf("%s with a leftover: %d, want 6", v, code)
		}
	}
	want := map[string]int{"pass": 0, "fail": 1, "aborted": 4, "inconclusive": 5, "invalid": 5, "new": 5}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("exit codes (-want +got):\n%s", d)
	}
}

func ExampleSummarize() {
	_, v, claim, _ := verdict.Summarize(passed(10)[:3])
	fmt.Println(v, "-", claim)
	// Output: pass - 3 of 3 met; no 95 % claim
}
