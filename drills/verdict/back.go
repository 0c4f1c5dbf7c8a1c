package verdict

import (
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// measureBack measures rejoin and redundancy.
func (j *judge) measureBack() {
	if !j.from.ok {
		j.m.Reasons["rejoin"], j.m.Reasons["redundancy"] = "no fault was made", "no fault was made"
		return
	}
	j.measureRejoin()
	j.measureRedundancy()
}

// measureRejoin measures, for the slowest of the nodes that a fault was on, from
// the moment at which it was given back (started again by anyone, or its fault
// reverted) until it was first seen to take part in the present lineage without
// lag. Before it is given back it cannot.
func (j *judge) measureRejoin() {
	var worst *Metric
	watched := false
	for _, n := range j.faultyNames() {
		segs := segments(j.streams[string(timeline.Member)+" member/"+n])
		if len(segs) == 0 {
			continue // it holds no data
		}
		watched = true
		m, why := j.rejoin(n, segs)
		if m == nil {
			j.m.Reasons["rejoin"] = why
			return
		}
		if worst == nil {
			worst = m
		} else {
			worst = &Metric{
				LoMS: max(worst.LoMS, m.LoMS), HiMS: max(worst.HiMS, m.HiMS),
				Events: indexes(worst.Events, m.Events), Censored: worst.Censored || m.Censored,
			}
		}
		if m.Censored {
			j.m.Reasons["rejoin"] = why
		}
	}
	if !watched {
		j.m.Reasons["rejoin"] = "how the nodes take part was not watched"
		return
	}
	j.m.Rejoin = worst
	if worst.Censored && j.in.Objectives.Rejoin == nil {
		j.m.Rejoin = nil // a lower bound is of use against an objective only
	}
}

func (j *judge) faultyNames() []string {
	var out []string
	for _, f := range j.faults {
		if (f.effect != nil || f.injected != nil) && !slices.Contains(out, f.node) {
			out = append(out, f.node)
		}
	}
	slices.Sort(out)
	return out
}

func takesPart(state string) bool { return state == "following" || state == "primary" }

// rejoin is the metric of one node, or why there is none.
func (j *judge) rejoin(node string, segs []segment) (*Metric, string) {
	back, ok := j.backEvent(node)
	if !ok {
		return nil, node + " was not given back"
	}
	for i, s := range segs {
		if !takesPart(s.value) || s.last.At.Hi < back.At.Lo || s.value == "primary" && j.stalePrimary(node) {
			continue
		}
		at := began(segs, i)
		at.Lo = max(at.Lo, back.At.Lo)
		at.Hi = max(at.Hi, at.Lo)
		events := of(back, s.first)
		if i > 0 {
			events = append(events, segs[i-1].last.I)
		}
		d := at.Sub(back.At)
		return &Metric{LoMS: timeline.MS(max(0, d.Lo)), HiMS: timeline.MS(max(0, d.Hi)), Events: indexes(events)}, ""
	}
	last := segs[len(segs)-1].last
	d := last.At.Sub(back.At)
	why := fmt.Sprintf("%s was not seen to follow again: it was %s until the window ended", node, last.Value)
	if d.Lo <= 0 {
		return nil, why
	}
	return &Metric{LoMS: timeline.MS(d.Lo), HiMS: timeline.MS(d.Hi), Censored: true, Events: indexes(of(back, last))}, why
}

// stalePrimary says whether the node cannot be the primary of the present
// lineage any more, whatever it is listed as.
func (j *judge) stalePrimary(node string) bool {
	return j.failedOver() && j.moves[len(j.moves)-1] != node
}

// backEvent is the first event by which the node was given back.
func (j *judge) backEvent(node string) (timeline.Event, bool) {
	var first *timeline.Event
	for _, k := range []timeline.Kind{timeline.Restarted, timeline.FaultReverted} {
		for _, e := range j.kinds[k] {
			if e.Node == node && e.At.Hi >= j.from.at.Lo && (first == nil || e.At.Lo < first.At.Lo) {
				first = &e
			}
		}
	}
	if first == nil {
		return timeline.Event{}, false
	}
	return *first, true
}

// unknownRedundancy is the Value of a look to which the system gave no answer.
const unknownRedundancy = "unknown"

// measureRedundancy measures from the effect until the line that describes the
// redundancy was for good what it was before.
func (j *judge) measureRedundancy() {
	segs := j.redundancy()
	k := slices.IndexFunc(segs, func(s segment) bool { return s.first.At.Lo > j.from.at.Lo })
	if k < 0 {
		k = len(segs)
	}
	switch {
	case len(segs) == 0:
		j.m.Reasons["redundancy"] = "redundancy was not watched"
		return
	case k == 0:
		j.m.Reasons["redundancy"] = "redundancy was not known before the fault"
		return
	}
	before, last := segs[k-1], segs[len(segs)-1]
	switch {
	case k == len(segs): // it was never seen to be less
		j.m.Redundancy = &Metric{HiMS: timeline.MS(j.blind(before)), Events: indexes(of(before.first, before.last))}
		return
	case last.value == before.value:
		d := began(segs, len(segs)-1).Sub(j.from.at)
		j.m.Redundancy = &Metric{
			LoMS: timeline.MS(max(0, d.Lo)), HiMS: timeline.MS(max(0, d.Hi)),
			Events: indexes(of(before.last, last.first), j.from.events),
		}
		return
	}
	why := fmt.Sprintf("before the fault it was %q, and at the end %q", before.value, last.value)
	j.m.Reasons["redundancy"] = why
	if d := last.last.At.Sub(j.from.at); d.Lo > 0 && j.in.Objectives.Redundancy != nil {
		j.m.Redundancy = &Metric{LoMS: timeline.MS(d.Lo), HiMS: timeline.MS(d.Hi), Censored: true, Events: indexes(of(before.last, last.last))}
	}
}

// blind is how long redundancy may have been less without being seen: from the
// effect to the next look, or to the end if there was none.
func (j *judge) blind(s segment) time.Duration {
	most := s.last.At.Hi - j.from.at.Lo
	if s.last.At.Lo >= j.from.at.Hi && s.gap > 0 {
		most = min(most, s.gap)
	}
	return max(0, most)
}

// redundancy are the states of the system's redundancy, without the looks that
// had no answer.
func (j *judge) redundancy() []segment {
	var rs []run
	for _, name := range j.names(timeline.Redundancy) {
		for _, r := range j.streams[name] {
			if r.value() != unknownRedundancy {
				rs = append(rs, r)
			}
		}
		break // one stream speaks for the system
	}
	return segments(rs)
}
