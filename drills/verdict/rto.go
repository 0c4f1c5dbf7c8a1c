package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/scenarios"
)

// A sum is outages of one stream that are less than together apart.
type sum struct {
	took     timeline.Interval
	events   []int
	censored bool
}

// measureOutages fills in outages, outage and RTO. Of several streams and
// classes the worst counts: the largest of unknown durations lies between the
// largest lower and the largest upper bound.
func (j *judge) measureOutages() {
	reason := ""
	for _, by := range j.writers() {
		if clientClass(by) != "" {
			j.clients = append(j.clients, j.view(by))
		}
	}
	switch {
	case !j.from.ok:
		reason = "no fault was made"
	case len(j.clients) == 0:
		reason = "no client wrote"
	}
	if reason != "" {
		j.m.Reasons["outage"], j.m.Reasons["rto"] = reason, reason
		j.clients = nil
		return
	}
	var singles, sums []sum
	for _, v := range j.clients {
		for _, o := range v.outages {
			singles = append(singles, sum{o.took, o.events, o.censored})
			j.m.Outages = append(j.m.Outages, Outage{
				Class: v.class, Client: v.by, LoMS: timeline.MS(o.took.Lo), HiMS: timeline.MS(o.took.Hi),
				Censored: o.censored, Events: indexes(o.events), At: ms(o.span),
			})
		}
		sums = append(sums, v.sums()...)
	}
	j.m.Outage, j.m.RTO = j.worst(singles), j.worst(sums)
}

// sums joins outages less than together apart.
func (v clientView) sums() []sum {
	var out []sum
	for i, o := range v.outages {
		if i > 0 && o.span.Lo-v.outages[i-1].span.Hi < together {
			s := &out[len(out)-1]
			s.took.Lo += o.took.Lo
			s.took.Hi += o.took.Hi
			s.events = append(s.events, o.events...)
			s.censored = s.censored || o.censored
			continue
		}
		out = append(out, sum{o.took, slices.Clone(o.events), o.censored})
	}
	return out
}

// worst is the metric of the longest.
func (j *judge) worst(sums []sum) *Metric {
	if len(sums) == 0 {
		sums = j.hiccups()
	}
	byHi := slices.MaxFunc(sums, func(a, b sum) int { return cmp.Compare(a.took.Hi, b.took.Hi) })
	byLo := slices.MaxFunc(sums, func(a, b sum) int { return cmp.Compare(a.took.Lo, b.took.Lo) })
	m := &Metric{LoMS: timeline.MS(byLo.took.Lo), HiMS: timeline.MS(byHi.took.Hi), Events: indexes(byHi.events, byLo.events)}
	m.Censored = slices.ContainsFunc(sums, func(s sum) bool { return s.censored })
	return m
}

// hiccups stand in where there was no outage: that is how short one the probes
// could have missed.
func (j *judge) hiccups() []sum {
	var out []sum
	for _, v := range j.clients {
		out = append(out, sum{took: timeline.Interval{Hi: v.densest}, events: v.gapEvents})
		for _, o := range v.hiccups {
			out = append(out, sum{took: o.took, events: o.events})
		}
	}
	return out
}

func (j *judge) judgeRTO() {
	want := j.in.Objectives.RTO
	m := j.m.RTO
	if want == nil {
		j.reportUndeclared("rto", m)
		return
	}
	f := Finding{Objective: "rto", Want: "≤ " + wordsOf(want.D()), Outcome: Unproven}
	if m == nil {
		f.Got, f.Text = "not measured", j.m.Reasons["rto"]
		j.finding(f)
		return
	}
	f.Got, f.Events = gotOf(m), m.Events
	limit := timeline.MS(want.D())
	switch {
	case m.LoMS > limit:
		f.Outcome = Missed
	case m.Censored:
		f.Text = j.whyCensored()
		j.tooShort(want.D())
	case m.HiMS <= limit:
		f.Outcome = Met
	default:
		f.Text = "the measurement is too coarse to tell; " + j.finerProbe(want.D())
	}
	j.finding(f)
	j.judgeWidth(want.D())
	if j.in.AppReconnect > want.D()/20 {
		j.warn(Finding{Objective: "app_reconnect", Want: "≤ " + wordsOf(want.D()/20) + " (5 % of the RTO)", Got: wordsOf(j.in.AppReconnect),
			Text: "how the application reconnects, as declared under clients, is itself a large part of its RTO"})
	}
}

func gotOf(m *Metric) string {
	s := span(m.LoMS, m.HiMS)
	if m.Censored {
		s = "at least " + words(m.LoMS)
	}
	return s
}

func (j *judge) whyCensored() string {
	for _, v := range j.clients {
		for _, o := range v.outages {
			if o.censored {
				return fmt.Sprintf("of %s: %s", v.by, o.why)
			}
		}
	}
	return ""
}

// tooShort marks the trial as invalid if an outage was open at the end of a
// window that was shorter than the objective: it could not have been missed.
func (j *judge) tooShort(want time.Duration) {
	window := j.end - j.from.at.Hi
	if window >= want {
		return
	}
	for _, v := range j.clients {
		for _, o := range v.outages {
			if o.censored && o.after == nil {
				j.invalid = append(j.invalid, fmt.Sprintf("window too short: %s after the effect it ended, with %s still without service; the objective is %s", wordsOf(window), v.by, wordsOf(want)))
				return
			}
		}
	}
}

// judgeWidth flags an error of more than 10 % of the RTO (measurement rules,
// "Resolution rule").
func (j *judge) judgeWidth(want time.Duration) {
	m := j.m.RTO
	if width := m.HiMS - m.LoMS; !m.Censored && width > timeline.MS(want)/10 {
		j.warn(Finding{Objective: "resolution", Want: "± within 10 % of the RTO: " + wordsOf(want/10), Got: words(width),
			Text: j.finerProbe(want)}, m.Events)
	}
}

// finerProbe names the probe period that would do: p ≤ (0.1·RTO − RTT)/2.
func (j *judge) finerProbe(want time.Duration) string {
	var rtt time.Duration
	for _, v := range j.clients {
		if l := j.usualLatency(v.by); v.class == "fresh" || rtt == 0 {
			rtt = l.most
		}
	}
	p := (want/10 - rtt) / 2
	if p <= 0 {
		return fmt.Sprintf("no probe period would do: a round trip alone takes up to %s", wordsOf(rtt))
	}
	s := fmt.Sprintf("a probe period of %s or less would do", wordsOf(p))
	if j.in.FreshPeriod > 0 && j.in.FreshPeriod <= p {
		s = fmt.Sprintf("the period of the class fresh (%s) would do: the width comes from how the application reconnects, or from several outages", wordsOf(j.in.FreshPeriod))
	}
	return s
}

// judgeTime judges a metric that has a limit, by the resolution rule.
func (j *judge) judgeTime(name string, want *scenarios.Duration) {
	m := j.m.get(name)
	if want == nil {
		if m != nil {
			j.reportUndeclared(name, m)
		}
		return
	}
	if m == nil {
		m = j.bounds[name] // it may prove a miss
	}
	f := Finding{Objective: name, Want: "≤ " + wordsOf(want.D()), Got: "not measured", Outcome: Unproven}
	limit := timeline.MS(want.D())
	switch {
	case m == nil:
		f.Text = j.m.Reasons[name]
	case m.LoMS > limit:
		f.Outcome = Missed
	case m.Censored:
		f.Text = j.m.Reasons[name]
	case m.HiMS <= limit:
		f.Outcome = Met
	default:
		f.Text = "the measurement is too coarse to tell"
	}
	if m != nil {
		f.Got, f.Events = gotOf(m), m.Events
	}
	j.finding(f)
}

// reportUndeclared tells a number for which no objective was declared.
func (j *judge) reportUndeclared(name string, m *Metric) {
	f := Finding{Objective: name, Want: "not declared", Got: "not measured", Outcome: Informational, Text: j.m.Reasons[name]}
	if m != nil {
		f.Got, f.Events = gotOf(m), m.Events
	}
	j.finding(f)
}
