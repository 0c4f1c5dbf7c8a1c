package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/dapple-drills/dapple/drills/timeline"
)

// A View is the live screen on a terminal.
type View struct {
	program *tea.Program
	in      chan timeline.Event
	stop    chan struct{}
	done    chan struct{} // the program ended
	fed     chan struct{} // the feeder ended
	once    sync.Once
	dropped atomic.Int64
	restore func() error
	err     error // owned by the program's goroutine until done is closed
}

// Start shows the drill on tty until Close, or until ctx ends.
//
// The terminal stays in its ordinary mode and nothing is read from it: Ctrl-C is
// a SIGINT, which reaches the caller's own handler even if the screen hangs.
// Only the echo of what is typed is turned off. onInterrupt is called if Ctrl-C
// arrives as a key all the same; it may be called more than once.
func Start(ctx context.Context, tty io.Writer, f Facts, onInterrupt func()) (*View, error) {
	restore, err := quiet(tty)
	if err != nil {
		return nil, fmt.Errorf("turning off the terminal's echo: %w", err)
	}
	v := &View{in: make(chan timeline.Event, handOver), stop: make(chan struct{}), done: make(chan struct{}), fed: make(chan struct{}), restore: restore}
	v.program = tea.NewProgram(newModel(f, onInterrupt), tea.WithContext(ctx), tea.WithOutput(tty), tea.WithInput(nil),
		tea.WithoutSignalHandler(), tea.WithFPS(10))
	go func() {
		defer close(v.done)
		if _, err := v.program.Run(); err != nil && !errors.Is(err, tea.ErrProgramKilled) {
			v.err = fmt.Errorf("showing the drill: %w", err)
		}
	}()
	go v.feed()
	return v, nil
}

// Event hands e over; it never waits, and after Close it does nothing.
func (v *View) Event(e timeline.Event) {
	select {
	case v.in <- e:
	default:
		v.dropped.Add(1)
	}
}

// feed passes events on in batches, so that a burst costs one redraw.
func (v *View) feed() {
	defer close(v.fed)
	for {
		select {
		case e := <-v.in:
			v.program.Send(batch{v.more([]timeline.Event{e}), time.Now()})
		case <-v.stop:
			if es := v.more(nil); len(es) > 0 {
				v.program.Send(batch{es, time.Now()})
			}
			return
		case <-v.done:
			return
		}
	}
}

func (v *View) more(es []timeline.Event) []timeline.Event {
	for {
		select {
		case e := <-v.in:
			es = append(es, e)
		default:
			return es
		}
	}
}

// Close ends the screen and gives the terminal back as it was.
func (v *View) Close() error {
	v.once.Do(func() {
		close(v.stop)
		<-v.fed
		v.program.Quit()
		<-v.done
		v.err = errors.Join(v.err, v.restore())
		if n := v.dropped.Load(); n > 0 {
			v.err = errors.Join(v.err, fmt.Errorf("%d events came faster than they could be shown: they are in the timeline only", n))
		}
	})
	return v.err
}
