package drills

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/scenarios"
)

// before is how long before the next renewal a fault of the best phase is called
// for, as a share of the pause between renewals: a call takes a while to have its
// effect, and a renewal that comes early must not come before it.
const before = 10 // one tenth

// phaseOf is the phase that a step's fault is to land in. What was asked for in place
// of the scenario's is for the first step: the others keep their distance from it.
func (p *Plan) phaseOf(s Step) scenarios.Phase {
	if s.Pos == p.first().Pos {
		return cmp.Or(p.Phase, s.Phase, scenarios.Random)
	}
	return cmp.Or(s.Phase, scenarios.Random)
}

// first is the step whose fault is made first.
func (p *Plan) first() Step {
	return slices.MinFunc(p.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
}

// lockable says why a step's phase cannot be locked on; nil if it can, or need not.
func (p *Plan) lockable(ctx context.Context, s Step) error {
	phase := p.phaseOf(s)
	if phase == scenarios.Random {
		return nil
	}
	if s.Pos != p.first().Pos {
		return fmt.Errorf("%s: phase %s of a later step: only where the first fault landed is judged; leave it out here, or make this the first step", s.Pos, phase)
	}
	if !slices.Contains(p.Kind.Lock, string(phase)) {
		return fmt.Errorf("%s: phase %s is not available for kind %s: its renewals cannot be locked on; only random is", s.Pos, phase, p.Kind.Name)
	}
	r, ok := p.System.(probes.Renewer)
	if !ok {
		return fmt.Errorf("dapple: internal error: kind %s is said to have a phase %s, and cannot tell of renewals", p.Kind.Name, phase)
	}
	if _, err := r.RenewedEvery(ctx); err != nil {
		return fmt.Errorf("%s: phase %s is not available here: %w", s.Pos, phase, err)
	}
	return nil
}

// renewals is what is known of the lease that the primary's role rests on.
type renewals struct {
	every time.Duration

	mu   sync.Mutex
	lo   time.Time     // of the last renewal
	hi   time.Time     // of it too
	more chan struct{} // is closed by the next
}

// watchRenewals begins to tell of renewals, if a step asks for a phase.
func (t *trial) watchRenewals(ctx context.Context, start func(func(context.Context, timeline.Emit) error)) error {
	asked := slices.ContainsFunc(t.p.Steps, func(s Step) bool { return t.p.phaseOf(s) != scenarios.Random })
	r, ok := t.p.System.(probes.Renewer)
	if !asked || !ok {
		return nil // preflight refused what cannot be
	}
	every, err := r.RenewedEvery(ctx)
	if err != nil {
		return fmt.Errorf("ask how often the lease is renewed: %w", err)
	}
	t.renewed = &renewals{every: every, more: make(chan struct{})}
	start(func(ctx context.Context, emit timeline.Emit) error {
		return r.Renewals(ctx, func(lo, hi time.Time) {
			emit(lo, hi, timeline.Event{Kind: timeline.Renewed, By: "renewal", N: int64(every)})
			t.renewed.note(lo, hi)
		})
	})
	return nil
}

func (r *renewals) note(lo, hi time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lo, r.hi = lo, hi
	close(r.more)
	r.more = make(chan struct{})
}

func (r *renewals) last() (lo, hi time.Time, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lo, r.hi, r.more
}

// await returns at the instant in the cycle of renewals at which a fault of the
// given phase is to be made: worst is just after a renewal, when the lease lasts
// longest, best just before the next one is due. Whether the fault landed there is
// for the verdict to tell, from the renewals that were seen.
func (r *renewals) await(ctx context.Context, phase scenarios.Phase) error {
	give := time.NewTimer(3*r.every + 5*time.Second)
	defer give.Stop()
	for {
		_, hi, more := r.last()
		var due <-chan time.Time
		if phase == scenarios.Best && !hi.IsZero() {
			left := time.Until(hi.Add(r.every - r.every/before))
			if left > -r.every/(2*before) {
				due = time.After(left)
			} // else it is too late in this round
		}
		select {
		case <-more:
			if phase == scenarios.Worst {
				return nil
			}
		case <-due:
			return nil
		case <-give.C:
			return fmt.Errorf("%w: phase %s: no renewal of the lease was seen within %v, though one is due every %v", errInvalid, phase, 3*r.every+5*time.Second, r.every)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
