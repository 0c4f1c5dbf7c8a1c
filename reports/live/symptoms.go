package live

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// Symptoms are the Lines of somebody who must not know the fault: what clients and
// nodes answer, how long it takes, and what the monitoring says. What the engine does,
// and what it knows, is left out.
type Symptoms struct {
	lines *Lines
	usual float64 // of the 99 % latency, in ms
	slow  bool
}

// NewSymptoms writes to w, from a goroutine of its own that ends with Close.
func NewSymptoms(w io.Writer) *Symptoms {
	return &Symptoms{lines: NewLines(w, Facts{Trials: 1})}
}

// Event hands e over if it is a symptom; it is called for one event at a time, never
// waits, and after Close it does nothing.
func (s *Symptoms) Event(e timeline.Event) {
	switch e.Kind {
	case timeline.Write, timeline.Role, timeline.Alert, timeline.Stamp, timeline.Hint, timeline.Paced:
		s.lines.Event(e)
	case timeline.Bucket:
		s.latency(e)
	}
}

// Slow answers are four times the usual and slowBy longer, until they are less than
// twice the usual and slowBy.
const slowBy = 50.0 // ms

// latency tells when answers begin to take much longer than usual, and when no more.
// How long they usually take is learnt from what is not slow.
func (s *Symptoms) latency(e timeline.Event) {
	var c timeline.Counts
	if json.Unmarshal(e.Data, &c) != nil || c.Acked+c.Degraded == 0 {
		return // nothing was answered: that is told by the writes
	}
	if s.usual == 0 {
		s.usual = c.P99ms
	}
	slow := c.P99ms > 4*s.usual+slowBy || s.slow && c.P99ms > 2*s.usual+slowBy
	if !slow {
		s.usual += (c.P99ms - s.usual) / 16
	}
	if slow == s.slow {
		return
	}
	s.slow = slow
	took := length(time.Duration(c.P99ms * float64(time.Millisecond)))
	text := "answers take up to " + took
	if slow {
		text += fmt.Sprintf(", usually %s", length(time.Duration(s.usual*float64(time.Millisecond))))
	} else {
		text += " again"
	}
	s.lines.Event(timeline.Event{I: e.I, Trial: e.Trial, At: e.At, Kind: timeline.Note, Value: text})
}

// Close writes what was handed over before it, and returns the first error of
// writing.
func (s *Symptoms) Close() error { return s.lines.Close() }
