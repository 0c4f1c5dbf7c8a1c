package verdict_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// A truth is an outage as it really was, and how a client looked at it.
type truth struct {
	seed       uint64
	from, for_ time.Duration
	how        string // refused | lost (never answered) | held (answered when service is back)
	period     time.Duration
	offset     time.Duration // of the client's schedule
	trip       time.Duration // longest round trip
	timeout    time.Duration
}

func (x truth) String() string {
	return fmt.Sprintf("seed %d: %s for %v from %v, seen every %v, round trip up to %v, time-out %v", x.seed, x.how, x.for_, x.from, x.period, x.trip, x.timeout)
}

func randomTruth(seed uint64) truth {
	r := rand.New(rand.NewPCG(seed, 1))
	in := func(lo, hi time.Duration) time.Duration { return lo + time.Duration(r.Int64N(int64(hi-lo))) }
	x := truth{
		seed: seed, from: in(5*time.Second, 6*time.Second), for_: in(time.Millisecond, 4*time.Second),
		how:     []string{"refused", "lost", "held"}[r.IntN(3)],
		period:  []time.Duration{5, 10, 20, 50, 100}[r.IntN(5)] * time.Millisecond,
		timeout: []time.Duration{1000, 2000, 5000}[r.IntN(3)] * time.Millisecond,
	}
	x.trip = in(200*time.Microsecond, x.period/2)
	x.offset = in(0, x.period)
	if r.IntN(3) == 0 {
		x.for_ = in(time.Millisecond, 200*time.Millisecond)
	}
	return x
}

// script is what the client's stream saw of the truth.
func (x truth) script() *script {
	s := &script{}
	r := rand.New(rand.NewPCG(x.seed, 2))
	end := x.from + x.for_ + 15*time.Second
	down := func(t time.Duration) bool { return t >= x.from && t < x.from+x.for_ }
	e := timeline.Event{Kind: timeline.FaultInjected, By: "test", Node: "a", Data: data(map[string]string{"fault": "k"})}
	s.add(x.from, x.from, e)
	e.Kind = timeline.FaultEffect
	s.add(x.from, x.from, e)
	for t := x.offset; t < end; t += x.period {
		trip := x.trip/2 + time.Duration(r.Int64N(int64(x.trip/2)))
		arrives, w := t+trip/2, timeline.Event{Kind: timeline.Write, By: "fresh", Value: "acked", Node: "a", Epoch: "1"}
		back := t + trip
		if down(arrives) {
			switch again := x.from + x.for_ + trip/2; {
			case x.how == "refused":
				w.Value = "failed"
			case x.how == "lost" || again > t+x.timeout:
				w.Value, back = "unknown", t+x.timeout
			default:
				back = again
			}
		}
		if w.Value != "acked" {
			w.Node, w.Epoch = "", ""
		}
		s.result(t, back, w)
	}
	s.buckets(0, end, 250*time.Millisecond)
	s.add(end+x.timeout, end+x.timeout, timeline.Event{Kind: timeline.Phase, By: "engine", Value: "audit"})
	return s
}

// The promise of the measurement rules, sections 1 and 12.
func TestTheMeasuredOutageHoldsTheTruthAndIsAsNarrowAsPromised(t *testing.T) {
	runs := 1000
	if testing.Short() {
		runs = 100
	}
	const shares = 2 // run side by side: judging takes most of this package's time
	for share := range uint64(shares) {
		t.Run(fmt.Sprintf("share %d", share), func(t *testing.T) {
			t.Parallel()
			for seed := share; seed < uint64(runs); seed += shares {
				holds(t, randomTruth(seed))
			}
		})
	}
}

// holds says whether the measured outage holds x, and is narrow enough.
func holds(t *testing.T, x truth) {
	t.Helper()
	got := verdict.Judge(verdict.Input{Timeline: x.script().timeline(), FreshPeriod: x.period}).Metrics.RTO
	if got == nil {
		t.Fatalf("%v: nothing measured", x)
	}
	// The lower bound counts from sending to sending: what two requests took
	// on their way there may differ by a quarter of the longest round trip.
	want, way := timeline.MS(x.for_), timeline.MS(x.trip/4)
	if got.LoMS > want+way || got.HiMS < want {
		t.Errorf("%v: measured [%.3f, %.3f] ms, which does not hold the truth", x, got.LoMS, got.HiMS)
	}
	most := timeline.MS(2*x.period + x.trip)
	if x.how != "refused" && x.for_ < timeline.Pause+2*x.period {
		most += timeline.MS(timeline.Pause) // too short to be told from the usual gaps
	}
	if got.HiMS-got.LoMS > most {
		t.Errorf("%v: measured [%.3f, %.3f] ms, wider than 2 periods and a round trip (%.3f ms)", x, got.LoMS, got.HiMS, most)
	}
}
