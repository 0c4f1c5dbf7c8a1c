package http

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// Members tells how each node takes part by what it holds: a node follows if it
// lists exactly the ids that the client endpoint lists, of one client and up to a
// write that was acknowledged at least settled ago. One that lists others, or
// less, lags, though it may serve; one that does not answer is absent. Who of the
// whole ones is primary, it says itself.
//
// That costs one listing at each node and one at the endpoint, so the questions
// are rare where listings are long: see pace.
//
// A node that answers another status to the request for ids says nothing of what
// it holds: nothing is known then, of none.
func (s *System) Members(ctx context.Context) ([]probes.Member, error) {
	if s.svc.ids == nil {
		return nil, errors.New(s.Untold()["redundancy"])
	}
	done, err := s.pace.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	mark, ok := s.marks.before(time.Now().Add(-settled))
	if !ok {
		return nil, fmt.Errorf("no write was acknowledged %v ago yet", settled)
	}
	want, err := s.holding(ctx, s.front, mark)
	if err != nil {
		return nil, fmt.Errorf("what the client endpoint holds: %w", err)
	}
	all, errs := make([]probes.Member, len(s.places)), make([]error, len(s.places))
	each(s.places, func(i int, p *place) { all[i], errs[i] = s.member(ctx, p, mark, want) })
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, ctx.Err()
}

// settled is how old an acknowledgement is whose write every copy is expected to
// hold: a copy that is less than that behind follows.
const settled = time.Second

// A holding is what a place lists of one client up to a mark.
type holding struct {
	count, hash uint64
}

func (s *System) holding(ctx context.Context, p *place, m probes.Write) (h holding, err error) {
	err = s.list(ctx, p, m.Run, m.Client, func(client int, seq uint64) {
		if client == m.Client && seq <= m.Seq {
			h.count++
			h.hash ^= probes.HashID(seq)
		}
	})
	return h, err
}

func (s *System) member(ctx context.Context, p *place, m probes.Write, want holding) (probes.Member, error) {
	x := probes.Member{Node: p.name}
	got, err := s.holding(ctx, p, m)
	switch {
	case errors.Is(err, errStatus):
		return x, fmt.Errorf("what %s holds: %w", p.name, err)
	case err != nil && ctx.Err() != nil:
		return x, fmt.Errorf("what %s holds was not told in time", p.name)
	case err != nil:
		x.State, x.Said = "absent", reason(err)
		return x, nil
	}
	x.Epoch = s.epochOf(ctx, p)
	x.Said = fmt.Sprintf("it lists %d ids of a client, the client endpoint %d", got.count, want.count)
	if got != want {
		x.State, x.Lag = "lagging", max(1, int64(want.count)-int64(got.count))
		return x, nil
	}
	x.State = "following"
	if s.svc.role != nil && s.Role(ctx, p.node).Role == probes.Primary {
		x.State = "primary"
	}
	return x, nil
}

// marks remembers acknowledged writes of the last seconds, one in a while.
type marks struct {
	mu   sync.Mutex
	kept []mark // oldest first
}

type mark struct {
	w  probes.Write
	at time.Time
}

// markEvery is how far two marks are apart at least.
const markEvery = 100 * time.Millisecond

// note remembers a write that was acknowledged at the client endpoint.
func (m *marks) note(w probes.Write, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.kept); n > 0 && at.Sub(m.kept[n-1].at) < markEvery {
		return
	}
	// The one before the oldest that may be asked for is not needed any more.
	for len(m.kept) > 1 && at.Sub(m.kept[1].at) > settled {
		m.kept = m.kept[1:]
	}
	m.kept = append(m.kept, mark{w, at})
}

// before is the newest that was acknowledged before t.
func (m *marks) before(t time.Time) (w probes.Write, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.kept {
		if x.at.Before(t) {
			w, ok = x.w, true
		}
	}
	return w, ok
}

// pace keeps the listings below a share of the time: what a service spends on
// being watched, it does not spend on its clients.
type pace struct {
	mu   sync.Mutex
	next time.Time
}

// share is one part in so many.
const share = 20

// begin waits until the next listings may begin; done says that they are over.
func (p *pace) begin(ctx context.Context) (done func(), err error) {
	p.mu.Lock()
	wait := time.Until(p.next)
	p.mu.Unlock()
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)/2) // the other half is for looking
	}
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.C:
		}
	}
	began := time.Now()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.next = time.Now().Add(share * time.Since(began))
	}, nil
}
