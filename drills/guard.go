package drills

import (
	"context"
	"fmt"
	"time"
)

// An AbortError says which guardrail ended the drill.
type AbortError struct{ Why string }

func (e *AbortError) Error() string { return "aborted: " + e.Why }

// guard watches the scenario's abort conditions until ctx ends.
func (t *trial) guard(ctx context.Context, abort context.CancelCauseFunc) {
	for wait(ctx, tick) == nil {
		now := t.rec.Since(time.Now())
		for _, a := range t.p.Scenario.Abort {
			limit := a.Outage.D()
			if got := t.watch.outage(now); limit > 0 && got > limit {
				abort(&AbortError{fmt.Sprintf("an outage of %.1f s, over the limit of %v", got.Seconds(), limit)})
				return
			}
		}
	}
}
