// Package stall notices when dapple itself was held up: by a machine with too
// little processor time, a suspended virtual machine, a long garbage collection.
// Whatever the other probes observed around then is wider than it looks.
//
// It also notices when the clock of this machine is set. Nothing that is measured
// depends on it (durations are of the monotonic clock), but whoever compares the
// record with a log has to know.
//
// It does not say why, and it watches no system.
package stall

import (
	"context"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

const (
	// Period is how often the probe looks at the clock.
	Period = 5 * time.Millisecond
	// Threshold is the delay from which on a look counts as held up: above what
	// a Go timer on a busy machine is late by, and as fine as the fastest probe
	// (fresh, 20 ms).
	Threshold = 20 * time.Millisecond
)

// By is the stream of the events.
const By = "stall"

type probe struct{}

// New makes the probe. It emits one timeline.Stall for each delay of more than
// Threshold; N is the delay in nanoseconds. It emits one timeline.Note each time the
// clock is set by more than that, N nanoseconds on; a clock that is slewed, by 500 ppm at most
// (adjtimex(2)), is never seen from one look to the next.
func New() probes.Probe { return probe{} }

func (probe) Watch(ctx context.Context, emit timeline.Emit) error {
	t := time.NewTicker(Period)
	defer t.Stop()
	watch(ctx, t.C, emit)
	return nil
}

// watch measures from look to look, not from what the ticks say: a tick that
// waited in the channel carries the time at which it was due.
func watch(ctx context.Context, ticks <-chan time.Time, emit timeline.Emit) {
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		now := time.Now()
		if by := stepped(last, now); by.Abs() > Threshold {
			emit(last, now, timeline.Event{
				Kind: timeline.Note, By: By, N: int64(by),
				Value: fmt.Sprintf("the clock of this machine was set by %+.3f s: dates from here on are of the new clock; durations are of the monotonic one and stay true", by.Seconds()),
			})
		}
		due := last.Add(Period)
		if late := now.Sub(due); late > Threshold {
			emit(due, now, timeline.Event{Kind: timeline.Stall, By: By, N: int64(late)})
			now = time.Now() // what emit took is no stall
		}
		last = now
	}
}

// stepped is by how much the clock went otherwise than the monotonic one between two
// readings of both.
func stepped(last, now time.Time) time.Duration {
	return now.Round(0).Sub(last.Round(0)) - now.Sub(last) // Round strips the monotonic reading (package time)
}
