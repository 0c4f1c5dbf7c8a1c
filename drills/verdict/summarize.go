package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/stats"
)

// confidence is that of every claim (measurement rules, section 9).
const confidence = 0.95

// Modes are apart where the step between neighbours is modeStep times the median
// step, and at least modeLeastMS: less is not told apart by the probes.
const (
	modeStep    = 8
	modeLeastMS = 1000
)

// phases are the parts of a failover in the order in which they follow.
func phases() []string { return []string{"detection", "election", "promotion", "routing"} }

// A named metric is one of Metrics with its name in JSON.
type named struct {
	name string
	m    **Metric
}

// all lists the metrics in the order in which they are told.
func (m *Metrics) all() []named {
	return []named{
		{"detection", &m.Detection}, {"election", &m.Election}, {"promotion", &m.Promotion}, {"routing", &m.Routing},
		{"outage", &m.Outage}, {"rto", &m.RTO}, {"fence_lag", &m.FenceLag}, {"rejoin", &m.Rejoin},
		{"redundancy", &m.Redundancy}, {"first_ack", &m.FirstAck}, {"stable", &m.Stable}, {"full", &m.Full},
		{"false_green", &m.FalseGreen}, {"false_red", &m.FalseRed},
	}
}

// get returns the metric of that name, or nil.
func (m *Metrics) get(name string) *Metric {
	for _, n := range m.all() {
		if n.name == name {
			return *n.m
		}
	}
	return nil
}

// Summarize says what the trials of a drill prove together, by the measurement
// rules, section 9: any fail is a fail; invalid trials are listed and not
// counted; otherwise the series passes with the claim that so many trials allow.
// reason names the trial that decided.
func Summarize(trials []Trial) (s Series, v Verdict, claim, reason string) {
	s = Series{Metrics: map[string]Spread{}, Shares: map[string]float64{}}
	counted := s.count(trials)
	s.spread(counted)
	s.share(counted)
	s.lossBound(counted)
	v, reason = s.verdict(trials, counted)
	return s, v, s.claim(counted, v), reason
}

// count sorts the trials into those that count and the others.
func (s *Series) count(trials []Trial) (counted []Trial) {
	for _, t := range trials {
		switch {
		case t.Verdict == Invalid:
			s.Invalid++
		case t.Verdict == Aborted:
			s.Aborted++
		case len(counted) > 0 && t.Phase != counted[0].Phase:
			s.Apart++
		default:
			counted = append(counted, t)
			if t.Verdict == Pass {
				s.Met++
			}
		}
	}
	s.N = len(counted)
	return counted
}

// verdict is the worst of the trials, of which all are asked, also those that do
// not count for the figures.
func (s *Series) verdict(trials, counted []Trial) (Verdict, string) {
	for _, v := range []Verdict{Fail, Aborted} {
		if r, any := first(trials, v); any {
			return v, r
		}
	}
	if len(counted) == 0 {
		if r, any := first(trials, Invalid); any {
			return Invalid, r
		}
		return Invalid, "no trial was done"
	}
	if r, any := first(trials, Inconclusive); any {
		return Inconclusive, r
	}
	return Pass, ""
}

// first is the reason of the first trial with that verdict.
func first(trials []Trial, v Verdict) (reason string, any bool) {
	i := slices.IndexFunc(trials, func(t Trial) bool { return t.Verdict == v })
	if i < 0 {
		return "", false
	}
	if len(trials) == 1 {
		return trials[i].Reason, true
	}
	return fmt.Sprintf("trial %d: %s", trials[i].N, trials[i].Reason), true
}

func (s *Series) spread(trials []Trial) {
	by := map[string][]*Metric{}
	for i := range trials {
		for _, n := range trials[i].Metrics.all() {
			if *n.m != nil {
				by[n.name] = append(by[n.name], *n.m)
			}
		}
	}
	for name, ms := range by {
		s.Metrics[name] = spreadOf(ms)
	}
}

// spreadOf uses that the k-th smallest of unknown values lies between the k-th
// smallest of their lower bounds and the k-th smallest of their upper bounds.
func spreadOf(ms []*Metric) Spread {
	los, his, mids := make([]float64, len(ms)), make([]float64, len(ms)), make([]float64, len(ms))
	sp := Spread{N: len(ms), PNext: float64(len(ms)) / float64(len(ms)+1), Modes: []Mode{}}
	for i, m := range ms {
		los[i], his[i], mids[i] = m.LoMS, m.HiMS, (m.LoMS+m.HiMS)/2
		if m.Censored {
			sp.Censored++
		}
	}
	for _, g := range stats.Modes(mids, modeStep, modeLeastMS) {
		mode := Mode{N: len(g), At: [2]float64{los[g[0]], his[g[0]]}}
		for _, i := range g {
			mode.At[0], mode.At[1] = min(mode.At[0], los[i]), max(mode.At[1], his[i])
		}
		sp.Modes = append(sp.Modes, mode)
	}
	sp.Min = [2]float64{slices.Min(los), slices.Min(his)}
	sp.Median = [2]float64{stats.Median(los), stats.Median(his)}
	sp.Max = [2]float64{slices.Max(los), slices.Max(his)}
	return sp
}

func (s *Series) share(trials []Trial) {
	sums, total := map[string]float64{}, 0.0
	for i := range trials {
		part, whole := map[string]float64{}, true
		for _, name := range phases() {
			m := trials[i].Metrics.get(name)
			if m == nil {
				whole = false
				break
			}
			part[name] = max(0, (m.LoMS+m.HiMS)/2)
		}
		for name, p := range part {
			if whole {
				sums[name] += p
				total += p
			}
		}
	}
	for name, sum := range sums {
		if total > 0 {
			s.Shares[name] = sum / total
		}
	}
}

func (s *Series) lossBound(trials []Trial) {
	for _, t := range trials {
		if t.Metrics.Loss == nil || t.Metrics.Loss.Lost > 0 || t.Metrics.Reasons["loss"] != "" {
			return
		}
	}
	if len(trials) > 0 {
		b := stats.ZeroBound(len(trials), confidence)
		s.LossBound = &b
	}
}

// claim is what n trials allow to be said, in words.
func (s *Series) claim(trials []Trial, v Verdict) string {
	n := len(trials)
	met := fmt.Sprintf("%d of %d met", s.Met, n)
	if s.Apart > 0 {
		met += fmt.Sprintf(" (%d of another phase are not pooled)", s.Apart)
	}
	switch {
	case n == 0:
		return "no trial counts; no claim"
	case v != Pass:
		return met + "; no claim"
	case n < 5:
		return met + "; no 95 % claim"
	}
	claims := s.quantiles(trials)
	if s.LossBound != nil {
		claims = append(claims, fmt.Sprintf("no loss: probability ≤ %.1f %% (95 %%, n = %d)", *s.LossBound*100, n))
	}
	if len(claims) == 0 {
		return met + "; no figure to make a claim of"
	}
	return strings.Join(claims, "; ")
}

// quantiles are the claims on the RTO, strongest first.
func (s *Series) quantiles(trials []Trial) []string {
	var his []float64
	for _, t := range trials {
		if m := t.Metrics.RTO; m != nil && !m.Censored {
			his = append(his, m.HiMS)
		}
	}
	if len(his) != len(trials) {
		return nil // what was measured in some trials only says nothing about all
	}
	slices.SortFunc(his, cmp.Compare)
	var claims []string
	for _, q := range []struct {
		name string
		q    float64
	}{{"p99", 0.99}, {"p95", 0.95}, {"p90", 0.90}, {"median", 0.50}} {
		k, ok := stats.UpperRank(len(his), q.q, confidence)
		if !ok || len(claims) > 0 && q.name != "median" {
			continue // of the high ones the highest says the most
		}
		claims = append(claims, fmt.Sprintf("%s RTO ≤ %s (95 %%, n = %d)", q.name, words(his[k-1]), len(his)))
	}
	return claims
}

// ExitCode is the exit code of a verdict (contract, "Exit codes"). leftovers
// says that a fault or a trace of one is still in place.
func ExitCode(v Verdict, leftovers bool) int {
	switch {
	case leftovers:
		return 6
	case v == Fail:
		return 1
	case v == Aborted:
		return 4
	case v == Pass:
		return 0
	default: // inconclusive, invalid, and what this dapple does not know
		return 5
	}
}
