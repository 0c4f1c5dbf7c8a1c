package ledger

import (
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// riskWindow is the time before the effect in which enough writes must have been
// acknowledged for a loss to have been possible (measurement rules, "Audit").
const riskWindow = time.Second

// AtRisk emits how many writes the client classes had acknowledged in the last
// second before the effect, which began at effect at the earliest. It counts the
// dated acks one by one. Call it once that instant has passed.
func (w *Workload) AtRisk(effect time.Time, emit timeline.Emit) (int64, error) {
	from, to := at(w.cfg.Base, effect.Add(-riskWindow), effect)
	var n int64
	for _, s := range w.streams {
		if !s.kind.client() {
			continue
		}
		err := w.keep.read(s.no, func(o outcome) bool {
			if o.class == acked && o.back > from && o.back < to {
				n++
			}
			return true
		})
		if err != nil {
			return 0, fmt.Errorf("count the writes at risk: %w", err)
		}
	}
	emit(effect.Add(-riskWindow), effect, timeline.Event{Kind: timeline.AtRisk, By: "ledger", N: n})
	return n, nil
}
