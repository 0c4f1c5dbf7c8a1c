package ledger

import (
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// riskWindow is the time before the effect in which enough writes must have been
// acknowledged for a loss to have been possible (measurement rules, "Audit").
const riskWindow = time.Second

// AtRisk emits how many writes the client classes had acknowledged in the last
// second before the effect, which began at effect at the earliest. It counts the
// dated acks one by one. Call it once that instant has passed. If the books
// cannot be read, it emits a Note instead: nothing is then known to have been at
// risk.
func (w *Workload) AtRisk(effect time.Time, emit timeline.Emit) {
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
			now := time.Now()
			emit(now, now, timeline.Event{
				Kind: timeline.Note, By: "ledger", Value: "the writes at risk could not be counted", Evidence: err.Error(),
			})
			return
		}
	}
	emit(effect.Add(-riskWindow), effect, timeline.Event{Kind: timeline.AtRisk, By: "ledger", N: n})
}
