// Package stall notices when dapple itself was held up: by a machine with too
// little processor time, a suspended virtual machine, a long garbage collection.
// Whatever the other probes observed around then is wider than it looks.
//
// It looks at the clock, which tells when all of the process was held up, and on
// Linux at how long each of its threads waited for a processor, which tells when
// one was and another was not.
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
	// QueuePeriod is how often it looks at what threads waited for.
	QueuePeriod = 2 * Period
	// QueueThreshold is the wait of a thread from which on it is told: what the
	// kernel gives to another in one turn (kernel/sched/fair.c: 2.8 ms at least).
	QueueThreshold = 4 * time.Millisecond
)

// By is the stream of the events.
const By = "stall"

type probe struct{}

// New makes the probe. It emits one timeline.Stall for each delay of its own of more
// than Threshold, and for each look before which a thread of this process waited for
// a processor for QueueThreshold or more; N is the delay in nanoseconds, and lies
// somewhere within At. It emits one timeline.Note each time the clock is set by more
// than Threshold, N nanoseconds on; a clock that is slewed, by 500 ppm at most
// (adjtimex(2)), is never seen from one look to the next. Where the kernel does not
// count what threads wait, a Note says so.
func New() probes.Probe { return probe{} }

func (probe) Watch(ctx context.Context, emit timeline.Emit) error {
	q, err := openQueue()
	if err != nil {
		now := time.Now()
		emit(now, now, timeline.Event{Kind: timeline.Note, By: By, Value: "not seen here: when a single thread of dapple waits for a processor", Evidence: err.Error()})
		q = nil
	}
	t := time.NewTicker(Period)
	defer t.Stop()
	w := &watcher{emit: emit, queue: q}
	w.watch(ctx, t.C)
	if q == nil {
		return nil
	}
	return q.Close()
}

// A watcher is one run of the probe, by one goroutine.
type watcher struct {
	emit  timeline.Emit
	queue *queue // nil: it cannot be looked at

	last   time.Time // the look before ended then
	queued time.Time // likewise, of the queue
}

// watch measures from look to look, not from what the ticks say: a tick that
// waited in the channel carries the time at which it was due.
func (w *watcher) watch(ctx context.Context, ticks <-chan time.Time) {
	w.last = time.Now()
	w.queued = w.last
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		now := time.Now()
		w.clock(now)
		w.stall(now)
		w.last = time.Now() // what emit took is no stall
	}
}

// clock tells when the clock was set since the last look.
func (w *watcher) clock(now time.Time) {
	by := stepped(w.last, now)
	if by.Abs() <= Threshold {
		return
	}
	w.emit(w.last, now, timeline.Event{
		Kind: timeline.Note, By: By, N: int64(by),
		Value: fmt.Sprintf("the clock of this machine was set by %+.3f s: dates from here on are of the new clock; durations are of the monotonic one and stay true", by.Seconds()),
	})
}

// stall tells when this look was held up, or a thread was since the last one: at most
// one event, so that a time that both of them see is told once.
func (w *watcher) stall(now time.Time) {
	due := w.last.Add(Period)
	late := now.Sub(due)
	waited, since := w.look(now)
	from, by := due, late
	switch {
	case late <= Threshold && waited < QueueThreshold:
		return
	case late <= Threshold:
		from, by = since.Add(-waited), waited
	case waited >= QueueThreshold:
		from, by = earlier(due, since.Add(-waited)), max(late, waited)
	}
	w.emit(from, now, timeline.Event{Kind: timeline.Stall, By: By, N: int64(by)})
}

// look looks at the queue, unless it did so just before. Each wait that it tells of
// ended after since: it began the time of the wait before that at the earliest.
func (w *watcher) look(now time.Time) (waited time.Duration, since time.Time) {
	since = w.queued
	if w.queue == nil || now.Sub(since) < QueuePeriod-Period/2 {
		return 0, since
	}
	waited, err := w.queue.look()
	w.queued = now
	if err != nil {
		w.emit(now, now, timeline.Event{Kind: timeline.Note, By: By, Value: "not seen from here on: when a single thread of dapple waits for a processor", Evidence: err.Error()})
		w.queue = nil
	}
	return waited, since
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// stepped is by how much the clock went otherwise than the monotonic one between two
// readings of both.
func stepped(last, now time.Time) time.Duration {
	return now.Round(0).Sub(last.Round(0)) - now.Sub(last) // Round strips the monotonic reading (package time)
}
