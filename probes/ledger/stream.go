package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// A kind is how a stream looks at the system (measurement rules, "Vantage
// points").
type kind uint8

const (
	app kind = iota
	fresh
	old
	direct
	barrier // the audits' own
)

// client says whether the stream is what users are: it counts in buckets.
func (k kind) client() bool { return k == app || k == fresh }

// A stream is one client with ids of its own.
type stream struct {
	w     *Workload
	no    int
	name  string
	kind  kind
	where probes.Where
	books books
	line  *timeline.Stream
	emit  timeline.Emit
	// front is the time since Base before which every due write of this stream
	// has been begun or given up.
	front atomic.Int64
	// mute says that no id is to be had any more: nothing can be sent.
	mute  atomic.Bool
	first opened // the session that was opened before the workload began
}

// opened is a session, or the reason why there is none.
type opened struct {
	session probes.Session
	refused *probes.Ack
	lo, hi  time.Time // when it was asked for and had
}

// run starts the stream's goroutine.
func (s *stream) run() {
	switch s.kind {
	case app:
		s.w.clients.run(s.runApp)
	case fresh, direct:
		s.w.clients.run(s.runFresh)
	case old:
		s.w.olds.run(s.runOld)
	}
}

// open makes one attempt to connect.
func (s *stream) open(ctx context.Context) opened {
	o := opened{lo: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, s.w.cfg.Reconnect.Connect)
	defer cancel()
	o.session, o.refused = s.w.cfg.System.Open(ctx, s.where)
	o.hi = time.Now()
	if o.refused == nil && o.session == nil {
		o.refused = &probes.Ack{Class: probes.Failed, Reply: "the system gave neither a session nor a reason"}
	}
	return o
}

// put sends one write, which was intended for due, and books what became of it.
// late is by how much later than due it is by our own doing. It is the path of every write: no disk, no lock but those of the stream and the
// counts.
func (s *stream) put(ctx context.Context, sess probes.Session, due time.Time, late time.Duration) probes.Ack {
	seq, err := s.books.issue(ctx)
	if err != nil {
		s.mute.Store(true)
		ack := probes.Ack{Class: probes.Failed, Reply: probes.ReplyNotSent + err.Error()}
		s.tell(due, time.Now(), ack, unsent)
		s.books.miss(1)
		return ack
	}
	ack := sess.Put(ctx, probes.Write{
		Run: s.w.cfg.Run, Client: s.no, Seq: seq, Sent: time.Since(s.w.cfg.Base),
	})
	back := time.Now()
	s.book(seq, due, back, &ack)
	s.tell(due, back, ack, lateness(late))
	return ack
}

// book settles an id.
func (s *stream) book(seq uint64, due, back time.Time, ack *probes.Ack) {
	ack.Node = s.takerName(*ack)
	lo, hi := at(s.w.cfg.Base, due, back)
	if s.books.settle(outcome{seq, classOf(ack.Class), lo, hi, taker{ack.Node, ack.Epoch, ack.Reply}}) {
		s.w.keep.low()
	}
}

// takerName is the name of the node that took a write. A session on a node
// itself needs no one to say whose ack it is.
func (s *stream) takerName(a probes.Ack) string {
	if a.Node != "" {
		if name := s.w.cfg.System.NodeName(a.Node); name != "" {
			return name
		}
		return a.Node
	}
	if c := classOf(a.Class); s.where.Node != nil && (c == acked || c == degraded) {
		return s.where.Node.Name()
	}
	return ""
}

// unsent is in the Data of a write that the client gave up by itself.
var unsent = json.RawMessage(`{"unsent":true}`)

// leastLate is from when on it is told that a write was sent late by the runner.
const leastLate = time.Millisecond

// lateness is in the Data of a write that was sent late.
func lateness(late time.Duration) json.RawMessage {
	if late < leastLate {
		return nil
	}
	return append(strconv.AppendFloat([]byte(`{"late_ms":`), timeline.MS(late), 'f', 3, 64), '}')
}

// tell emits an outcome and counts it.
func (s *stream) tell(due, back time.Time, ack probes.Ack, data json.RawMessage) {
	c := classOf(ack.Class)
	s.line.Add(due, back, timeline.Event{
		Kind: timeline.Write, By: s.name, Value: c.String(),
		Node: ack.Node, Epoch: ack.Epoch, Evidence: ack.Reply, Data: data,
	})
	if s.kind.client() {
		s.w.buckets.done(due, back, c)
		s.w.recent.add(back, c, ack.Reply)
	}
}

// due says that a write is intended for t; each is followed by one put, refuse
// or giveUp with the same t.
func (s *stream) due(t time.Time) {
	if s.kind.client() {
		s.w.buckets.due(t)
	}
}

// refuse books a write of which no byte left, because there was no connection
// for it. It needs no id: nothing was tried under one.
func (s *stream) refuse(due, back time.Time, ack probes.Ack, late time.Duration) {
	s.books.miss(1)
	ack.Class = probes.Failed
	s.tell(due, back, ack, lateness(late))
}

// giveUp is refuse for a write that was given up by the client itself: that it did
// not come about says nothing of the system.
func (s *stream) giveUp(due, back time.Time, why string) {
	s.books.miss(1)
	s.tell(due, back, probes.Ack{Class: probes.Failed, Reply: probes.ReplyNotSent + why}, unsent)
}

// reached moves the frontier: every write due before t was begun.
func (s *stream) reached(t time.Time) { s.front.Store(int64(t.Sub(s.w.cfg.Base))) }

// ended says that the connection was lost between lo and hi.
func (s *stream) ended(lo, hi time.Time, why string) {
	e := timeline.Event{Kind: timeline.SessionEnd, By: s.name, Evidence: why}
	if s.where.Node != nil {
		e.Node = s.where.Node.Name()
	}
	s.emit(lo, hi, e)
}

// closeSession gives the connection back. That it cannot be closed in order does
// not matter to anything that is measured, so it is told as a note.
func (s *stream) closeSession(sess probes.Session) {
	if err := sess.Close(); err != nil && !sess.Broken() {
		now := time.Now()
		s.emit(now, now, timeline.Event{Kind: timeline.Note, By: s.name, Value: "the connection did not close in order", Evidence: err.Error()})
	}
}

// until waits for t. It returns false if ctx ended before.
func until(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A schedule is the intended times of an open loop. They are multiples of the
// period and do not drift.
type schedule struct {
	from   time.Time
	period float64 // nanoseconds; 0 is the closed loop
}

func (c schedule) at(i int64) time.Time {
	return c.from.Add(time.Duration(math.Round(float64(i) * c.period)))
}

func (s *stream) schedule() schedule {
	c := s.w.cfg
	switch s.kind {
	case app:
		if c.Rate == 0 {
			return schedule{from: s.w.started}
		}
		// The streams take turns, so that together they are even.
		period := float64(c.Apps) / c.Rate * 1e9
		return schedule{s.w.started.Add(time.Duration(period * float64(s.no) / float64(c.Apps))), period}
	case fresh:
		return schedule{s.w.started, float64(c.FreshPeriod)}
	case direct:
		return schedule{s.w.started, float64(c.DirectPeriod)}
	case old, barrier:
	}
	panic(fmt.Sprintf("dapple: internal error: stream %s has no schedule", s.name))
}
