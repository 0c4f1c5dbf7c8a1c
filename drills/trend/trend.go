// Package trend puts the drills of one scenario on one system in a row, metric by
// metric, and names where one got worse beyond the error bars. It is a pure function
// of the history.
//
// Trials of one drill are brought together by their median; those of different
// drills, phases or scenarios never are.
package trend

import (
	"cmp"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/stats"
)

// Schema is the format of trends as JSON.
const Schema = "dapple.trend/v1"

// Trends are all that were asked for.
type Trends struct {
	Schema      string   `json:"schema"`
	Series      []Series `json:"series"`
	Regressions int      `json:"regressions"`
}

// A Series is one metric of one scenario on one system, oldest first.
type Series struct {
	System   string   `json:"system"`
	Scenario string   `json:"scenario"`
	Phase    string   `json:"phase"`
	Metric   string   `json:"metric"`
	LimitMS  *float64 `json:"limit_ms"` // the objective of the newest record; null: none was declared
	Points   []Point  `json:"points"`
	Shifts   []Shift  `json:"shifts"`
}

// A Point is one record: the bounds of its median, and those of all its trials.
type Point struct {
	Run       string          `json:"run"`
	Started   time.Time       `json:"started"`
	Verdict   verdict.Verdict `json:"verdict"`
	N         int             `json:"n"`
	MedianMS  [2]float64      `json:"median_ms"`
	RangeMS   [2]float64      `json:"range_ms"`
	Censored  bool            `json:"censored,omitempty"`    // the upper bounds prove nothing
	OtherThan bool            `json:"other_setup,omitempty"` // settings or versions are not those of the point before

	readings []history.Reading
}

// The calls on a Shift; see also `dapple diff`.
const (
	BeyondBars   = "beyond the error bars"
	BeyondChance = "beyond chance"
)

// A Shift is two records whose medians cannot be the same.
type Shift struct {
	Worse   bool       `json:"worse"` // it takes longer: a regression
	From    string     `json:"from"`  // the run before
	To      string     `json:"to"`
	DeltaMS [2]float64 `json:"delta_ms"` // the bounds of To minus From; ±1.6e12: none
	P       float64    `json:"p"`        // upper bound, two-sided, if the same system gave both
	Call    string     `json:"call"`
	Setup   bool       `json:"other_setup"` // settings or versions differ
	Drift   bool       `json:"drift"`       // From is not the record before: small steps that add up
}

// significance and censored are those of `dapple diff`.
const (
	significance = 0.05
	unbounded    = 1.6e12
)

// Make sorts the runs and their readings into series. Runs of which no trial counts
// are in none.
func Make(runs []history.Run, readings map[string][]history.Reading, metric string) Trends {
	t := Trends{Schema: Schema, Series: []Series{}}
	type key struct{ system, scenario, phase, metric string }
	at := map[key]int{}
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(a, b history.Run) int { return a.Started.Compare(b.Started) })
	setups := map[key]string{}
	for i := range runs {
		r := &runs[i]
		for name, rs := range byMetric(readings[r.Run]) {
			if metric != "" && name != metric {
				continue
			}
			k := key{r.System, r.Scenario, r.Digest.Phase, name}
			n, there := at[k]
			if !there {
				n = len(t.Series)
				at[k] = n
				t.Series = append(t.Series, Series{System: k.system, Scenario: k.scenario, Phase: k.phase, Metric: k.metric, Shifts: []Shift{}})
			}
			s := &t.Series[n]
			p := point(r, rs)
			p.OtherThan = there && setups[k] != r.Digest.Setup
			setups[k] = r.Digest.Setup
			s.Points, s.LimitMS = append(s.Points, p), limit(name, r.Digest.Objectives)
		}
	}
	slices.SortStableFunc(t.Series, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.System, b.System), cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Phase, b.Phase), cmp.Compare(rank(a.Metric), rank(b.Metric)), cmp.Compare(a.Metric, b.Metric))
	})
	for i := range t.Series {
		t.Series[i].shifts()
		for _, s := range t.Series[i].Shifts {
			if s.Worse {
				t.Regressions++
			}
		}
	}
	return t
}

func byMetric(rs []history.Reading) map[string][]history.Reading {
	out := map[string][]history.Reading{}
	for _, r := range rs {
		out[r.Metric] = append(out[r.Metric], r)
	}
	return out
}

// rank is the order in which metrics are told; what is not named comes last.
func rank(metric string) int {
	i := slices.Index([]string{"rto", "detection", "election", "promotion", "routing", "outage"}, metric)
	if i < 0 {
		return 99
	}
	return i
}

// limit is the declared objective of a metric, if it has one.
func limit(metric string, o drills.Objectives) *float64 {
	return map[string]*float64{"rto": o.RTOMS, "detection": o.DetectionMS, "rejoin": o.RejoinMS, "redundancy": o.RedundancyMS, "false_green": o.FalseGreenMS}[metric]
}

func point(r *history.Run, rs []history.Reading) Point {
	p := Point{Run: r.Run, Started: r.Started, Verdict: r.Verdict, N: len(rs), readings: rs}
	var los, his []float64
	for i := range rs {
		hi := rs[i].Hi
		if rs[i].Censored {
			p.Censored = true
			hi = unbounded
		}
		los, his = append(los, rs[i].Lo), append(his, hi)
	}
	p.MedianMS = [2]float64{stats.Median(los), stats.Median(his)}
	p.RangeMS = [2]float64{slices.Min(los), slices.Max(his)}
	return p
}

// shifts compares each point with the one before, and, where none of those steps
// shows anything, the newest with the oldest of the same setup.
func (s *Series) shifts() {
	for i := 1; i < len(s.Points); i++ {
		if x, ok := shift(&s.Points[i-1], &s.Points[i]); ok {
			x.Setup = s.Points[i].OtherThan
			s.Shifts = append(s.Shifts, x)
		}
	}
	last := len(s.Points) - 1
	first := last
	for first > 0 && !s.Points[first].OtherThan {
		first--
	}
	if len(s.Shifts) > 0 || last-first < 2 {
		return
	}
	if x, ok := shift(&s.Points[first], &s.Points[last]); ok {
		x.Drift = true
		s.Shifts = append(s.Shifts, x)
	}
}

// shift is what is proven between two records; ok is false if their medians may be
// the same.
func shift(a, b *Point) (x Shift, ok bool) {
	worse := a.MedianMS[1] < b.MedianMS[0]
	if !worse && b.MedianMS[1] >= a.MedianMS[0] {
		return x, false
	}
	x = Shift{Worse: worse, From: a.Run, To: b.Run, Call: BeyondBars,
		DeltaMS: [2]float64{b.MedianMS[0] - a.MedianMS[1], b.MedianMS[1] - a.MedianMS[0]}}
	if b.MedianMS[1] >= unbounded {
		x.DeltaMS[1] = unbounded
	}
	if a.MedianMS[1] >= unbounded {
		x.DeltaMS[0] = -unbounded
	}
	x.P = stats.RankSum(a.N, b.N, max(below(a.readings, b.readings), below(b.readings, a.readings)))
	if x.P <= significance {
		x.Call = BeyondChance
	}
	return x, true
}

// below counts the pairs of which the first is certainly less.
func below(as, bs []history.Reading) (n int) {
	for _, a := range as {
		for _, b := range bs {
			if !a.Censored && a.Hi < b.Lo {
				n++
			}
		}
	}
	return n
}
