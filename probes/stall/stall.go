// Package stall notices when dapple itself was held up: by a machine with too
// little processor time, a suspended virtual machine, a long garbage collection.
// Whatever the other probes observed around then is wider than it looks.
//
// It does not say why, and it watches no system.
package stall

import (
	"context"
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
// Threshold; N is the delay in nanoseconds.
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
		due := last.Add(Period)
		if late := now.Sub(due); late > Threshold {
			emit(due, now, timeline.Event{Kind: timeline.Stall, By: By, N: int64(late)})
			now = time.Now() // what emit took is no stall
		}
		last = now
	}
}
