package reports

import (
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// A run is a stretch of equal results of one stream; see timeline.Stream.
type run struct {
	first  timeline.Event
	lo, hi time.Duration // earliest sent, latest returned
	back   time.Duration // the first return
}

// streams groups the events of one kind by their stream, and joins the first
// event of a run with those that end it.
func streams(t timeline.Timeline, kind timeline.Kind) map[string][]run {
	out := map[string][]run{}
	for i := range t {
		e := &t[i]
		if e.Kind != kind {
			continue
		}
		rs := out[e.By]
		if n := len(rs); n > 0 && ends(e, &rs[n-1].first) {
			r := &rs[n-1]
			r.lo, r.hi, r.back = min(r.lo, e.At.Lo), max(r.hi, e.At.Hi), min(r.back, e.At.Hi)
			continue
		}
		out[e.By] = append(rs, run{*e, e.At.Lo, e.At.Hi, e.At.Hi})
	}
	return out
}

// ends says whether e ends the run that began with first: it names it or, where
// Data holds something else, is equal to it.
func ends(e, first *timeline.Event) bool {
	const run = `{"run":`
	if s := string(e.Data); strings.HasPrefix(s, run) {
		n, _, _ := strings.Cut(s[len(run):], ",")
		return n == strconv.Itoa(first.I)
	}
	return e.Kind != timeline.Write && e.Node == first.Node && e.Value == first.Value && e.Epoch == first.Epoch && e.Evidence == first.Evidence
}

// writeBands draws each run until the next one begins. Failures begin when they
// were sent; successes when they came back, so that a system which hung and then
// answered everything leaves a gap.
func writeBands(rs []run) []band {
	begin := func(r *run) time.Duration {
		if strings.HasPrefix(r.first.Value, string(probes.Acked)) {
			return r.back
		}
		return r.lo
	}
	out := make([]band, 0, len(rs))
	for i := range rs {
		r := &rs[i]
		from, to := begin(r), r.hi
		if i+1 < len(rs) && rs[i+1].lo > r.lo {
			to = max(from, min(to, begin(&rs[i+1])))
		}
		out = append(out, band{from, to, writeClass(r.first.Value), "", writeHover(r), r.first.I})
	}
	return out
}

// nodeBands are the writes to a node itself. That one is refused there is what a
// replica ought to do, so it is drawn lightly.
func nodeBands(rs []run) []band {
	bs := writeBands(rs)
	for i := range bs {
		if bs[i].Class == bandFailed {
			bs[i].Class = bandRefused
		}
	}
	return bs
}

func writeClass(value string) string {
	switch probes.Class(value) {
	case probes.Acked:
		return bandAcked
	case probes.Degraded:
		return bandDegraded
	case probes.Failed:
		return bandFailed
	}
	return bandUnknown
}

func writeHover(r *run) string {
	s := r.first.By + ": " + r.first.Value
	if r.first.Node != "" {
		s += " by " + r.first.Node
	}
	if r.first.Epoch != "" {
		s += ", epoch " + r.first.Epoch
	}
	if r.first.Evidence != "" {
		s += " — " + clip(r.first.Evidence, 120)
	}
	return s
}

// stateBands draws what was polled: a state holds until the next look saw
// another.
func stateBands(rs []run, class func(string) string, end time.Duration) []band {
	out := make([]band, 0, len(rs))
	for i, r := range rs {
		until := min(end, r.hi)
		if i+1 < len(rs) {
			until = max(rs[i+1].lo, r.lo)
		}
		hover := r.first.By + ": " + r.first.Value
		if r.first.Epoch != "" {
			hover += ", epoch " + r.first.Epoch
		}
		if r.first.Evidence != "" {
			hover += " — " + clip(r.first.Evidence, 120)
		}
		out = append(out, band{r.lo, until, class(r.first.Value), r.first.Value, hover, r.first.I})
	}
	return out
}
