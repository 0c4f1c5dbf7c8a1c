package agent

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The agent's clock has any offset and drifts as much as is allowed; readings
// take any time there and back. What is mapped must hold the truth, always.
func TestAMappedSpanHoldsTheTruth(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		base := time.Now()
		m := mapping{base: base, drift: slew}
		offset := time.Duration(r.Int64N(int64(2*time.Hour))) - time.Hour
		drift := (r.Float64()*2 - 1) * slew
		agent := func(ours time.Duration) time.Duration {
			return offset + ours + time.Duration(drift*float64(ours))
		}
		// All of it lies in the past, so that the slack up to now only helps.
		now := -time.Minute
		for range 1 + r.IntN(20) {
			sent := now
			read := sent + time.Duration(r.Int64N(int64(50*time.Millisecond)))
			received := read + time.Duration(r.Int64N(int64(50*time.Millisecond)))
			m.sample(agent(read), base.Add(sent), base.Add(received))
			now = received + time.Duration(r.Int64N(int64(time.Second)))
			at := now
			got := m.ours(spanWire{agent(at), agent(at)})
			if truth := base.Add(at); truth.Before(got.Lo) || truth.After(got.Hi) {
				t.Fatalf("seed %d: %v is not within %v to %v", seed, truth, got.Lo, got.Hi)
			}
		}
	}
}

func TestTheBestReadingDecidesOnOneMachine(t *testing.T) {
	base := time.Now()
	m := mapping{base: base}
	m.sample(100*time.Millisecond, base, base.Add(20*time.Millisecond))
	m.sample(200*time.Millisecond, base.Add(105*time.Millisecond), base.Add(106*time.Millisecond))
	m.sample(300*time.Millisecond, base.Add(190*time.Millisecond), base.Add(240*time.Millisecond))
	if got := m.epsilon(); got != 500*time.Microsecond {
		t.Errorf("epsilon is %v, want 500µs", got)
	}
}

func TestAClockThatJumpedIsBelievedAnew(t *testing.T) {
	base := time.Now()
	m := mapping{base: base}
	m.sample(100*time.Millisecond, base, base.Add(time.Millisecond))
	m.sample(time.Hour, base.Add(2*time.Millisecond), base.Add(3*time.Millisecond))
	got := m.ours(spanWire{time.Hour, time.Hour})
	if got.Lo != base.Add(2*time.Millisecond) || got.Hi != base.Add(3*time.Millisecond) {
		t.Errorf("%v", got)
	}
}

func TestSightingsWaitForWhoeverTakesThem(t *testing.T) {
	f := newFeed()
	const n = 1000
	for i := range n {
		f.put(Sighted{Key: string(rune(i))})
	}
	for i := range n {
		if s := <-f.out; s.Key != string(rune(i)) {
			t.Fatalf("sighting %d is %q", i, s.Key)
		}
	}
	f.put(Sighted{Key: "last"})
	f.close()
	f.put(Sighted{Key: "too late"}) // must not hang
	var rest []string
	for s := range f.out {
		rest = append(rest, s.Key)
	}
	if len(rest) != 1 || rest[0] != "last" {
		t.Errorf("after the close: %q", rest)
	}
}

func TestTheLastWordsOfAnAgentAreKept(t *testing.T) {
	var said tail
	for range 1000 {
		if n, err := said.Write([]byte("0123456789\n")); n != 11 || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := said.Write([]byte("the end\n")); err != nil {
		t.Fatal(err)
	}
	got := said.String()
	if len(got) > tailSize || got[len(got)-7:] != "the end" {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-7:])
	}
}
