package drills

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// warmup is how long a system gets to come to rest before the steady state is
// asked of it: sessions connect, a node of an earlier trial rejoins.
const warmup = 60 * time.Second

// tick is how often the engine looks at its own state; it bounds no measurement.
const tick = 50 * time.Millisecond

// errUnsteady is why a trial was not begun.
var errUnsteady = errors.New("the system is not in its steady state")

// steady returns nil once the hypothesis has held for the scenario's time. A
// system that never comes to rest, or that leaves it again, is not drilled: what
// it would show is not what the scenario declares.
func (t *trial) steady(ctx context.Context) error {
	t.phase("steady")
	if err := t.settleIn(ctx); err != nil {
		return err
	}
	t.watch.takeFailures()
	end := time.Now().Add(t.p.Scenario.Steady.D())
	for time.Now().Before(end) {
		if err := wait(ctx, tick); err != nil {
			return err
		}
		if why := t.watch.wrong(t.p); why != "" {
			return t.unsteady(why)
		}
		if n, last := t.watch.takeFailures(); n > 0 {
			return t.unsteady(last)
		}
	}
	return nil
}

func (t *trial) settleIn(ctx context.Context) error {
	end := time.Now().Add(warmup)
	for {
		why := t.watch.wrong(t.p)
		if why == "" {
			return nil
		}
		if time.Now().After(end) {
			return t.unsteady(fmt.Sprintf("not within %v: %s", warmup, why))
		}
		if err := wait(ctx, tick); err != nil {
			return err
		}
	}
}

func (t *trial) unsteady(why string) error {
	t.rec.Now(timeline.Event{Kind: timeline.Unsteady, By: "engine", Value: why})
	return fmt.Errorf("%w: %s", errUnsteady, why)
}

// wait returns nil after d, or what ended ctx before that.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
