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
	if worst.Censored {
		j.bounds["rejoin"] = worst
		return
	}
	j.m.Rejoin = worst
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
		at, events := began(segs, i), of(back, s.first)
		if at.Hi < back.At.Lo { // it never seemed to leave: until the next look
			at.Hi = s.last.At.Hi
			if s.gap > 0 {
				at.Hi = min(at.Hi, back.At.Lo+s.gap)
			}
			events = append(events, s.last.I)
		}
		at.Lo = max(at.Lo, back.At.Lo)
		at.Hi = max(at.Hi, at.Lo)
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
// redundancy was for good again one that it was in the steady phase. There may
// be more than one of those: under load a replica lags for a moment.
func (j *judge) measureRedundancy() {
	segs := j.redundancy()
	before := j.steadyRedundancy(segs)
	if len(before) == 0 {
		j.m.Reasons["redundancy"] = "redundancy was not watched before the fault"
		return
	}
	less := -1 // the last segment after the effect that is not as before
	for i, s := range segs {
		if s.last.At.Hi > j.from.at.Lo && !slices.Contains(before, s.value) {
			less = i
		}
	}
	last := segs[len(segs)-1]
	switch {
	case less < 0:
		j.m.Redundancy = &Metric{HiMS: timeline.MS(j.blind(segs)), Events: indexes(of(segs[0].first, last.last))}
	case less < len(segs)-1:
		d := began(segs, less+1).Sub(j.from.at)
		j.m.Redundancy = &Metric{
			LoMS: timeline.MS(max(0, d.Lo)), HiMS: timeline.MS(max(0, d.Hi)),
			Events: indexes(of(segs[0].first, segs[less].last, segs[less+1].first), j.from.events),
		}
	default:
		j.m.Reasons["redundancy"] = fmt.Sprintf("before the fault it was %q, and at the end %q", before[0], last.value)
		if d := last.last.At.Sub(j.from.at); d.Lo > 0 {
			j.bounds["redundancy"] = &Metric{LoMS: timeline.MS(d.Lo), HiMS: timeline.MS(d.Hi), Censored: true, Events: indexes(of(segs[0].first, last.last))}
		}
	}
}

// steadyRedundancy are the lines that were seen in the steady phase before the
// fault, or at any time before it where there was none.
func (j *judge) steadyRedundancy(segs []segment) []string {
	from := segs
	for _, e := range j.kinds[timeline.Phase] {
		if e.Value == "steady" {
			from = slices.DeleteFunc(slices.Clone(segs), func(s segment) bool { return s.last.At.Hi < e.At.Lo })
		}
	}
	var out []string
	for _, s := range from {
		if s.first.At.Hi <= j.from.at.Lo && !slices.Contains(out, s.value) {
			out = append(out, s.value)
		}
	}
	return out
}

// blind is how long redundancy may have been less after the effect without being
// seen: between two looks, or to the end if there was none.
func (j *judge) blind(segs []segment) time.Duration {
	last := segs[len(segs)-1]
	most := last.last.At.Hi - j.from.at.Lo
	if last.last.At.Lo < j.from.at.Hi {
		return max(0, j.end-j.from.at.Lo)
	}
	var gap time.Duration
	for i, s := range segs {
		gap = max(gap, s.gap)
		if i > 0 {
			gap = max(gap, began(segs, i).Width())
		}
	}
	if gap > 0 {
		most = min(most, gap)
	}
	return most
}

// redundancy are the states of the system's redundancy, without the looks that
// had no answer.
func (j *judge) redundancy() []segment {
	names := j.names(timeline.Redundancy)
	if len(names) == 0 {
		return nil
	}
	var rs []run
	for _, r := range j.streams[names[0]] { // one stream speaks for the system
		if r.value() != unknownRedundancy {
			rs = append(rs, r)
		}
	}
	return segments(rs)
}
