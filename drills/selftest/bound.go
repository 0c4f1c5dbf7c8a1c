package selftest

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes/health"
	"github.com/dapple-drills/dapple/probes/ledger"
	"github.com/dapple-drills/dapple/probes/members"
	"github.com/dapple-drills/dapple/probes/stall"
)

// always is all of a run.
var always = timeline.Interval{Lo: math.MinInt64, Hi: math.MaxInt64}

// An end is one of the two instants between which a metric lies: since the effect, and
// the period of the probes that see it.
type end struct {
	at     time.Duration
	period time.Duration
	stream string // of theirs, whose measured period counts if it is longer; "": none
}

// ends are those of a metric; nil: its width is not bounded.
func (c *checker) ends(name string) []end {
	s := &c.c.Script
	fault := end{0, c.effectWidth(), ""}
	begin, served := end{s.Begin, c.c.Fresh, "fresh"}, end{s.Route, c.c.Fresh, "fresh"}
	detected, elected := end{s.Detect, observeEvery, ""}, end{s.Elect, observeEvery, ""}
	promoted := end{s.Promote, ledger.DefaultDirectPeriod, "direct/" + nodeB}
	fenced := end{max(s.Begin, s.Fence), ledger.DefaultOldPeriod, "old/" + nodeA}
	again := s.Hold + s.Rejoin
	if is, ok := c.truth.lasted["redundancy"]; ok && is != none {
		again = is.Lo
	}
	mended := end{again - s.Rejoin, members.Period, "member/" + nodeA}
	back := end{again, members.Period, "member/" + nodeA}
	switch name {
	case "outage":
		return []end{begin, served} // principle 2
	case "detection":
		return []end{fault, detected}
	case "election":
		return []end{detected, elected}
	case "promotion":
		return []end{elected, promoted}
	case "routing":
		return []end{promoted, served}
	case "fence_lag":
		return []end{promoted, fenced}
	case "rejoin":
		return []end{mended, back, fault}
	case "redundancy":
		return []end{fault, mended, back}
	case "false_green", "false_red":
		look := end{min(s.Green, s.Route), health.Period, "health/" + nodeA}
		return []end{begin, served, look, look}
	}
	return nil
}

// bound is how wide a metric may be: the periods of the probes at both of its ends, as
// they were measured, a round trip each, and what the runner was held up there and may
// have been without saying so. The outage is bounded by principle 2: one round trip.
func (c *checker) bound(name string) time.Duration {
	all := c.ends(name)
	if all == nil {
		return 0
	}
	sum := 2 * c.rtt
	if name == "outage" {
		sum = c.rtt
	}
	for _, e := range all {
		period := max(e.period, c.measured(e))
		sum += period + c.reach(e, period) + stall.Threshold
	}
	return sum
}

// around is how far from an end the looks that tell of it may be.
const around = 500 * time.Millisecond

func (c *checker) near(e end, d time.Duration) timeline.Interval {
	at := c.truth.effect.Sub(c.base) + e.at
	return timeline.Interval{Lo: at - d, Hi: at + d}
}

// measured is the longest time between two equal results of the stream of an end, of
// those runs that were near it. What was between two different ones is what is judged.
func (c *checker) measured(e end) time.Duration {
	var most time.Duration
	near := c.near(e, around)
	for _, x := range c.tl {
		if e.stream == "" || !strings.HasPrefix(x.By, e.stream) || len(x.Data) == 0 || x.At.Hi < near.Lo {
			continue
		}
		var r timeline.Run
		if json.Unmarshal(x.Data, &r) == nil && c.began(r.First, x) <= near.Hi {
			most = max(most, timeline.FromMS(r.GapMS))
		}
	}
	return most
}

// began is when the run of x began.
func (c *checker) began(first int, x timeline.Event) time.Duration {
	for _, y := range c.tl {
		if y.I == first {
			return y.At.Lo
		}
	}
	return x.At.Lo
}

// reach is by how much the verdict may have widened an end for the runner's being held
// up around it.
func (c *checker) reach(e end, period time.Duration) (sum time.Duration) {
	near := c.near(e, period+2*c.rtt+stall.Threshold)
	for _, x := range c.tl {
		if x.Kind == timeline.Stall && x.At.Hi >= near.Lo && x.At.Lo <= near.Hi {
			sum += x.At.Width() + ledgerCatchUp
		}
	}
	return sum
}

// held is for how long the runner was measured to be held up at a time.
func (c *checker) held(at timeline.Interval) (sum time.Duration) {
	for _, e := range c.tl {
		if e.Kind == timeline.Stall && e.At.Hi >= at.Lo && e.At.Lo <= at.Hi {
			sum += time.Duration(e.N)
		}
	}
	return sum
}

// ledgerCatchUp is what it takes to hand out what came while the runner was held
// up (verdict: catchUp).
const ledgerCatchUp = 10 * time.Millisecond

// hiccup is how long, in ms, a request may have waited at a time in a run in which
// nothing was done. This process has the servers in it as well: while it is held up
// they are, and then work off what came meanwhile.
func (c *checker) hiccup(at timeline.Interval) float64 {
	return hiccup + 3*timeline.MS(c.held(at))
}

func (c *checker) effectWidth() time.Duration {
	for _, f := range c.t.Faults {
		if f.Effect != nil {
			return timeline.FromMS(f.Effect[1] - f.Effect[0])
		}
	}
	return 0
}
