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

// steady returns nil once the hypothesis has held for the scenario's time without
// a break. A system that does not come to rest, or that loses a node once it was
// whole, is not drilled: what it would show is not what the scenario declares.
func (t *trial) steady(ctx context.Context) error {
	t.phase("steady")
	held := t.p.Scenario.Steady.D()
	var since time.Time // when the hypothesis began to hold; zero: it does not
	end := time.Now().Add(warmup + held)
	for whole := false; ; {
		why, lost := t.watch.wrong(t.p, t.rec.Since(time.Now()))
		switch {
		case lost && whole:
			return t.unsteady(why) // a node died by itself: nothing is added to that
		case why != "" && time.Now().After(end):
			return t.unsteady(fmt.Sprintf("not for %v within %v: %s", held, warmup+held, why))
		case why != "":
			since = time.Time{}
		case since.IsZero():
			since, whole = time.Now(), true
		case time.Since(since) >= held && t.watch.outage(t.rec.Since(time.Now())) == 0:
			return nil
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
	_, err := waitUnless(ctx, d, nil)
	return err
}

// waitUnless is wait that is over early if sooner is closed before.
func waitUnless(ctx context.Context, d time.Duration, sooner <-chan struct{}) (early bool, err error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-sooner:
		return true, nil
	case <-timer.C:
		return false, nil
	}
}
