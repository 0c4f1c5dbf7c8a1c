package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// A fault is one that is held, from before it was written down until it was seen
// to be gone.
type fault struct {
	key  string
	spec targets.Spec
	f    injectors.Fault
	inj  injectors.Injector // one and the same for all verbs: a Watcher may remember what Revert did
	node targets.Node

	verb     chan struct{}     // holds one token while no verb runs; see lock
	record   string            // its name in the journal, "" before and after
	proven   bool              // its effect was seen
	seen     time.Time         // beginning of the last look that saw it hold
	missing  bool              // a hole was reported and has not ended
	unwatch  func()            // ends the watch and waits for it
	over     bool              // reverted
	reverted spanWire          // then
	report   func(saw sawWire) // tells the runner
	ruler    ruler

	renewing sync.Mutex            // held while it is renewed
	lapsed   atomic.Pointer[error] // why it could not be
}

// grace is how long a verb waits for one that was cancelled before it goes ahead.
const grace = 2 * time.Second

// lock waits until no other verb runs, for d at most.
func (h *fault) lock(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-h.verb:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

func (h *fault) unlock() { h.verb <- struct{}{} }

// inject writes the fault down, makes it, and looks until it is proven.
func (h *fault) inject(ctx context.Context, s *server) (heldWire, error) {
	if !h.lock(ctx, grace) || ctx.Err() != nil {
		return heldWire{}, errors.Join(errors.New("not begun"), ctx.Err())
	}
	defer h.unlock()
	var err error
	if h.record, err = s.write(h); err != nil {
		return heldWire{}, err
	}
	if err := h.renew(ctx, s.hello.Lease); err != nil {
		return heldWire{}, err
	}
	h.watch(ctx)
	begin := time.Now()
	err = h.inj.Inject(ctx, h.node, h.f)
	end := time.Now()
	if err != nil {
		return heldWire{}, err
	}
	out := heldWire{Inject: h.ruler.span(begin, end)}
	from, to, proof, held := h.look(ctx, begin, s.cfg.patience(h.inj, h.f))
	out.Effect, out.Proof, out.OK = h.ruler.span(from, to), proof, held
	h.proven, h.seen = held, to
	return out, ctx.Err()
}

// renew has the fault live for one lease more, if it would end by itself. It does
// not wait for other verbs: a look may take longer than the lease. One that hangs
// is not called twice.
func (h *fault) renew(ctx context.Context, lease time.Duration) error {
	r, ok := h.inj.(injectors.Renewer)
	if !ok || !h.renewing.TryLock() {
		return nil
	}
	defer h.renewing.Unlock()
	err := r.Renew(ctx, h.node, h.f, lease)
	if err != nil {
		h.lapsed.Store(&err)
	}
	return err
}

// look looks until the fault holds, for as long as patience. It began to hold
// within [from, to]: not before the last look that did not see it began, and not
// after the first that saw it ended.
func (h *fault) look(ctx context.Context, begin time.Time, patience time.Duration) (from, to time.Time, proof string, held bool) {
	ctx, cancel := context.WithDeadline(ctx, begin.Add(patience))
	defer cancel()
	from = begin
	for {
		at := time.Now()
		held, seen, err := h.inj.Effect(ctx, h.node, h.f)
		to = time.Now()
		if err == nil && held {
			return from, to, seen, true
		}
		switch {
		case err == nil:
			// The look says that at some instant since its beginning the fault
			// did not hold.
			from, proof = at, seen
		case ctx.Err() == nil || proof == "":
			proof = err.Error() // proves nothing: from stays
		}
		// Looks get rarer as they get less precise anyway: a tenth of the time
		// that has passed.
		if wait(ctx, min(max(time.Since(begin)/10, 100*time.Microsecond), 10*time.Millisecond)) != nil {
			return begin, time.Now(), proof, false
		}
	}
}

// watch starts to pass on what the injector sees of its fault by itself.
func (h *fault) watch(ctx context.Context) {
	w, ok := h.inj.(injectors.Watcher)
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := w.Watch(ctx, h.node, h.f, func(s injectors.Sighting) {
			h.report(sawWire{Key: h.key, Node: h.f.Node, At: h.ruler.span(s.Lo, s.Hi), What: s.What, By: s.By, Evidence: s.Evidence})
		})
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, targets.ErrGone) {
			now := time.Now()
			h.report(sawWire{Key: h.key, Node: h.f.Node, At: h.ruler.span(now, now), What: whatUnwatched, Evidence: err.Error()})
		}
	}()
	h.unwatch = func() {
		cancel()
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C: // it does not heed its context; it dies with the agent
		}
	}
}

const (
	whatHole      = "hole"
	whatUnwatched = "unwatched" // restarts cannot be told any more
)

// revert takes the fault back, sees that it is gone, and only then forgets it.
func (h *fault) revert(ctx context.Context, s *server) (spanWire, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.deadline())
	defer cancel()
	if !h.lock(ctx, grace) {
		// Inject hangs. Take back what it did so far, but believe in the end of
		// the fault only once Inject can do no more.
		_, _, _, err := takeBack(ctx, h.inj, h.node, h.f)
		if !h.lock(ctx, s.cfg.deadline()) {
			return spanWire{}, errors.Join(fmt.Errorf("taking back %s on %s: the call that makes the fault has not returned, it may still make it", h.f.Kind, h.f.Node), err)
		}
	}
	defer h.unlock()
	if h.over {
		return h.reverted, nil
	}
	h.proven = false // from here on its absence is no hole
	begin, end, proof, err := takeBack(ctx, h.inj, h.node, h.f)
	if err != nil {
		return spanWire{}, fmt.Errorf("taking back %s on %s (%s): %w", h.f.Kind, h.f.Node, proof, err)
	}
	if h.unwatch != nil {
		h.unwatch()
	}
	if h.record != "" {
		if err := s.journal.Clear(h.record); err != nil {
			return spanWire{}, err
		}
	}
	h.over, h.record, h.reverted = true, "", h.ruler.span(begin, end)
	return h.reverted, nil
}

// check looks whether a fault that should hold still does, and reports a hole
// once. tolerance is for how long it may not be possible to look.
func (h *fault) check(ctx context.Context, tolerance time.Duration) {
	select {
	case <-h.verb:
	default:
		return // it is just being injected or reverted
	}
	defer h.unlock()
	if !h.proven || h.f.Momentary {
		return
	}
	at := time.Now()
	held, proof, err := h.inj.Effect(ctx, h.node, h.f)
	lapsed := h.lapsed.Swap(nil)
	switch {
	case lapsed != nil:
		proof = "it could not be renewed: " + (*lapsed).Error()
	case err == nil && held:
		h.seen, h.missing = at, false
		return
	case err != nil && (ctx.Err() != nil || at.Sub(h.seen) < tolerance):
		return
	case err != nil:
		proof = "it cannot be seen whether it holds: " + err.Error()
	}
	if !h.missing {
		h.missing = true
		h.report(sawWire{Key: h.key, Node: h.f.Node, At: h.ruler.span(h.seen, time.Now()), What: whatHole, Evidence: proof})
	}
}
