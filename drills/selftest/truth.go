package selftest

import (
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// A truth is what really happened in a run, as the world has it.
type truth struct {
	effect time.Time
	outage timeline.Interval // how long the clients' endpoint did not serve
	lasted map[string]timeline.Interval
	counts map[string]int64
	// overlap is how long both sides took writes; at most 0: they did not.
	overlap time.Duration
	kept    bool // what the old side took meanwhile is in the final history
}

// none is the truth about a duration that there was none of.
var none timeline.Interval

func exact(d time.Duration) timeline.Interval { return timeline.Interval{Lo: d, Hi: d} }

// truth says what happened. Call it when the run is over.
func (w *world) truth() truth {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.c.Script
	t := truth{effect: w.effect, lasted: map[string]timeline.Interval{}, counts: w.counts(), kept: s.Merge, overlap: -1}
	routed := exact(s.Route) // when the endpoint serves again, since the effect
	if !w.opened.lo.IsZero() {
		routed = timeline.Interval{Lo: w.opened.lo.Sub(w.effect), Hi: w.opened.hi.Sub(w.effect)}
	}
	served := w.really(front, anybody, routed)
	latest := served.Hi // to any of the clients
	if w.c.truth() > 0 {
		fresh := w.really(front, only(freshClient), routed)
		t.outage = timeline.Interval{Lo: fresh.Lo - s.Begin, Hi: fresh.Hi - w.unserved(only(freshClient), fresh.Lo)}
		for client := range freshClient {
			latest = max(latest, w.really(front, only(client), routed).Hi)
		}
		latest = max(latest, fresh.Hi)
	}
	t.lasted["rto"] = timeline.Interval{Lo: t.outage.Lo, Hi: max(t.outage.Hi, latest-w.unserved(anybody, routed.Lo)) + reconnectFor(t.outage)}
	t.lasted["rejoin"], t.lasted["redundancy"] = none, none
	t.lasted["false_green"], t.lasted["false_red"] = none, none
	if t.outage != none { // an app client may fail for longer than the system
		t.lasted["false_green"] = timeline.Interval{
			Lo: max(0, min(s.Green, served.Lo)-s.Begin), Hi: max(0, min(s.Green, latest+reconnect)-s.Begin),
		}
	}
	if !s.Failover {
		return t
	}
	t.lasted["detection"] = exact(s.Detect)
	t.lasted["election"] = exact(s.Elect - s.Detect)
	promoted := w.really(nodeB, anybody, exact(s.Promote))
	t.lasted["promotion"] = promoted.Sub(exact(s.Elect))
	t.lasted["routing"] = served.Sub(promoted)
	t.lasted["fence_lag"] = exact(max(s.Begin, s.Fence)).Sub(promoted)
	t.lasted["rejoin"] = exact(s.Rejoin)
	t.lasted["redundancy"] = exact(w.mended.Add(s.Rejoin).Sub(w.effect))
	if s.Fence > 0 {
		t.overlap = s.Fence - s.Promote
	}
	if age, ok := w.age(); ok {
		t.lasted["rpo"] = exact(age)
	}
	return t
}

// slow is how much longer than the script says a request may take to be answered
// before that is told from the script: what it takes on a machine that is idle is a
// fraction of it.
const slow = 5 * time.Millisecond

// really is when a gate served some clients again that is to serve from at on, since
// the effect. The servers share the machine with those who ask them: if it had no time
// for them at that moment, which a request of anybody's shows, they served from their
// first answer on, whatever the script says; each stream of clients from its own.
func (w *world) really(gate string, who clients, at timeline.Interval) timeline.Interval {
	from := w.effect.Add(at.Hi)
	first, own := w.answered(gate, anybody, from), w.answered(gate, who, from)
	for _, r := range w.asked {
		begun := r.sent
		if r.sent.Before(from) {
			if r.class != probes.Acked || !r.back.Equal(first) && !r.back.Equal(own) {
				continue // it may have been decided before
			}
			begun = from
		}
		until := first
		if who(r.client) {
			until = own
		}
		if r.gate == gate && begun.Before(until) && earlier(r.back, until).Sub(begun) > slow {
			return timeline.Interval{Lo: at.Lo, Hi: max(at.Hi, own.Sub(w.effect))}
		}
	}
	return at
}

// answered is when a gate first answered some clients' write since a time; zero: it
// did not.
func (w *world) answered(gate string, who clients, from time.Time) (first time.Time) {
	for _, r := range w.asked {
		if r.gate == gate && who(r.client) && r.class == probes.Acked && !r.back.Before(from) && (first.IsZero() || r.back.Before(first)) {
			first = r.back
		}
	}
	return first
}

// clients are some of the ledger's, by their numbers.
type clients func(client int) bool

// freshClient is the number of the class fresh: it comes after those of the class app.
const freshClient = apps

func anybody(int) bool { return true }

func only(client int) clients { return func(c int) bool { return c == client } }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// unserved is when the first request of some clients that was not served was sent,
// since the effect: it was on its way when service went away. Whom it met, they were
// without service from then on.
func (w *world) unserved(who clients, served time.Duration) time.Duration {
	down, up := w.effect.Add(w.c.Script.Begin), w.effect.Add(served)
	first := down
	for _, r := range w.asked {
		if r.gate != front || !who(r.client) && r.client != nobody {
			continue
		}
		missed := r.class != probes.Acked || !r.back.Before(up)
		if missed && r.back.After(down) && r.sent.Before(first) {
			first = r.sent
		}
	}
	return first.Sub(w.effect)
}

// reconnectFor is for how much longer an app client may have been without service
// than the system was.
func reconnectFor(outage timeline.Interval) time.Duration {
	if outage == none {
		return timeline.FromMS(hiccup)
	}
	return reconnect
}

// counts are of the writes that are not as their clients were told.
func (w *world) counts() map[string]int64 {
	n := map[string]int64{"lost": 0, "late": 0, "duplicate": 0, "phantom": 0}
	for _, r := range w.rows {
		told := w.said[r.id]
		switch {
		case r.gone && told == probes.Acked:
			n["lost"]++
		case r.late && told == probes.Unknown:
			n["late"]++
		case r.ghost && told == probes.Failed:
			n["phantom"]++
		}
		if !r.gone {
			n["duplicate"] += int64(r.times - 1)
		}
	}
	return n
}

// age is how much older than the old side's last acknowledged write the earliest
// lost one is.
func (w *world) age() (age time.Duration, ok bool) {
	var first, last time.Time
	for _, r := range w.rows {
		if r.on != nodeA || w.said[r.id] != probes.Acked {
			continue
		}
		if r.gone && (first.IsZero() || r.at.Before(first)) {
			first = r.at
		}
		if r.at.After(last) {
			last = r.at
		}
	}
	return last.Sub(first), !first.IsZero()
}
