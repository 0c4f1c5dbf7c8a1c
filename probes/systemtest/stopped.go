package systemtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// stopped stops the primary under the eyes of role polls and observers.
func (s *suite) stopped(t *testing.T) {
	primary, _ := s.primary(t)
	w := s.observe(t)
	before := time.Now()
	if err := s.Stop(t.Context(), primary.Name()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := s.patient(t)
		defer cancel()
		if err := s.Start(ctx, primary.Name()); err != nil {
			t.Errorf("start %s again: %v", primary.Name(), err)
		}
		s.primary(t)
	})
	s.wait(t, "the stopped node to be silent", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		c := s.sys.Role(ctx, primary)
		if c.Role != probes.Silent {
			return fmt.Errorf("it is %s: %s", c.Role, c.Detail)
		}
		if c.Detail == "" {
			return errors.New("it is silent without a reason")
		}
		return nil
	})
	s.hurried(t)
	if !s.Failover {
		return
	}
	s.wait(t, "another primary", func(ctx context.Context) error {
		for _, n := range s.Binding.Nodes {
			if c := s.role(ctx, n); n != primary && c.Role == probes.Primary {
				return nil
			}
		}
		return errors.New("no other node is primary")
	})
	w.fired(t, before)
}

// hurried checks that Role keeps to a short deadline whoever is asked.
func (s *suite) hurried(t *testing.T) {
	for _, n := range s.Binding.Nodes {
		const short = 20 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), short)
		began := time.Now()
		s.sys.Role(ctx, n)
		cancel()
		if took := time.Since(began); took > short+deadline {
			t.Errorf("asked for the role of %s within %v and was answered after %v", n.Name(), short, took)
		}
	}
}

// watching is what an observer saw.
type watching struct {
	mu     sync.Mutex
	events []timeline.Event
	his    []time.Time
	ended  bool
	none   bool
}

// observe starts the system's observer, if it has one, until the test ends, and
// waits for its first view.
func (s *suite) observe(t *testing.T) *watching {
	w := &watching{}
	o, ok := s.sys.(probes.Observer)
	if !ok {
		w.none = true
		return w
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		done <- o.Observe(ctx, w.emit(t), func() { once.Do(func() { close(ready) }) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("observe: %v", err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended = true
	})
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("the observer ended before its first view: %v", err)
	case <-time.After(s.Patience):
		t.Fatal("the observer never had its first view")
	}
	return w
}

func (w *watching) emit(t *testing.T) timeline.Emit {
	return func(lo, hi time.Time, e timeline.Event) int {
		w.mu.Lock()
		defer w.mu.Unlock()
		if hi.Before(lo) {
			t.Errorf("event %+v ends %v before it begins", e, lo.Sub(hi))
		}
		if e.By == "" || e.Evidence == "" {
			t.Errorf("event %+v does not say who saw it and what", e)
		}
		if w.ended {
			t.Errorf("event %+v came after Observe returned", e)
		}
		w.events, w.his = append(w.events, e), append(w.his, hi)
		return len(w.events)
	}
}

// fired checks that a stop of the primary was seen, by an event that cannot
// have happened before it.
func (w *watching) fired(t *testing.T, stopped time.Time) {
	if w.none {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range w.events {
		if (e.Kind == timeline.Leader || e.Kind == timeline.Detected) && w.his[i].After(stopped) {
			return
		}
	}
	t.Errorf("the primary was stopped, and the observer saw none of it: %+v", w.events)
}
