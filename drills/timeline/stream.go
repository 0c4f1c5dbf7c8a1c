package timeline

import (
	"sync"
	"time"
)

// A Stream compresses equal results of one probe into runs, without losing any
// bound: of each run it emits
//
//   - the first result to return, at once;
//   - when the run ends, the result that was sent earliest and the one that was
//     sent latest, where these are others.
//
// In an open loop results return out of the order in which they were sent, so
// the first to return need not be the first sent. A verdict takes an outage's
// bounds from exactly these: the latest-sent and first-returned success, the
// earliest- and latest-sent failure (measurement rules, "Metrics").
//
// Two results are equal if Kind, Node, Value, Epoch and Evidence are.
type Stream struct {
	emit Emit

	mu       sync.Mutex
	n        int64
	first    seen
	earliest seen
	latest   seen
}

type seen struct {
	lo, hi time.Time
	e      Event
}

// NewStream makes a stream that emits its runs to emit.
func NewStream(emit Emit) *Stream { return &Stream{emit: emit} }

// Add adds one result, which was sent at lo and returned at hi.
func (s *Stream) Add(lo, hi time.Time, e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := seen{lo, hi, e}
	if s.n > 0 && same(s.first.e, e) {
		s.n++
		if lo.Before(s.earliest.lo) {
			s.earliest = r
		}
		if lo.After(s.latest.lo) {
			s.latest = r
		}
		return
	}
	s.flush()
	s.n, s.first, s.earliest, s.latest = 1, r, r, r
	e.N = max(e.N, 1)
	s.emit(lo, hi, e)
}

// Flush ends the current run: everything that Add was given can be judged.
func (s *Stream) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	s.n = 0
}

func (s *Stream) flush() {
	if s.n < 2 {
		return
	}
	if s.earliest.lo != s.first.lo && s.earliest.lo != s.latest.lo {
		s.again(s.earliest, 1)
	}
	if s.latest.lo != s.first.lo {
		s.again(s.latest, s.n)
	}
}

func (s *Stream) again(r seen, n int64) {
	if r.e.N == 0 || r.e.Kind == Write {
		r.e.N = n
	}
	s.emit(r.lo, r.hi, r.e)
}

func same(a, b Event) bool {
	return a.Kind == b.Kind && a.Node == b.Node && a.Value == b.Value && a.Epoch == b.Epoch && a.Evidence == b.Evidence
}
