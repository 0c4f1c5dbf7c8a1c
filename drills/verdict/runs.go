package verdict

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A run is a row of equal results of one stream, of which the timeline holds the
// one that was given first, and those that were sent earliest and latest.
type run struct {
	first, earliest, latest timeline.Event
	gap                     time.Duration // see timeline.Run
	n                       int64
}

func (r run) value() string { return r.first.Value }

// events are the distinct events of the run.
func (r run) events() []timeline.Event {
	es := []timeline.Event{r.first}
	for _, e := range []timeline.Event{r.earliest, r.latest} {
		if !slices.ContainsFunc(es, func(x timeline.Event) bool { return x.I == e.I && x.At == e.At }) {
			es = append(es, e)
		}
	}
	return es
}

// streamed says which kinds of event come as runs.
func streamed(k timeline.Kind) bool {
	switch k {
	case timeline.Write, timeline.Role, timeline.Member, timeline.Redundancy, timeline.Health:
		return true
	}
	return false
}

// runsOf joins the events of each stream into runs. The events are in the order
// of their indexes; one that names no run is a run by itself.
func runsOf(events timeline.Timeline) map[string][]run {
	streams := map[string][]run{}
	for _, e := range events {
		if !streamed(e.Kind) {
			continue
		}
		name := streamName(e)
		rs := streams[name]
		if no, gap, ok := runOf(e); ok && len(rs) > 0 && rs[len(rs)-1].first.I == no {
			rs[len(rs)-1].add(e, gap)
			continue
		}
		streams[name] = append(rs, run{first: e, earliest: e, latest: e, n: max(e.N, 1)})
	}
	return streams
}

// streamName is unique per kind: a stream of writes and one of roles may share a
// name in a record of another program.
func streamName(e timeline.Event) string { return string(e.Kind) + " " + e.By }

func runOf(e timeline.Event) (no int, gap time.Duration, ok bool) {
	if len(e.Data) == 0 {
		return 0, 0, false
	}
	var d struct {
		Run   *int    `json:"run"`
		GapMS float64 `json:"gap_ms"`
	}
	if json.Unmarshal(e.Data, &d) != nil || d.Run == nil {
		return 0, 0, false // Data of another kind
	}
	return *d.Run, timeline.FromMS(d.GapMS), true
}

func (r *run) add(e timeline.Event, gap time.Duration) {
	if e.At.Lo < r.earliest.At.Lo {
		r.earliest = e
	}
	if e.At.Lo > r.latest.At.Lo {
		r.latest = e
	}
	r.gap, r.n = max(r.gap, gap), max(r.n, e.N)
}

// lastUntil lets a run that has not ended go on until now.
func (r *run) lastUntil(now time.Duration) {
	if r.latest.At.Lo >= now {
		return
	}
	r.latest.At = timeline.Interval{Lo: now, Hi: now}
	r.n++
}

// A segment is consecutive runs of one stream with equal values: a state that
// lasted from its first look to its last.
type segment struct {
	value       string
	first, last timeline.Event
	gap         time.Duration // longest between two looks
}

// segments are the states of a stream of looks, in order.
func segments(rs []run) []segment {
	var out []segment
	for _, r := range rs {
		if n := len(out); n > 0 && out[n-1].value == r.value() {
			s := &out[n-1]
			s.gap = max(s.gap, r.gap, r.first.At.Hi-s.last.At.Lo)
			if r.latest.At.Lo > s.last.At.Lo {
				s.last = r.latest
			}
			continue
		}
		out = append(out, segment{r.value(), r.first, r.latest, r.gap})
	}
	return out
}

// began bounds the beginning of segment i: from the last look at the state
// before it to its own first look.
func began(segs []segment, i int) timeline.Interval {
	at := segs[i].first.At
	if i > 0 {
		at.Lo = min(at.Lo, segs[i-1].last.At.Lo)
	}
	return at
}

// The classes of writes that a client takes for a success.
func success(class string) bool { return class == "acked" || class == "acked-degraded" }

// clientClass is the class of a client stream, "app" or "fresh", or "".
func clientClass(by string) string {
	class, _, _ := strings.Cut(by, "/")
	if class == "app" || class == "fresh" {
		return class
	}
	return ""
}

// byIndex orders events by index and, where a foreign record repeats one, by
// everything else, so that no verdict rests on the order of the input.
func byIndex(a, b timeline.Event) int {
	return cmp.Or(
		cmp.Compare(a.I, b.I), cmp.Compare(a.At.Lo, b.At.Lo), cmp.Compare(a.At.Hi, b.At.Hi),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.By, b.By), cmp.Compare(a.Node, b.Node),
		cmp.Compare(a.Value, b.Value), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.N, b.N),
		cmp.Compare(a.Evidence, b.Evidence), cmp.Compare(string(a.Data), string(b.Data)),
	)
}
