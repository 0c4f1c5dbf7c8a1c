package live

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// Lines writes one line per event that matters, each with the trial's time.
type Lines struct {
	w       io.Writer
	tell    *teller
	in      chan timeline.Event
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
	dropped atomic.Int64
	err     error // owned by the goroutine until done is closed
}

// NewLines writes to w, from a goroutine of its own that ends with Close.
func NewLines(w io.Writer, f Facts) *Lines {
	l := &Lines{w: w, tell: newTeller(f), in: make(chan timeline.Event, handOver), stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

// Event hands e over; it never waits, and after Close it does nothing.
func (l *Lines) Event(e timeline.Event) {
	if !told(e.Kind) {
		return
	}
	select {
	case l.in <- e:
	default:
		l.dropped.Add(1)
	}
}

// told says whether lines are ever made of such events.
func told(k timeline.Kind) bool {
	return k != timeline.Bucket && k != timeline.Health && k != timeline.SessionEnd && k != timeline.AtRisk
}

// Close writes what was handed over before it, and returns the first error of
// writing.
func (l *Lines) Close() error {
	l.once.Do(func() { close(l.stop) })
	<-l.done
	if n := l.dropped.Load(); n > 0 {
		return errors.Join(l.err, fmt.Errorf("%d events came faster than their lines could be written: they are in the timeline only", n))
	}
	return l.err
}

func (l *Lines) run() {
	defer close(l.done)
	for {
		select {
		case e := <-l.in:
			l.write(e)
		case <-l.stop:
			for {
				select {
				case e := <-l.in:
					l.write(e)
				default:
					return
				}
			}
		}
	}
}

func (l *Lines) write(e timeline.Event) {
	trial := l.tell.trial
	s := l.tell.tell(e)
	if e.Trial != trial && l.tell.facts.Trials > 1 {
		l.print(fmt.Sprintf("trial %d of %d\n", e.Trial, l.tell.facts.Trials))
	}
	if s != "" {
		l.print(fmt.Sprintf("%9s  %s\n", instant(l.tell.when(e)), clean(s)))
	}
}

func (l *Lines) print(s string) {
	if l.err != nil {
		return
	}
	if _, err := io.WriteString(l.w, s); err != nil {
		l.err = fmt.Errorf("writing the progress: %w", err)
	}
}
