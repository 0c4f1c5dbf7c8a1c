package agent

import (
	"sync"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
)

// A ruler reads this process's monotonic clock as a number that another process
// can be told: CLOCK_MONOTONIC on Linux, elsewhere the time since the start.
type ruler struct {
	base time.Time
	mono time.Duration
}

func newRuler() ruler {
	r := ruler{base: time.Now()}
	// Without a readable clock the numbers count from now; only differences
	// matter, so that is no error.
	if mono, err := kernel.Monotonic(); err == nil {
		r.mono = mono
	}
	return r
}

func (r ruler) at(t time.Time) time.Duration { return r.mono + t.Sub(r.base) }

func (r ruler) span(lo, hi time.Time) spanWire { return spanWire{r.at(lo), r.at(hi)} }

// slew is the most by which NTP bends a monotonic clock, 500 ppm (adjtimex(2));
// two machines may be bent in opposite directions.
const slew = 2 * 500e-6

// A mapping bounds the difference between the agent's clock and ours, after
// Cristian (1989): a reading x that the agent made between our sending at a and
// our receiving at b was made at an instant of ours in [a, b], so the offset is
// within [x − b, x − a]. All readings are right, hence their intersection is.
type mapping struct {
	mu     sync.Mutex
	base   time.Time     // zero of our side
	drift  float64       // 0 for two processes of one machine
	lo, hi time.Duration // agent's clock − our time since base
	at     time.Time     // when lo and hi were right without drift
	known  bool
}

// sample adds a reading that was made between sent and received.
func (m *mapping) sample(reading time.Duration, sent, received time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lo, hi := reading-received.Sub(m.base), reading-sent.Sub(m.base)
	if m.known {
		slack := m.slack(received)
		if l, h := max(lo, m.lo-slack), min(hi, m.hi+slack); l <= h {
			lo, hi = l, h
		} // else a clock jumped (a suspended machine): only the newest counts
	}
	m.lo, m.hi, m.at, m.known = lo, hi, received, true
}

func (m *mapping) slack(now time.Time) time.Duration {
	return time.Duration(m.drift * float64(now.Sub(m.at).Abs()))
}

// ours is the span on our clock that surely holds w.
func (m *mapping) ours(w spanWire) Span {
	m.mu.Lock()
	defer m.mu.Unlock()
	slack := m.slack(time.Now())
	return Span{m.base.Add(w.Lo - m.hi - slack), m.base.Add(w.Hi - m.lo + slack)}
}

// epsilon is the half width of the offset.
func (m *mapping) epsilon() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return (m.hi-m.lo)/2 + m.slack(time.Now())
}
