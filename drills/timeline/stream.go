package timeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Pause is how much longer than usual the next success of a stream of writes
// may be in coming before a new run begins, so that a system which hung and then
// answered everything is not one unbroken run: a little more than the period of
// the stream fresh.
const Pause = 25 * time.Millisecond

// A Stream compresses equal results of one probe into runs, without losing any
// bound: of each run it emits
//
//   - the first result that it was given, at once;
//   - when the run ends, the result that was sent earliest and the one that was
//     sent latest, where these are others. Their Data holds a Run.
//
// In an open loop results return out of the order in which they were sent, so
// the first to return need not be the first sent. A verdict takes an outage's
// bounds from exactly these: the latest-sent and first-returned success, the
// earliest- and latest-sent failure (measurement rules, "Metrics").
//
// Two results are equal if Kind, Node, Value, Epoch and Evidence are. A run of
// successful writes also ends where the next one came back Pause later than
// usual, or after twice the usual time, whichever is more.
type Stream struct {
	emit Emit

	mu       sync.Mutex
	n        int64
	index    int // of the event of first
	first    seen
	earliest seen
	latest   seen
	back     time.Time     // when the latest to return of the run did
	gap      time.Duration // longest in the run, see Run.GapMS
	usual    average       // of the gaps of all runs
	takes    average       // of the time that a result took, likewise
}

// An average moves: it follows the last dozen values. One far above does not
// count, unless hundreds in a row are: then that is what is usual now.
type average struct {
	d   time.Duration // 0: not known
	far int
}

// enoughFar is how many values far above the average in a row become it: more
// than what a second without an answer leaves behind.
const enoughFar = 256

func (a *average) add(d time.Duration) {
	d = max(d, 1)
	if a.far++; a.d == 0 || a.far > enoughFar {
		a.d = d
	}
	if d > 4*a.d+Pause {
		return
	}
	a.far = 0
	a.d += (d - a.d) / 8
}

// A Run is in the Data of the events that end a run, beside what they have there
// themselves: which run, and how dense it was.
type Run struct {
	First int `json:"run"` // the index of the run's first event
	// GapMS is the longest time in the run for which what it says may have been
	// otherwise: from the sending of the latest-sent result so far to the coming
	// back of the next. A result that waited far longer than usual counts as
	// sent the usual time before it came back: that it waited is told by the end
	// of the run before.
	GapMS float64 `json:"gap_ms"`
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
	if s.n > 0 && same(s.first.e, e) && !s.paused(r) {
		s.grow(r)
		return
	}
	s.flush()
	s.n, s.first, s.earliest, s.latest, s.back, s.gap = 1, r, r, r, hi, 0
	s.takes.add(hi.Sub(lo))
	if e.Kind == Write {
		e.N = 1
	}
	s.index = s.emit(lo, hi, e)
}

func (s *Stream) grow(r seen) {
	g := s.since(r)
	s.n++
	s.gap = max(s.gap, g)
	s.usual.add(g)
	s.takes.add(r.hi.Sub(r.lo))
	if r.hi.After(s.back) {
		s.back = r.hi
	}
	if r.lo.Before(s.earliest.lo) {
		s.earliest = r
	}
	if r.lo.After(s.latest.lo) {
		s.latest = r
	}
}

// since is how long what the run says may have been otherwise before r.
func (s *Stream) since(r seen) time.Duration {
	from := s.latest.lo
	if t := s.back.Add(-2*s.takes.d - Pause); t.After(from) {
		from = t
	}
	return r.hi.Sub(from)
}

// paused says whether r came back too late to be of the same run.
func (s *Stream) paused(r seen) bool {
	if r.e.Kind != Write || !strings.HasPrefix(r.e.Value, "acked") { // both classes of success
		return false
	}
	usual, g := s.usual.d, s.since(r)
	if usual == 0 || g <= max(usual+Pause, 2*usual) {
		return false
	}
	s.usual.add(g) // should it become usual
	return true
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
	if !s.earliest.lo.Equal(s.first.lo) && !s.earliest.lo.Equal(s.latest.lo) {
		s.again(s.earliest)
	}
	// Also where the latest-sent is the first: how dense the run was is told once.
	s.again(s.latest)
}

func (s *Stream) again(r seen) {
	if r.e.Kind == Write {
		r.e.N = s.n
	}
	r.e.Data = Run{s.index, MS(s.gap)}.beside(r.e.Data)
	s.emit(r.lo, r.hi, r.e)
}

// beside is the run's JSON together with the keys of data, if that is an object;
// the run stands first.
func (r Run) beside(data json.RawMessage) json.RawMessage {
	out, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("dapple: internal error: a run has no JSON: %v", err))
	}
	own := bytes.TrimSpace(data)
	switch {
	case len(own) == 0:
		return out
	case !json.Valid(own) || own[0] != '{':
		return data // it stays as it is
	}
	own = bytes.TrimSpace(own[1:])
	if own[0] == '}' {
		return out
	}
	return append(append(out[:len(out)-1], ','), own...)
}

func same(a, b Event) bool {
	return a.Kind == b.Kind && a.Node == b.Node && a.Value == b.Value && a.Epoch == b.Epoch && a.Evidence == b.Evidence
}
