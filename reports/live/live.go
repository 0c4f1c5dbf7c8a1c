// Package live shows a drill while it runs: lanes on a terminal (View), or plain
// lines wherever else the output goes (Lines).
//
// Both are fed by timeline.Recorder.Subscribe, whose callbacks hold up every
// probe while they run. So an Event is only handed over; where the reader is too
// slow (a paused terminal, a full pipe) events are dropped from what is shown,
// never from the timeline, and the number of them is told at the end.
//
// The package judges nothing: which figures are true is known only when the
// trial is over. Reports of finished drills are made by package reports.
package live

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Facts are what is known before the first event.
type Facts struct {
	Scenario string
	System   string
	Kind     string // of the system
	Nodes    []Node
	Trials   int
	// Phases are those whose length was declared, in their order. A phase of
	// the timeline that is not listed takes as long as it takes.
	Phases []Planned
}

// A Node is one lane and its role before the fault.
type Node struct{ Name, Role string }

// A Planned phase is named as timeline.Phase events name it.
type Planned struct {
	Name string
	For  time.Duration
	// AtMost says that it ends sooner if what it waits for is there.
	AtMost bool
}

// handOver is how many events may wait to be shown. A trial of Patroni makes
// about 20 a second; ten seconds of a thousand a second fit.
const handOver = 10_000

// clean takes from a name or a reply what would steer a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) {
			return '·'
		}
		return r
	}, s)
}

// clip shortens s to n runes.
func clip(s string, n int) string {
	if n <= 0 {
		return ""
	}
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// instant is a time of the trial, to a tenth of a second: it scrolls past.
func instant(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}

// length is a duration in the unit that suits it.
func length(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + " ms"
	}
	return instant(d)
}
