package verdict

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// names are the streams of a kind, in order.
func (f *facts) names(k timeline.Kind) []string {
	var out []string
	for name := range f.streams {
		if strings.HasPrefix(name, string(k)+" ") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// A span of a state: it lasted at least sure (empty if Hi < Lo), and at most wide.
// gap is the longest time between two looks at it.
type lasted struct {
	sure, wide timeline.Interval
	gap        time.Duration
	events     []int
}

// spans are the times for which a stream of looks said value.
func spans(segs []segment, value string) []lasted {
	var out []lasted
	for i, s := range segs {
		if s.value != value {
			continue
		}
		x := lasted{
			sure:   timeline.Interval{Lo: s.first.At.Hi, Hi: s.last.At.Lo},
			wide:   timeline.Interval{Lo: began(segs, i).Lo, Hi: s.last.At.Hi},
			gap:    s.gap,
			events: of(s.first, s.last),
		}
		if i+1 < len(segs) {
			x.wide.Hi = max(x.wide.Hi, segs[i+1].first.At.Hi)
		}
		out = append(out, x)
	}
	return out
}

// overlap is how long two intervals have in common.
func overlap(a, b timeline.Interval) time.Duration {
	return max(0, min(a.Hi, b.Hi)-max(a.Lo, b.Lo))
}

// measureHealth measures for how long the health check of a node was green while
// clients failed and the node itself took no writes (false green), and red while
// clients were served by it (false red): of the node that fares worst.
func (j *judge) measureHealth() {
	why := ""
	switch {
	case len(j.kinds[timeline.Health]) == 0:
		why = "no health check was watched"
	case !j.from.ok:
		why = "no fault was made"
	case len(j.clients) == 0:
		why = "no client wrote"
	}
	if why != "" {
		j.m.Reasons["false_green"], j.m.Reasons["false_red"] = why, why
		return
	}
	down := j.outageSpans()
	var green, red []sum
	for _, name := range j.names(timeline.Health) {
		segs := segments(j.streams[name])
		node := segs[0].first.Node
		green = append(green, common(spans(segs, "green"), without(down, j.serving("direct/"+node, node))))
		red = append(red, common(spans(segs, "red"), j.servedBy(node)))
	}
	j.m.FalseGreen, j.m.FalseRed = longest(green), longest(red)
}

// outageSpans are the clients' outages of the class that fares worst: surely
// from the first failure on for as long as is proven, at most from the last
// success to the next.
func (j *judge) outageSpans() []lasted {
	var worst clientView
	var most time.Duration
	for _, v := range j.clients {
		var all time.Duration
		for _, o := range v.outages {
			all += o.took.Hi
		}
		if all > most || worst.by == "" {
			worst, most = v, all
		}
	}
	var out []lasted
	for _, o := range worst.outages {
		out = append(out, lasted{sure: o.sure, wide: o.span, events: o.events})
	}
	return out
}

// serving are the times in which a stream was served by the node: perhaps as soon
// as it had sent what it sent before.
func (j *judge) serving(by, node string) []lasted {
	var out []lasted
	for _, r := range j.writes(by) {
		if !success(r.value()) || nodeOf(r.first) != node {
			continue
		}
		at := timeline.Interval{Lo: j.lastSent(by, r.first.At.Lo), Hi: max(r.first.At.Hi, r.latest.At.Hi)}
		out = append(out, lasted{sure: timeline.Interval{Lo: r.first.At.Hi, Hi: r.latest.At.Lo}, wide: at, events: of(r.first, r.latest)})
	}
	slices.SortFunc(out, func(a, b lasted) int { return cmp.Compare(a.wide.Lo, b.wide.Lo) })
	return out
}

// lastSent is when a stream last sent before it sent at t; t if it had not.
func (j *judge) lastSent(by string, t time.Duration) time.Duration {
	last := time.Duration(math.MinInt64)
	for _, r := range j.writes(by) {
		for _, e := range r.events() {
			if e.At.Lo < t {
				last = max(last, e.At.Lo)
			}
		}
	}
	if last == math.MinInt64 {
		return t
	}
	return last
}

// servedBy are the times after the fault in which clients were served by the
// node.
func (j *judge) servedBy(node string) []lasted {
	var out []lasted
	for _, v := range j.clients {
		all := j.serving(v.by, node)
		for i := range all {
			all[i].sure.Lo = max(all[i].sure.Lo, j.from.at.Hi)
			all[i].wide.Lo = max(all[i].wide.Lo, j.from.at.Lo)
		}
		if len(all) > 0 {
			out = all // one stream is enough; they differ by a period
			if v.class == "fresh" {
				break
			}
		}
	}
	return out
}

// without takes the times of b off the end of those of a which they overlap: a
// node that takes writes before the clients are routed to it is rightly green.
func without(a, b []lasted) []lasted {
	out := slices.Clone(a)
	for i := range out {
		for _, x := range b {
			if x.wide.Lo > out[i].wide.Lo && x.wide.Lo < out[i].wide.Hi {
				out[i].sure.Hi = min(out[i].sure.Hi, x.wide.Lo)
				out[i].wide.Hi = min(out[i].wide.Hi, max(x.sure.Lo, x.wide.Lo))
			}
		}
	}
	return out
}

// common sums how long the spans of a and b have in common.
func common(a, b []lasted) sum {
	var s sum
	for _, x := range a {
		for _, y := range b {
			wide := overlap(x.wide, y.wide)
			if wide == 0 {
				continue
			}
			s.took.Hi += wide
			s.took.Lo += surely(x, y.sure)
			s.events = append(s.events, x.events...)
			s.events = append(s.events, y.events...)
		}
	}
	return s
}

// surely is how long a state was seen to last within at: from the first look that
// certainly fell into it to the last. What was between two looks on either side of
// an end of at, nobody saw.
func surely(x lasted, at timeline.Interval) time.Duration {
	seen := x.sure
	if at.Lo > seen.Lo {
		seen.Lo = at.Lo + x.gap
	}
	if at.Hi < seen.Hi {
		seen.Hi = at.Hi - x.gap
	}
	return max(0, seen.Width())
}

func longest(sums []sum) *Metric {
	m := &Metric{Events: []int{}}
	for _, s := range sums {
		m.LoMS = max(m.LoMS, timeline.MS(s.took.Lo))
		if hi := timeline.MS(s.took.Hi); hi > m.HiMS {
			m.HiMS, m.Events = hi, indexes(s.events)
		}
	}
	return m
}
