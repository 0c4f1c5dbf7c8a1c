package reports

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// views splits a run into its trials. Events without a trial's number belong to
// the only trial there is, or to none.
func views(r *Run) []trialView {
	by := map[int]timeline.Timeline{}
	for _, e := range r.Timeline {
		n := e.Trial
		if n == 0 && len(r.Record.Trials) == 1 {
			n = r.Record.Trials[0].N
		}
		by[n] = append(by[n], e)
	}
	out := make([]trialView, len(r.Record.Trials))
	for i := range r.Record.Trials {
		t := &r.Record.Trials[i]
		v := trialView{T: t, Events: by[t.N]}
		v.Start, v.End = extent(t, v.Events)
		v.names = nodeNames(r, v.Events)
		out[i] = v
	}
	return out
}

// extent is the time that the trial's events cover; without events, what its
// faults and outages do.
func extent(t *verdict.Trial, es timeline.Timeline) (lo, hi time.Duration) {
	if len(es) == 0 {
		for _, f := range t.Faults {
			for _, at := range []*[2]float64{f.Inject, f.Effect, f.Revert} {
				if at != nil {
					hi = max(hi, timeline.FromMS(at[1]))
				}
			}
		}
		for _, o := range t.Metrics.Outages {
			hi = max(hi, timeline.FromMS(o.At[1]))
		}
		return 0, max(hi, time.Second)
	}
	lo = es[0].At.Lo
	for _, e := range es {
		if e.Kind == timeline.Lost { // dated by the write, not by the audit
			continue
		}
		lo, hi = min(lo, e.At.Lo), max(hi, e.At.Hi)
	}
	if hi <= lo {
		hi = lo + time.Second
	}
	return lo, hi
}

// nodeNames are the nodes of the record; if it has none, those whose role was
// polled.
func nodeNames(r *Run, es timeline.Timeline) []string {
	var names []string
	for _, n := range r.Record.System.Nodes {
		names = append(names, n.Name)
	}
	if len(names) > 0 {
		return names
	}
	for _, e := range es {
		if n, ok := strings.CutPrefix(e.By, "role/"); ok && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// A mark is one instant of the failover.
type mark struct {
	At    timeline.Interval
	Name  string
	Since string // since the effect; "" for what is before it
	Exact string // the same with its error bar
	Event int    // the event that shows it, or -1
}

// marks finds the instants of a trial in the order of time.
func (v *trialView) marks() []mark {
	var out []mark
	var effect *timeline.Interval
	for _, f := range v.T.Faults {
		ev := firstEvent(f.Events)
		if f.Inject != nil {
			out = append(out, mark{At: fromMS(*f.Inject), Name: "inject", Event: ev})
		}
		if f.Effect != nil {
			at := fromMS(*f.Effect)
			if effect == nil || at.Lo < effect.Lo {
				effect = &at
			}
			out = append(out, mark{At: at, Name: "effect", Event: v.eventIn(f.Events, timeline.FaultEffect)})
		}
		if f.Revert != nil {
			out = append(out, mark{At: fromMS(*f.Revert), Name: "reverted", Event: v.eventIn(f.Events, timeline.FaultReverted)})
		}
	}
	if effect == nil {
		return sortMarks(out)
	}
	out = append(out, v.failoverMarks(*effect)...)
	for _, m := range []struct{ metric, name string }{{"rejoin", "rejoined"}, {"redundancy", "redundant"}} {
		if e, ok := v.lastOf(read(v.T, m.metric)); ok {
			out = append(out, mark{At: e.At, Name: m.name, Event: e.I})
		}
	}
	for i := range out {
		if m := &out[i]; m.At.Lo >= effect.Lo && m.Name != "effect" && m.Name != "inject" {
			d := m.At.Sub(*effect)
			m.Since = "+" + about(max(0, timeline.MS(d.Lo)), timeline.MS(d.Hi))
			m.Exact = "+" + plusMinus(max(0, timeline.MS(d.Lo)), timeline.MS(d.Hi)) + " after the effect"
		}
	}
	return sortMarks(out)
}

// failoverMarks turns the chain of durations back into instants: each is the
// difference of two, so the next one's bounds follow from the last one's.
func (v *trialView) failoverMarks(effect timeline.Interval) []mark {
	var out []mark
	at, names := effect, []string{"detected", "elected", "promoted", "first ack"}
	for i, name := range chain() {
		m := read(v.T, name)
		if !m.Known {
			break
		}
		at = after(at, m)
		e, ok := v.lastOf(m)
		ev := -1
		if ok {
			ev = e.I
		}
		out = append(out, mark{At: at, Name: names[i], Event: ev})
	}
	if len(out) == len(names) {
		return out
	}
	if m := read(v.T, "first_ack"); m.Known {
		e, _ := v.lastOf(m)
		out = append(out, mark{At: after(effect, m), Name: "first ack", Event: e.I})
	}
	return out
}

// after is the instant whose distance from a is m. If the bounds were clamped
// on the way, their middle is all that can be told.
func after(a timeline.Interval, m reading) timeline.Interval {
	lo, hi := timeline.FromMS(m.Lo)+a.Hi, timeline.FromMS(m.Hi)+a.Lo
	if lo > hi {
		mid := (lo + hi) / 2
		return timeline.Interval{Lo: mid, Hi: mid}
	}
	return timeline.Interval{Lo: lo, Hi: hi}
}

// lastOf is the latest of a metric's events: the one that ends it.
func (v *trialView) lastOf(m reading) (timeline.Event, bool) {
	best, found := timeline.Event{I: -1}, false
	if !m.Known {
		return best, false
	}
	for _, i := range m.Events {
		if e, ok := v.event(i); ok && (!found || e.At.Hi > best.At.Hi) {
			best, found = e, true
		}
	}
	return best, found
}

// event finds an event by its index. Recorded in order, they are sorted by it.
func (v *trialView) event(i int) (timeline.Event, bool) {
	k, ok := slices.BinarySearchFunc(v.Events, i, func(e timeline.Event, i int) int { return cmp.Compare(e.I, i) })
	if !ok {
		return timeline.Event{}, false
	}
	return v.Events[k], true
}

func (v *trialView) eventIn(events []int, kind timeline.Kind) int {
	for _, i := range events {
		if e, ok := v.event(i); ok && e.Kind == kind {
			return i
		}
	}
	return firstEvent(events)
}

func firstEvent(events []int) int {
	if len(events) == 0 {
		return -1
	}
	return events[0]
}

func sortMarks(ms []mark) []mark {
	slices.SortStableFunc(ms, func(a, b mark) int { return cmp.Compare(a.At.Lo+a.At.Hi, b.At.Lo+b.At.Hi) })
	return ms
}

func fromMS(at [2]float64) timeline.Interval {
	return timeline.Interval{Lo: timeline.FromMS(at[0]), Hi: timeline.FromMS(at[1])}
}

// closeUp is the span worth enlarging: from just before the injection to just
// after the last mark of the failover. ok is false if the whole trial shows it
// well enough.
func (v *trialView) closeUp() (lo, hi time.Duration, ok bool) {
	first, failover := true, false
	for _, m := range v.marks() {
		switch m.Name {
		case "detected", "elected", "promoted", "first ack":
			failover = true
		}
		switch m.Name {
		case "inject", "effect", "detected", "elected", "promoted", "first ack":
			if first || m.At.Lo < lo {
				lo = m.At.Lo
			}
			hi = max(hi, m.At.Hi)
			first = false
		}
	}
	for _, o := range v.T.Metrics.Outages {
		if at := fromMS(o.At); !first && !o.Censored {
			lo, hi = min(lo, at.Lo), max(hi, at.Hi)
		}
	}
	if !failover || hi <= lo {
		return 0, 0, false
	}
	pad := (hi - lo) / 8
	lo, hi = max(v.Start, lo-pad), min(v.End, hi+pad)
	return lo, hi, hi-lo < (v.End-v.Start)*45/100
}
