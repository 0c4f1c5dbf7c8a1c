package ledger

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// runFresh writes on a new connection each time, at fixed times, each in a
// goroutine of its own: one that is stuck never delays the next. What exceeds
// the bound of those in flight is given up.
func (s *stream) runFresh(quit, cut context.Context) {
	limit := freshInFlight
	if s.kind == direct {
		limit = directInFlight
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, limit)
	when := s.schedule()
	for i := int64(0); !s.mute.Load(); i++ {
		t := when.at(i)
		s.reached(t)
		if !until(quit, t) {
			return
		}
		s.due(t)
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				s.once(cut, t)
				<-slots
			})
		default:
			s.giveUp(t, time.Now(), fmt.Sprintf("%d connections in flight", limit))
		}
	}
}

// once connects, writes and closes.
func (s *stream) once(cut context.Context, due time.Time) {
	o := s.open(cut)
	if o.refused != nil {
		s.refuse(due, o.hi, *o.refused, o.lo.Sub(due))
		return
	}
	defer s.closeSession(o.session)
	ctx, cancel := context.WithTimeout(cut, s.w.cfg.Reconnect.Statement)
	defer cancel()
	s.put(ctx, o.session, due, o.lo.Sub(due))
}

// runOld writes on the session that was opened before the fault for as long as
// it holds. It has no deadline, since a client that waits for ever is the one
// that an isolated node can still acknowledge; it is never closed by us before
// StopOld, and never opened again: what comes after a restart is direct's to see.
func (s *stream) runOld(quit, cut context.Context) {
	o := s.first
	if o.refused != nil {
		s.ended(o.lo, o.hi, "never open: "+o.refused.Reply)
		return
	}
	defer s.closeSession(o.session)
	alive := o.hi
	for quit.Err() == nil && !s.mute.Load() {
		ack := s.put(cut, o.session, time.Now(), 0)
		now := time.Now()
		if o.session.Broken() {
			if cut.Err() == nil { // else it was us
				s.ended(alive, now, ack.Reply)
			}
			return
		}
		alive = now
		if !until(quit, now.Add(s.w.cfg.OldPeriod)) {
			return
		}
	}
}
