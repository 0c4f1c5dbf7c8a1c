package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// takeBack reverts f and looks until it is seen to be reverted, again and again
// until ctx ends: the node may be just restarting, or its engine.
func takeBack(ctx context.Context, inj injectors.Injector, n targets.Node, f injectors.Fault) (begin, end time.Time, proof string, err error) {
	begin = time.Now()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := inj.Revert(ctx, n, f)
		if errors.Is(err, targets.ErrGone) {
			return begin, time.Now(), "the node is not there any more", nil
		}
		if err == nil {
			var ok bool
			ok, proof, err = reverted(ctx, inj, n, f)
			if err == nil && ok {
				return begin, time.Now(), proof, nil
			}
			if err == nil {
				err = fmt.Errorf("reverted, but not seen to be: %s", proof)
			}
		}
		if wait(ctx, pause) != nil {
			return begin, time.Now(), proof, fmt.Errorf("%w (tried for %v)", err, time.Since(begin).Round(time.Millisecond))
		}
	}
}

// reverted asks the injector, or looks whether the effect is gone. A node that
// is gone holds no fault.
func reverted(ctx context.Context, inj injectors.Injector, n targets.Node, f injectors.Fault) (ok bool, proof string, err error) {
	if r, is := inj.(injectors.Reverted); is {
		ok, proof, err = r.Reverted(ctx, n, f)
	} else {
		var held bool
		held, proof, err = inj.Effect(ctx, n, f)
		ok = !held
	}
	if errors.Is(err, targets.ErrGone) {
		return true, "the node is not there any more", nil
	}
	return ok && err == nil, proof, err
}

// wait waits for d, or returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
