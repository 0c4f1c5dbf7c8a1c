package selftest

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A Case is one run: what the world does and when, and how it is watched. It
// follows from its seed alone, and so does the truth, but for the microseconds
// at which the world really does it.
type Case struct {
	Seed   uint64 `json:"seed"`
	Family string `json:"family"`
	Script Script `json:"script"`

	Rate    float64       `json:"rate"` // writes per second of all app clients
	Fresh   time.Duration `json:"fresh_ns"`
	Service time.Duration `json:"service_ns"` // what a write takes at most in the world itself
	RTO     time.Duration `json:"rto_ns"`     // the objective, near the truth on either side
	// Clock is the error of the agent's clock: one of another machine.
	Clock *Clock `json:"clock,omitempty"`
	// Stop holds the whole process up, as a machine without time for it does.
	Stop *Stop `json:"stop,omitempty"`
}

// A Break is how a node looks that does not serve.
type Break string

// What a node does to whoever asks it.
const (
	Nothing Break = ""       // it serves
	Refuse  Break = "refuse" // its ports are closed: connection refused
	Hang    Break = "hang"   // it takes connections and never answers
	Delay   Break = "delay"  // it takes connections, and answers when it is over
	Reset   Break = "reset"  // it takes what is sent, and resets the connection
	Deny    Break = "deny"   // it answers that it does not take writes
	Lie     Break = "lie"    // it acknowledges, and keeps nothing
)

// A Script is what happens, in time since the effect of the fault.
type Script struct {
	Break Break         `json:"break"`
	Begin time.Duration `json:"begin_ns"` // the clients' endpoint is without service from here
	Route time.Duration `json:"route_ns"` // to here
	// Failover: node b takes over from a. Else a serves again at Route.
	Failover bool          `json:"failover"`
	Detect   time.Duration `json:"detect_ns"` // the control plane has no leader any more
	Elect    time.Duration `json:"elect_ns"`  // it has node b
	Promote  time.Duration `json:"promote_ns"`
	// Fence is until when the old primary acknowledges on sessions that were
	// opened before the fault; 0: it does not.
	Fence  time.Duration `json:"fence_ns"`
	Merge  bool          `json:"merge"`     // what it took meanwhile is kept
	Hold   time.Duration `json:"hold_ns"`   // the fault is taken back after this
	Rejoin time.Duration `json:"rejoin_ns"` // so long after that node a follows
	Green  time.Duration `json:"green_ns"`  // so long its health check stays green

	Drop  int  `json:"drop"`  // acknowledged writes that the new primary does not have
	Holes bool `json:"holes"` // not the last ones, but some of the last hundred
	Late  int  `json:"late"`  // unanswered writes that turn up between the audits
	Twice int  `json:"twice"` // writes that are stored twice
	Ghost int  `json:"ghost"` // refused writes that are stored
}

// A Clock is an error of a clock: ahead by Offset, and faster by Drift.
type Clock struct {
	Offset time.Duration `json:"offset_ns"`
	Drift  float64       `json:"drift"`
}

// A Stop is when the process is stopped, since the effect, and for how long.
type Stop struct {
	At  time.Duration `json:"at_ns"`
	For time.Duration `json:"for_ns"`
}

// A family is a way in which runs differ.
type family struct {
	name string
	make func(c *Case, d dice)
}

// families are the ways in which a system, or dapple itself, can do wrong, each
// with what proves that it is seen.
func families() []family {
	return []family{
		{"refuse", func(c *Case, d dice) { c.failover(d, Refuse) }},
		{"hang", func(c *Case, d dice) { c.failover(d, one(d, Hang, Delay)) }},
		{"reset", func(c *Case, d dice) { c.failover(d, Reset) }},
		{"lie", func(c *Case, d dice) { c.lie(d) }},
		{"tail", func(c *Case, d dice) { c.failover(d, one(d, Refuse, Deny)); c.Script.Drop = d.IntN(40) + 1 }},
		{"late", func(c *Case, d dice) { c.failover(d, Reset); c.Script.Late = d.IntN(3) + 1 }},
		{"dual", func(c *Case, d dice) { c.dual(d) }},
		{"green", func(c *Case, d dice) { c.failover(d, one(d, Refuse, Deny)); c.green(d) }},
		{"clock", func(c *Case, d dice) { c.failover(d, one(d, Refuse, Deny)); c.clock(d) }},
		{"stopped", func(c *Case, d dice) { c.failover(d, one(d, Hang, Reset, Deny)); c.stop(d) }},
		{"holes", func(c *Case, d dice) {
			c.failover(d, one(d, Refuse, Reset))
			c.Script.Drop, c.Script.Holes = d.IntN(40)+1, true
		}},
		{"twice", func(c *Case, d dice) { c.failover(d, Refuse); c.Script.Twice = d.IntN(20) + 1 }},
		{"ghost", func(c *Case, d dice) { c.failover(d, Deny); c.Script.Ghost = d.IntN(3) + 1 }},
		{"blip", func(c *Case, d dice) { c.blip(d) }},
		{"quiet", func(c *Case, d dice) { c.Script = Script{Hold: d.ms(200, 400)} }},
	}
}

// caseOf is the case of a seed. Seeds in a row go through all families.
func caseOf(seed uint64) Case {
	all := families()
	f := all[seed%uint64(len(all))]
	d := dice{rand.New(rand.NewPCG(seed, 0))}
	c := Case{
		Seed: seed, Family: f.name,
		Rate: one[float64](d, 200, 300, 500), Fresh: one[time.Duration](d, 10, 20, 20, 20) * time.Millisecond, Service: one[time.Duration](d, 0, 0, 1, 4) * time.Millisecond,
	}
	f.make(&c, d)
	c.RTO = max(c.truth()+time.Duration(d.NormFloat64()*float64(60*time.Millisecond)), 20*time.Millisecond)
	return c
}

// truth is how long the clients are without service.
func (c *Case) truth() time.Duration {
	if c.Script.Break == Nothing || c.Script.Break == Lie {
		return 0
	}
	return c.Script.Route - c.Script.Begin
}

// failover has node b take over from a, which is broken.
func (c *Case) failover(d dice, b Break) {
	s := Script{Break: b, Failover: true}
	if b != Refuse {
		s.Begin = one(d, 0, d.ms(20, 150)) // a closed port is closed by hand, at the effect
	}
	s.Detect = s.Begin + d.ms(20, 150)
	s.Elect = s.Detect + d.ms(30, 100)
	s.Promote = s.Elect + d.ms(10, 120)
	s.Route = s.Promote + d.ms(5, 120)
	s.Hold = s.Route + d.ms(120, 250)
	s.Rejoin = d.ms(20, 300)
	c.Script = s
}

// blip has the same node serve again.
func (c *Case) blip(d dice) {
	s := Script{Break: one(d, Hang, Delay, Reset, Deny, Refuse)}
	if s.Break != Refuse {
		s.Begin = one(d, 0, d.ms(20, 150))
	}
	s.Route = s.Begin + d.ms(60, 400)
	s.Hold = s.Route + d.ms(120, 250)
	c.Script = s
}

// lie has the primary acknowledge what it does not keep.
func (c *Case) lie(d dice) {
	s := Script{Break: Lie}
	s.Begin = d.ms(0, 60)
	s.Route = s.Begin + d.ms(20, 250)
	s.Hold = s.Route + d.ms(100, 200)
	c.Script = s
}

// dual has the old primary acknowledge beside the new one.
func (c *Case) dual(d dice) {
	c.failover(d, Refuse)
	s := &c.Script
	s.Fence = s.Promote + d.ms(-60, 400)
	s.Merge = d.IntN(3) == 0
	s.Hold = max(s.Hold, s.Fence+d.ms(120, 250))
}

// green keeps the health check of the broken node green.
func (c *Case) green(d dice) {
	s := &c.Script
	s.Green = one(d, d.ms(50, int(s.Route/time.Millisecond)), s.Hold)
}

// clock has the agent's clock be off by up to an hour, and drift by up to what
// NTP may bend two clocks apart.
func (c *Case) clock(d dice) {
	c.Clock = &Clock{Offset: d.ms(-3_600_000, 3_600_000), Drift: (d.Float64()*2 - 1) * 990e-6}
}

// stop holds the process up within the outage, or over an end of it.
func (c *Case) stop(d dice) {
	c.Stop = &Stop{At: d.ms(5, int(c.Script.Route/time.Millisecond)), For: d.ms(40, 300)}
	c.Script.Hold += c.Stop.For
}

// dice are what a seed throws.
type dice struct{ *rand.Rand }

// ms is a duration of from to to milliseconds, to the microsecond.
func (d dice) ms(from, to int) time.Duration {
	return time.Duration(from)*time.Millisecond + time.Duration(d.Int64N(int64(to-from)*1000+1))*time.Microsecond
}

func one[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func (c *Case) String() string {
	s := c.Script
	text := fmt.Sprintf("%s (%s", c.Family, or(string(s.Break), "no fault"))
	if t := c.truth(); t > 0 {
		text += fmt.Sprintf(", %v", t)
	}
	return text + ")"
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
