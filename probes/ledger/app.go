package ledger

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// A client is an application with one connection at a time and writes that are
// due at fixed times, whether or not it can send them:
//
//   - connected and idle: it sends when the write is due;
//   - busy with an earlier write: the due one waits, at most for the patience of
//     the workload, and is then given up; what waited less is sent as soon as
//     the earlier one is answered, and its latency counts from when it was due;
//   - the connection broke under the earlier write: all that waited is given up;
//   - not connected: what is due is given up at once.
//
// So no write is left out for the system's slowness, a long stall is not
// followed by a flood, and an outage is bounded by a period on both sides and
// not by a time-out. What is given up counts as failed, "not sent", at the time
// for which it was intended. It is told as soon as the client is free to, at
// most one deadline later.
type client struct {
	*stream
	when  schedule
	next  int64 // number of the next due write
	sess  probes.Session
	alive time.Time // the connection was last seen to work; since then it is free
	used  bool      // it answered a write
	why   string    // of the last refused attempt to connect
	wait  time.Duration
	rand  *rand.Rand
}

func (s *stream) runApp(quit, cut context.Context) {
	c := &client{stream: s, when: s.schedule(), rand: rand.New(rand.NewPCG(uint64(s.w.cfg.Seed), uint64(s.no)))}
	c.take(s.first)
	for quit.Err() == nil && !s.mute.Load() {
		if c.sess == nil {
			c.connect(quit, cut)
			continue
		}
		c.step(quit, cut)
	}
	if c.sess != nil {
		s.closeSession(c.sess)
		c.giveUpAll(time.Now().Add(-s.w.cfg.Patience), c.patience, busy)
	}
}

const busy = probes.ReplyBusy

// patience is when a write that waited for the session was given up.
func (c *client) patience(due time.Time) time.Time { return due.Add(c.w.cfg.Patience) }

// take uses a session, or remembers why there is none.
func (c *client) take(o opened) {
	if o.refused != nil {
		c.why = o.refused.Reply
		c.wait = c.backoff()
		return
	}
	c.sess, c.alive, c.used = o.session, o.hi, false
}

// connect makes one attempt, after the back-off of the one before.
func (c *client) connect(quit, cut context.Context) {
	if c.wait > 0 {
		on := until(quit, time.Now().Add(c.jitter()))
		c.pass(time.Now())
		if !on {
			return
		}
	}
	o := c.open(cut)
	c.pass(o.hi)
	c.take(o)
	if c.when.period == 0 && o.refused != nil {
		c.due(o.lo) // the closed loop has no due writes that could tell of it
		c.refuse(o.lo, o.hi, *o.refused, 0)
	}
}

// backoff is the next wait: it doubles from one attempt to the next until a
// write was answered.
func (c *client) backoff() time.Duration {
	r := c.w.cfg.Reconnect
	return min(max(2*c.wait, r.BackoffFrom), r.BackoffTo)
}

// jitter is between half of the wait and all of it, so that clients which lost
// their connections together do not come back together.
func (c *client) jitter() time.Duration {
	return c.wait/2 + time.Duration(c.rand.Int64N(int64(c.wait/2)+1))
}

// pass gives up what was due while there was no connection.
func (c *client) pass(now time.Time) {
	why := "no connection"
	if c.why != "" {
		why += " (" + c.why + ")"
	}
	c.giveUpAll(now, func(due time.Time) time.Time { return due }, why)
}

// giveUpAll gives up all writes due up to now; when says at what time each of them
// was.
func (c *client) giveUpAll(now time.Time, when func(due time.Time) time.Time, why string) {
	now = c.w.clients.clip(now)
	for c.when.period > 0 {
		t := c.when.at(c.next)
		if t.After(now) {
			c.reached(t)
			return
		}
		c.next++
		c.due(t)
		c.giveUp(t, when(t), why)
	}
	c.reached(now)
}

// step waits for the next due write and sends it, or gives it up if it had to
// wait too long for the one before.
func (c *client) step(quit, cut context.Context) {
	t := time.Now()
	if c.when.period > 0 {
		t = c.when.at(c.next)
		c.reached(t)
		if !until(quit, t) {
			return
		}
		c.next++
	}
	c.due(t)
	c.reached(t.Add(1))
	// What it waited for the session counts, not what dapple itself was late by.
	if c.alive.Sub(t) > c.w.cfg.Patience {
		c.giveUp(t, c.patience(t), busy)
		return
	}
	c.write(cut, t)
}

func (c *client) write(cut context.Context, due time.Time) {
	ctx, cancel := context.WithTimeout(cut, c.w.cfg.Reconnect.Statement)
	defer cancel()
	// What it waited for the session is the system's doing.
	ack := c.put(ctx, c.sess, due, time.Since(later(due, c.alive)))
	now := time.Now()
	if !c.sess.Broken() {
		c.alive, c.used, c.wait = now, true, 0
		return
	}
	if cut.Err() == nil { // else it was us
		c.ended(c.alive, now, ack.Reply)
	}
	c.closeSession(c.sess)
	c.sess, c.why = nil, ""
	c.giveUpAll(now, func(t time.Time) time.Time { return sooner(c.patience(t), now) }, busy+" until it broke")
	if !c.used { // connecting helps nothing: no reason to hurry
		c.wait = c.backoff()
	}
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
