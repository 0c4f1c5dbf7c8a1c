package selftest

import (
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/probes/ledger"
	"github.com/dapple-drills/dapple/probes/stall"
)

// A Reading is one number of one run beside the truth.
type Reading struct {
	Metric string     `json:"metric"`
	Truth  [2]float64 `json:"truth"` // ms, or a count
	Got    [2]float64 `json:"got"`
	// Bound is what the width may be at most: by the periods of the probes, a
	// round trip, and what the runner was measured to be held up. 0: it is not
	// bounded.
	Bound float64 `json:"bound,omitempty"`
	// Wrong says why the reading is not what it should be, or "".
	Wrong string `json:"wrong,omitempty"`
}

// The ways to be wrong.
const (
	outside    = "the truth is outside"
	tooWide    = "wider than its bound"
	unmeasured = "not measured"
)

func (r Reading) width() float64 { return r.Got[1] - r.Got[0] }

// off is how far the middle of what was read is from that of the truth.
func (r Reading) off() float64 { return (r.Got[0]+r.Got[1])/2 - (r.Truth[0]+r.Truth[1])/2 }

// A checker compares the record of a run with the truth.
type checker struct {
	outcome
	base time.Time // of the trial's clock
	t    verdict.Trial
	rtt  time.Duration
	out  []Reading
}

// check returns the readings of a run; why says that there are none, since the
// trial was not made.
func check(o outcome, base time.Time) (all []Reading, why string) {
	if len(o.rec.Trials) != 1 || o.truth.effect.IsZero() {
		return nil, or(o.rec.Reason, "no trial was made")
	}
	c := &checker{outcome: o, base: base, t: o.rec.Trials[0]}
	if c.rtt = c.roundTrip(); timeline.MS(c.rtt) > hiccup {
		return nil, fmt.Sprintf("the machine is too busy: a write took up to %v before anything was done to the servers, which share it with us", c.rtt.Round(time.Millisecond))
	}
	c.effect()
	c.fresh()
	for _, d := range durations() {
		c.duration(d.name, d.of(&c.t.Metrics), c.bound(d.name))
	}
	c.loss()
	c.split()
	c.verdict()
	return c.out, ""
}

// roundTrip is the longest time that nearly all writes took before the fault.
func (c *checker) roundTrip() time.Duration {
	w, most := c.t.Metrics.Workload, 0.0
	until := timeline.MS(c.truth.effect.Sub(c.base))
	for i, p99 := range w.P99 {
		if w.FirstMS+float64(i+1)*w.BucketMS <= until {
			most = max(most, p99)
		}
	}
	return timeline.FromMS(most)
}

// A duration is a metric that is a length of time.
type duration struct {
	name string
	of   func(*verdict.Metrics) *verdict.Metric
}

func durations() []duration {
	return []duration{
		{"detection", func(m *verdict.Metrics) *verdict.Metric { return m.Detection }},
		{"election", func(m *verdict.Metrics) *verdict.Metric { return m.Election }},
		{"promotion", func(m *verdict.Metrics) *verdict.Metric { return m.Promotion }},
		{"routing", func(m *verdict.Metrics) *verdict.Metric { return m.Routing }},
		{"rto", func(m *verdict.Metrics) *verdict.Metric { return m.RTO }},
		{"fence_lag", func(m *verdict.Metrics) *verdict.Metric { return m.FenceLag }},
		{"rejoin", func(m *verdict.Metrics) *verdict.Metric { return m.Rejoin }},
		{"redundancy", func(m *verdict.Metrics) *verdict.Metric { return m.Redundancy }},
		{"false_green", func(m *verdict.Metrics) *verdict.Metric { return m.FalseGreen }},
		{"false_red", func(m *verdict.Metrics) *verdict.Metric { return m.FalseRed }},
	}
}

// duration reads a metric. One that happened must have been measured.
func (c *checker) duration(name string, m *verdict.Metric, bound time.Duration) {
	is, happened := c.truth.lasted[name]
	if name == "rto" {
		is = c.rto()
	}
	r := Reading{Metric: name, Truth: [2]float64{timeline.MS(is.Lo), timeline.MS(is.Hi)}}
	switch {
	case !happened && m == nil:
		return
	case m == nil:
		r.Wrong = unmeasured + ": " + c.t.Metrics.Reasons[name]
		c.out = append(c.out, r)
		return
	case !happened:
		r.Wrong = "there was none"
	}
	r.Got = [2]float64{m.LoMS, m.HiMS}
	c.read(r, bound)
}

// read adds a reading, unless it is known to be wrong with its own verdict on it.
func (c *checker) read(r Reading, bound time.Duration) {
	r.Bound = timeline.MS(bound)
	switch {
	case r.Wrong != "":
	case r.Got[0] > r.Truth[1]+clockUnit || r.Got[1] < r.Truth[0]-clockUnit:
		r.Wrong = outside
	case bound > 0 && r.width() > r.Bound:
		r.Wrong = tooWide
	}
	c.out = append(c.out, r)
}

// clockUnit is the resolution of the ledger's books, in ms: a microsecond.
const clockUnit = 0.001

// effect reads when the fault began.
func (c *checker) effect() {
	at := timeline.MS(c.truth.effect.Sub(c.base))
	for _, f := range c.t.Faults {
		if f.Effect != nil {
			c.read(Reading{Metric: "effect", Truth: [2]float64{at, at}, Got: *f.Effect}, 0)
			return
		}
	}
	c.out = append(c.out, Reading{Metric: "effect", Wrong: unmeasured})
}

// fresh reads the outage as the class fresh saw it, which is what principle 2
// bounds. Whatever else it saw must not be proven to have lasted.
func (c *checker) fresh() {
	is := c.truth.outage
	begin := timeline.MS(c.truth.effect.Sub(c.base) + c.c.Script.Begin)
	end := begin + timeline.MS(is.Hi)
	r := Reading{Metric: "outage", Truth: [2]float64{timeline.MS(is.Lo), timeline.MS(is.Hi)}}
	seen := false
	for _, o := range c.t.Metrics.Outages {
		if o.Class != "fresh" {
			continue
		}
		beside := is == none || o.At[1] < begin || o.At[0] > end
		switch {
		case beside && o.LoMS > c.hiccup(timeline.Interval{Lo: timeline.FromMS(o.At[0]), Hi: timeline.FromMS(o.At[1])}):
			c.out = append(c.out, Reading{Metric: "outage", Got: [2]float64{o.LoMS, o.HiMS}, Wrong: "there was none then"})
		case !beside && (!seen || o.HiMS > r.Got[1]):
			seen, r.Got = true, [2]float64{o.LoMS, o.HiMS}
		}
	}
	switch m := c.t.Metrics.Outage; {
	case seen:
		c.read(r, c.bound("outage"))
	case is == none && m != nil:
		r.Truth[1], r.Got = c.hiccup(always), [2]float64{m.LoMS, m.HiMS}
		c.read(r, c.bound("outage")+timeline.FromMS(r.Truth[1]))
	case m == nil:
		r.Wrong = unmeasured + ": " + c.t.Metrics.Reasons["outage"]
		c.out = append(c.out, r)
	default:
		r.Got = [2]float64{0, m.HiMS}
		if c.held(always) == 0 {
			r.Wrong = "the class fresh saw no outage"
		}
		c.read(r, 0) // this process was held up as long as the servers: nothing is proven but how long it was at most
	}
}

// hiccup is how long, in ms, a system that nothing was done to may let a request
// wait: below it nothing counts as an outage (verdict: leastHang).
const hiccup = 50

// loss reads the counts of the audits, and the age of the oldest loss.
func (c *checker) loss() {
	l := c.t.Metrics.Loss
	if l == nil || c.t.Metrics.Reasons["loss"] != "" {
		c.out = append(c.out, Reading{Metric: "lost", Wrong: unmeasured + ": " + c.t.Metrics.Reasons["loss"]})
		return
	}
	for _, n := range []struct {
		name string
		got  int64
	}{{"lost", l.Lost}, {"late", l.Late}, {"duplicate", l.Duplicate}, {"phantom", l.Phantom}} {
		is, got := float64(c.truth.counts[n.name]), float64(n.got)
		c.read(Reading{Metric: n.name, Truth: [2]float64{is, is}, Got: [2]float64{got, got}}, 0)
	}
	if _, ok := c.truth.lasted["rpo"]; ok {
		c.duration("rpo", &verdict.Metric{LoMS: l.RPOLoMS, HiMS: l.RPOHiMS}, 0)
	}
}

// surelySeen is the shortest overlap that an old session and a direct write
// cannot both miss.
const surelySeen = ledger.DefaultOldPeriod + ledger.DefaultDirectPeriod

// split reads the level of split-brain, and how long both sides took writes.
func (c *checker) split() {
	s, over := c.t.Metrics.SplitBrain, c.truth.overlap
	least, most := 0, 1 // two may claim to be primary without either lying for long
	if over > 0 {
		most = 3
		if c.truth.kept {
			most = 2
		}
		effect := c.truth.effect.Sub(c.base)
		if over > surelySeen+2*c.rtt+stall.Threshold+c.held(timeline.Interval{Lo: effect, Hi: effect + c.c.Script.Fence}) {
			least = most
		}
	}
	r := Reading{Metric: "split_brain", Truth: [2]float64{float64(least), float64(most)}, Got: [2]float64{float64(s.Level), float64(s.Level)}}
	if s.ProvenAbsent && over > 0 {
		r.Wrong = "its absence is called proven"
	}
	c.read(r, 0)
	if s.Overlap != nil && over > 0 {
		at := timeline.MS(over)
		c.read(Reading{Metric: "overlap", Truth: [2]float64{at, at}, Got: [2]float64{s.Overlap.LoMS, s.Overlap.HiMS}}, c.bound("fence_lag"))
	}
}

// verdict reads the findings: a miss is never called met, nor the other way
// round. What is inconclusive claims nothing.
func (c *checker) verdict() {
	n, over := c.truth.counts, c.truth.overlap
	rto := timeline.MS(c.c.RTO)
	is := c.rto()
	c.finding("rto", timeline.MS(is.Lo) > rto, timeline.MS(is.Hi) <= rto)
	c.finding("rpo", n["lost"] > 0, n["lost"] == 0)
	c.finding("late_writes", n["late"] > 0, n["late"] == 0)
	c.finding("split_brain", over > 0, over <= 0)
	c.finding("failover", false, true)
}

// rto is the truth about the RTO: what the clients may have met of themselves, and
// of this process being held up, is added to the outage.
func (c *checker) rto() timeline.Interval {
	is := c.truth.lasted["rto"]
	is.Hi += timeline.FromMS(c.hiccup(always) - hiccup)
	return is
}

// finding compares one with the truth: that it was surely missed, or surely met.
func (c *checker) finding(objective string, missed, met bool) {
	i := slices.IndexFunc(c.t.Findings, func(f verdict.Finding) bool {
		return f.Objective == objective && f.Severity == ""
	})
	if i < 0 {
		c.out = append(c.out, Reading{Metric: "verdict", Wrong: "nothing is found about " + objective})
		return
	}
	f := c.t.Findings[i]
	r := Reading{Metric: "verdict"}
	if f.Outcome == verdict.Met && missed || f.Outcome == verdict.Missed && met {
		r.Wrong = fmt.Sprintf("%s is found %s: want %s, got %s", objective, f.Outcome, f.Want, f.Got)
	}
	c.out = append(c.out, r)
}
