package verdict

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// whole is the length from which on a stall may have been of the whole runner, in which
// nothing was sent at all: the period of the fastest probe. A shorter one was of a
// thread, beside which others went on: it moves the ends of what it meets, by as much
// as it lasted, and nothing in the midst.
const whole = 20 * time.Millisecond

// catchUp is how long after it was held up as a whole the runner may still be handing
// out what came meanwhile: two looks of the probe that notices.
const catchUp = 10 * time.Millisecond

// A stall is a time for which the runner was held up: for took, somewhere within at.
type stall struct {
	at   timeline.Interval
	took time.Duration
	i    int
}

// stallsOf are the stalls of a timeline by their beginnings, and the width of the
// widest.
func stallsOf(events timeline.Timeline) (all []stall, widest time.Duration) {
	for _, e := range events {
		s := stall{e.At, time.Duration(e.N), e.I}
		if s.took <= 0 || s.took > e.At.Width() {
			s.took = e.At.Width()
		}
		all = append(all, s)
		widest = max(widest, e.At.Width())
	}
	slices.SortStableFunc(all, func(a, b stall) int { return cmp.Compare(a.at.Lo, b.at.Lo) })
	return all, widest
}

// held are the stalls that meet [lo, hi].
func (f *facts) held(lo, hi time.Duration) []stall {
	from := sort.Search(len(f.stalls), func(i int) bool { return f.stalls[i].at.Lo >= lo-f.widest })
	var out []stall
	for _, s := range f.stalls[from:] {
		if s.at.Lo > hi {
			break
		}
		if s.at.Hi >= lo {
			out = append(out, s)
		}
	}
	return out
}

// excused is for how long of at the runner may have been held up, or was working off
// what had come due while it was: up to as long again.
func (f *facts) excused(at timeline.Interval) time.Duration {
	var sum time.Duration
	for _, s := range f.held(at.Lo-f.widest, at.Hi) {
		sum += min(2*s.took, overlap(timeline.Interval{Lo: s.at.Lo, Hi: s.at.Hi + s.took}, at))
	}
	return min(sum, at.Width())
}

// wide widens an instant by the times for which the runner was held up around it.
func (j *judge) wide(i instant) instant {
	if !i.ok {
		return i
	}
	at := i.at
	for _, s := range j.held(i.at.Lo-catchUp, i.at.Hi) {
		if s.took < whole && s.at.Hi < i.at.Lo {
			continue
		}
		at = timeline.Interval{Lo: min(at.Lo, s.at.Lo), Hi: max(at.Hi, s.at.Hi)}
		i.events = append(i.events, s.i)
		j.stalled[s.i] = true
	}
	i.at = at
	return i
}

// widen takes what the runner itself was held up off the lower bound of an outage from
// one failure to another. As a whole: nothing was sent meanwhile, and nobody knows
// whether it would have been served. A thread: the first request may have left later
// than was noted. That the last did, or that an answer was read late, makes an outage
// longer than its bound, which says no more than at least.
func (j *judge) widen(o *outage, from, to time.Duration) {
	for _, s := range j.held(from, to) {
		if o.took.Lo == 0 {
			return
		}
		if s.took < whole && s.at.Lo > from {
			continue
		}
		o.took.Lo = max(0, o.took.Lo-min(s.took, overlap(s.at, timeline.Interval{Lo: from, Hi: to})))
		o.events = append(o.events, s.i)
		j.stalled[s.i] = true
	}
}

// longestStall is the longest time for which the runner was held up.
func (j *judge) longestStall() time.Duration {
	var most time.Duration
	for _, s := range j.stalls {
		most = max(most, s.took)
	}
	return most
}

// tellStalls are the stalls that widened something and may have been of the whole
// runner.
func (j *judge) tellStalls() (events []int) {
	for _, s := range j.stalls {
		if j.stalled[s.i] && s.took >= whole {
			events = append(events, s.i)
		}
	}
	return events
}

// between is the longest time from the sending of the last success of a row to the
// coming back of the first of the next, where nothing failed in between: nobody knows
// more of it than that, however long the answer took and whatever kept us from it.
func between(rows []run, from time.Duration) (gap time.Duration, events []int) {
	last := time.Duration(math.MinInt64)
	var before timeline.Event
	for _, r := range rows {
		if !success(r.value()) {
			last = math.MinInt64
			continue
		}
		if g := r.first.At.Hi - last; last != math.MinInt64 && r.first.At.Hi >= from && g > gap {
			gap, events = g, of(before, r.first)
		}
		last, before = r.latest.At.Lo, r.latest
	}
	return gap, events
}
