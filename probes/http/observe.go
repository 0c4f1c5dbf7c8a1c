package http

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// lookEvery is how often each node is asked whether the service shows that it
// knows.
const lookEvery = 50 * time.Millisecond

// Observe asks every node and the client endpoint by http.detect, and emits a Detected event by
// "detect/NODE" (or "detect/clients") each time that the answer begins to match. A node that matches
// already when it is first asked tells nothing new. An answer counts whatever its
// status is: a service may show by a 503 that it knows.
//
// The first view has been had when all were asked.
func (s *System) Observe(ctx context.Context, emit timeline.Emit, ready func()) error {
	if s.svc.detect == nil {
		ready()
		<-ctx.Done()
		return nil
	}
	places := slices.Concat(s.places, []*place{s.front})
	var unasked sync.WaitGroup
	unasked.Add(len(places))
	go func() {
		unasked.Wait()
		ready()
	}()
	each(places, func(_ int, p *place) {
		w := &watching{s: s, p: p, emit: emit}
		w.once(ctx)
		unasked.Done()
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				w.once(ctx)
			}
		}
	})
	return nil
}

// watching is the view of one node.
type watching struct {
	s    *System
	p    *place
	emit timeline.Emit

	seen    bool      // it has answered
	matched bool      // its last answer did
	last    time.Time // when that was asked for
}

// once looks once.
func (w *watching) once(ctx context.Context) {
	d := w.s.svc.detect
	asked := time.Now()
	got, err := w.s.look(ctx, w.p, d.request)
	if err != nil || ctx.Err() != nil {
		return
	}
	told := time.Now()
	match := d.matches.FindString(got.body)
	if match != "" && w.seen && !w.matched {
		w.emit(w.last, told, timeline.Event{
			Kind: timeline.Detected, Node: w.p.nodeName(), By: "detect/" + w.p.name,
			Value: clip(match), Evidence: fmt.Sprintf("%s answers %s", d.path.whole, said(got)),
		})
	}
	w.seen, w.matched, w.last = true, match != "", asked
}
