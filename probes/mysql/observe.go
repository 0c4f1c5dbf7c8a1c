package mysql

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

const (
	// lookEvery is how often each server is asked for its view of the group. There is
	// nothing that it would tell by itself.
	lookEvery = 50 * time.Millisecond
	// silentFor is how long a server may owe an answer before it is asked anew.
	silentFor = time.Second
)

// Observe polls each server's view of the group over a connection of its own, and
// emits, by "view/NODE":
//
//   - timeline.Leader for each change of whom it takes for the primary, its first
//     view included. The view of a server that does not reach the majority says
//     nothing of that.
//   - timeline.Detected when it holds a member to be unreachable, or one that it held
//     to be so is no member any more.
//
// An event lies between the call of the last poll that did not show it and the answer
// to the first that did.
func (s *System) Observe(ctx context.Context, emit timeline.Emit, ready func()) error {
	first := &viewed{untried: len(s.places), ready: ready}
	var wg sync.WaitGroup
	for _, p := range s.places {
		w := &watch{s: s, p: p, emit: emit, name: "view/" + p.node.Name(), states: map[string]string{}, line: newLine()}
		wg.Go(func() { w.run(ctx, first) })
	}
	wg.Wait()
	return nil
}

// viewed calls ready once, when every server was tried and one answered.
type viewed struct {
	mu      sync.Mutex
	untried int
	one     bool
	ready   func()
}

func (f *viewed) tried(first, answered bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if first {
		f.untried--
	}
	f.one = f.one || answered
	if f.untried <= 0 && f.one && f.ready != nil {
		f.ready()
		f.ready = nil
	}
}

// A watch is one server under observation.
type watch struct {
	s    *System
	p    *place
	emit timeline.Emit
	name string
	line line

	leader string            // uuid of whom it takes for the primary; "" if not known
	reign  string            // of that one
	states map[string]string // uuid → state
	known  time.Time         // until when this is known to have been so
}

// run polls until ctx ends.
func (w *watch) run(ctx context.Context, first *viewed) {
	defer w.line.hangUp()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		asked := time.Now()
		v, err := w.ask(ctx)
		if err == nil {
			w.s.know(v, w.p)
			w.compare(v, asked, time.Now())
			w.known = asked
		}
		first.tried(n == 0, err == nil)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (w *watch) ask(ctx context.Context) (v view, err error) {
	ctx, cancel := context.WithTimeout(ctx, silentFor)
	defer cancel()
	err = w.line.ask(ctx, func(ctx context.Context) (*conn, error) { return w.s.reach(ctx, w.p) }, func(ctx context.Context, c *conn) (err error) {
		v, err = c.view(ctx)
		return err
	})
	return v, err
}

// compare emits what is not as it was.
func (w *watch) compare(v view, asked, answered time.Time) {
	lo := w.known
	if lo.IsZero() {
		lo = asked
	}
	w.members(v, lo, answered)
	w.led(v, lo, answered)
}

// members tells of members that the server lost sight of.
func (w *watch) members(v view, lo, hi time.Time) {
	now := map[string]string{}
	for _, m := range v.members {
		now[m.id] = m.state
		if m.state == unreachable && w.states[m.id] != unreachable {
			w.detected(lo, hi, m.id, w.s.called(m)+" is UNREACHABLE", v)
		}
	}
	for id, before := range w.states {
		if _, there := now[id]; !there && before == unreachable && len(v.members) > 1 {
			w.detected(lo, hi, id, w.s.called(member{id: id})+" was expelled", v)
		}
	}
	w.states = now
}

func (w *watch) detected(lo, hi time.Time, id, what string, v view) {
	w.emit(lo, hi, timeline.Event{
		Kind: timeline.Detected, Node: w.s.NodeName(id), By: w.name, Value: what, Evidence: w.p.node.Name() + ": " + v.String(),
	})
}

// led tells of another primary than before.
func (w *watch) led(v view, lo, hi time.Time) {
	all := v.primaries()
	if len(all) != 1 || !v.quorum() || v.number == 0 {
		return
	}
	m := all[0]
	reign := w.s.reigns.of(m.id, v.number)
	if m.id == w.leader && reign == w.reign {
		return
	}
	w.leader, w.reign = m.id, reign
	w.emit(lo, hi, timeline.Event{
		Kind: timeline.Leader, Node: w.s.NodeName(m.id), By: w.name, Epoch: reign, Value: w.s.called(m),
		Evidence: fmt.Sprintf("%s has %s as PRIMARY in view %d", w.p.node.Name(), w.s.called(m), v.number),
	})
}
