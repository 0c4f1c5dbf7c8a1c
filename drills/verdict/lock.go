package verdict

import (
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// lockShare is the share of the pause between two renewals within which a fault
// has to land to count as just after the one (worst) or just before the other
// (best): a fifth, so that the two differ by three fifths of the cycle at least.
const lockShare = 5

// judgePhase says whether the first effect landed in the phase that was asked for.
// A trial that missed it is invalid: locked and random series are never pooled
// (measurement rules, section 10), and this one is neither.
func (j *judge) judgePhase() {
	asked := j.t.Phase.Asked
	if asked != "worst" && asked != "best" || !j.effect.ok {
		return
	}
	last, every, ok := j.renewedBefore(j.effect.at.Hi)
	if !ok {
		j.missedPhase("no renewal was seen before the fault")
		return
	}
	// How old the lease was: the effect minus the renewal, as intervals.
	young, old := max(0, j.effect.at.Lo-last.At.Hi), j.effect.at.Hi-last.At.Lo
	j.t.Phase.Locked = asked == "worst" && old <= every/lockShare || asked == "best" && young >= every-every/lockShare
	if j.t.Phase.Locked {
		return
	}
	want := fmt.Sprintf("at most %s", wordsOf(every/lockShare))
	if asked == "best" {
		want = fmt.Sprintf("at least %s of %s", wordsOf(every-every/lockShare), wordsOf(every))
	}
	j.missedPhase(fmt.Sprintf("the effect came %s to %s after a renewal, and %s was wanted", wordsOf(young), wordsOf(old), want), last.I)
}

// renewedBefore is the last renewal that may have come before t.
func (j *judge) renewedBefore(t time.Duration) (last timeline.Event, every time.Duration, ok bool) {
	for _, e := range j.kinds[timeline.Renewed] {
		if e.At.Lo < t && e.N > 0 {
			last, every, ok = e, time.Duration(e.N), true
		}
	}
	return last, every, ok
}

func (j *judge) missedPhase(why string, events ...int) {
	j.invalid = append(j.invalid, fmt.Sprintf("the fault did not land in the phase that was asked for (%s): %s", j.t.Phase.Asked, why))
	j.finding(Finding{Objective: "phase", Want: j.t.Phase.Asked, Got: why, Outcome: Informational}, append(events, j.effect.events...))
}
