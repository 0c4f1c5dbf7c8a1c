package etcd

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

const (
	// lookEvery is how often each member is asked for its view. Without a leader
	// a cluster is for the time of an election only: a few milliseconds to a few
	// tens of them.
	lookEvery = 25 * time.Millisecond
	// lookFor is how long one answer is waited for.
	lookFor = time.Second
)

// Observe polls what each member itself holds to be the leader and the term, and
// emits each change of a member's view as a Leader event by "etcd/NODE". There
// is nothing to subscribe to: etcd tells nobody of a change of leader. What
// members answer to others who ask (Role, Members) is seen as well.
//
// The first view has been had when every member was asked and one answered.
func (s *System) Observe(ctx context.Context, emit timeline.Emit, ready func()) error {
	places := s.all()
	e := s.newEye(places, emit)
	defer s.shut(e)
	first := &viewed{unasked: len(places), ready: ready}
	var wg sync.WaitGroup
	for _, p := range places {
		wg.Go(func() { s.watch(ctx, p, e.views[p], first) })
	}
	wg.Wait()
	return nil
}

// watch asks a member until ctx ends.
func (s *System) watch(ctx context.Context, p *place, v *view, first *viewed) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for n := 0; ; n++ {
		ok := s.ask(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if !ok {
			v.see(look{})
		}
		first.asked(n == 0, v.known())
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// ask asks a member once. Its answer goes to all eyes: see status.
func (s *System) ask(ctx context.Context, p *place) bool {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	_, err := s.status(ctx, p)
	return err == nil
}

// viewed calls ready once.
type viewed struct {
	mu      sync.Mutex
	unasked int
	one     bool // a member has answered
	ready   func()
}

// asked notes that a member was asked, for the first time or again, and whether
// its view is known.
func (f *viewed) asked(first, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if first {
		f.unasked--
	}
	f.one = f.one || known
	if f.unasked == 0 && f.one && f.ready != nil {
		f.ready()
		f.ready = nil
	}
}

// An eye is one run of Observe.
type eye struct{ views map[*place]*view }

func (s *System) newEye(places []*place, emit timeline.Emit) *eye {
	e := &eye{views: map[*place]*view{}}
	told := newReport(s, emit)
	for _, p := range places {
		e.views[p] = &view{by: p.node.Name(), to: told}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eyes = append(s.eyes, e)
	return e
}

// shut ends e: nothing is emitted by it after that.
func (s *System) shut(e *eye) {
	s.mu.Lock()
	s.eyes = slices.DeleteFunc(slices.Clone(s.eyes), func(x *eye) bool { return x == e })
	s.mu.Unlock()
	for _, v := range e.views {
		v.end()
	}
}

// show shows an answer of p to all eyes.
func (s *System) show(p *place, l look) {
	s.mu.Lock()
	eyes := s.eyes
	s.mu.Unlock()
	for _, e := range eyes {
		if v := e.views[p]; v != nil {
			v.see(l)
		}
	}
}
