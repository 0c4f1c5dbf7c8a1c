package timeline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Emit records that e happened within [lo, hi]. It may be called from many
// goroutines. The Recorder fills in I, Trial and At, and returns I.
type Emit func(lo, hi time.Time, e Event) int

// A Recorder collects the events of one trial, and appends each to a stream of
// JSON lines as it comes, so that a crash leaves the evidence. The stream is written
// beside whoever emits: a disk that stalls holds up no probe, and what it has not taken
// yet is kept, since all events are.
type Recorder struct {
	base  time.Time
	trial int
	out   io.Writer // used by write alone

	mu      sync.Mutex
	next    int
	t       Timeline
	subs    []func(Event)
	written int           // events that are in out, or that came after err
	writing chan struct{} // closed when all was written; nil: nothing is to be
	err     error
}

// NewRecorder starts the clock of a trial at base. Its first event gets the
// index first. out may be nil.
func NewRecorder(base time.Time, trial, first int, out io.Writer) *Recorder {
	return &Recorder{base: base, trial: trial, next: first, out: out}
}

// Subscribe calls f for each later event, in order and one at a time, while the
// recorder is locked: f must be quick and must not call the recorder.
func (r *Recorder) Subscribe(f func(Event)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subs = append(r.subs, f)
}

// Base is the instant from which the trial's times count.
func (r *Recorder) Base() time.Time { return r.base }

// Since is t on the trial's clock.
func (r *Recorder) Since(t time.Time) time.Duration { return t.Sub(r.base) }

// Emit records e; see the type Emit.
func (r *Recorder) Emit(lo, hi time.Time, e Event) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.I, e.Trial = r.next, r.trial
	e.At = Interval{lo.Sub(r.base), hi.Sub(r.base)}
	if e.At.Hi < e.At.Lo {
		panic(fmt.Sprintf("dapple: internal error: event %q by %s ends before it begins: %v", e.Kind, e.By, e.At))
	}
	r.next++
	r.t = append(r.t, e)
	if r.out != nil && r.err == nil && r.writing == nil {
		r.writing = make(chan struct{})
		go r.write(r.writing)
	}
	for _, f := range r.subs {
		f(e)
	}
	return e.I
}

// write appends to the stream until nothing is left to be, some events at a time.
func (r *Recorder) write(done chan struct{}) {
	defer close(done)
	var buf []byte
	for {
		r.mu.Lock()
		some := r.t[r.written:min(len(r.t), r.written+mostAtOnce)]
		if len(some) == 0 || r.err != nil {
			r.written = len(r.t)
			r.writing = nil
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		var err error
		buf, err = appendLines(buf[:0], some)
		if err == nil {
			_, err = r.out.Write(buf)
		}
		r.mu.Lock()
		r.written += len(some)
		if err != nil {
			r.err = fmt.Errorf("append to the timeline: %w", err)
		}
		r.mu.Unlock()
	}
}

// mostAtOnce is how many events are appended in one go: some 100 KB of them.
const mostAtOnce = 512

func appendLines(buf []byte, some Timeline) (_ []byte, err error) {
	for _, e := range some {
		if buf, err = appendLine(buf, e); err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// Now records e as happening at this moment.
func (r *Recorder) Now(e Event) int {
	now := time.Now()
	return r.Emit(now, now, e)
}

// Timeline returns a copy of what was recorded so far.
func (r *Recorder) Timeline() Timeline {
	r.mu.Lock()
	t := r.t[:len(r.t):len(r.t)]
	r.mu.Unlock()
	return slices.Clone(t) // what is there is never changed: nobody waits for the copy
}

// Next is the index that the next event will get.
func (r *Recorder) Next() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// Flush waits until all that was emitted is in the stream, and returns the first error
// of appending to it, or nil.
func (r *Recorder) Flush() error {
	r.mu.Lock()
	writing := r.writing
	r.mu.Unlock()
	if writing != nil {
		<-writing
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Read reads a stream of JSON lines. A torn last line (the writer crashed) is
// left out: one without an end of line that is not an event, or zero bytes that
// a file system put in place of what was lost. Any other line that is not an
// event is an error with its number; empty lines are skipped.
func Read(in io.Reader) (Timeline, error) {
	r := bufio.NewReader(in)
	var t Timeline
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return t, fmt.Errorf("timeline line %d: %w", n, err)
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			var e Event
			switch err := json.Unmarshal(text, &e); {
			case err == nil:
				t = append(t, e)
			case last || len(bytes.Trim(text, "\x00")) == 0:
			default:
				return t, fmt.Errorf("timeline line %d: %w", n, err)
			}
		}
		if last {
			return t, nil
		}
	}
}
