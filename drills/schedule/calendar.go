package schedule

import (
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/scenarios"
)

// A Calendar is the times of one schedule.
type Calendar struct {
	cron     expression
	zone     *time.Location
	windows  []scenarios.Window
	quiet    []scenarios.Window
	holidays []scenarios.Dates
}

// A Firing is one time at which a schedule's drill is due.
type Firing struct {
	// Local is the date and time of the wall clock in the words of the schedule,
	// "2026-11-26T02:30": with the schedule's name it is the key under which the
	// firing happens once. A time that the clocks skip keeps its name.
	Local string
	At    time.Time // when that is
	// Held says why no drill begins then: outside of all windows, in quiet hours,
	// on a holiday; "" if one does.
	Held string
}

// localLayout is how Firing.Local is written.
const localLayout = "2006-01-02T15:04"

// NewCalendar reads the times of a schedule. Errors are diag.Field errors.
func NewCalendar(s *scenarios.Schedule) (*Calendar, error) {
	z, err := zone(s.TimeZone)
	if err != nil {
		return nil, err
	}
	x, err := parse(s.Cron)
	if err != nil {
		return nil, err
	}
	return &Calendar{x, z, s.Windows, s.Quiet, s.Holidays}, nil
}

// Next is the first firing after t; ok is false if there is none. There is never
// more than one at a time: of those that the clocks skip together, and of the one
// that is due when they have, the last.
func (c *Calendar) Next(t time.Time) (f Firing, ok bool) {
	var wall, at time.Time
	for w := c.cron.next(wallOf(t, c.zone)); !w.IsZero(); w = c.cron.next(w) {
		i := instant(w, c.zone)
		if !i.After(t) {
			continue // the second time that the clock shows it
		}
		if !at.IsZero() && i.After(at) {
			break
		}
		wall, at = w, i
	}
	if at.IsZero() {
		return Firing{}, false
	}
	return Firing{Local: wall.Format(localLayout), At: at, Held: c.Held(at)}, true
}

// Held says why no drill may begin at t, or "".
func (c *Calendar) Held(t time.Time) string {
	t = t.In(c.zone)
	for _, d := range c.holidays {
		if d.Hold(t) {
			return "a holiday: " + d.String()
		}
	}
	for _, w := range c.quiet {
		if w.Holds(t) {
			return "quiet hours: " + w.String()
		}
	}
	if len(c.windows) == 0 {
		return ""
	}
	for _, w := range c.windows {
		if w.Holds(t) {
			return ""
		}
	}
	return "outside of all windows"
}

// horizon is how many firings are looked at for one that is not held: those of
// two months at one a minute, and of more than a lifetime at one a week.
const horizon = 100_000

// Check says what is wrong with the times of a schedule: diag.Field errors named
// for its keys. It is what scenarios.Vocabulary wants of us.
func Check(s *scenarios.Schedule) error {
	c, err := NewCalendar(s)
	if err != nil {
		return err
	}
	if len(c.windows)+len(c.quiet)+len(c.holidays) == 0 {
		return nil
	}
	first, ok := c.Next(dawn)
	f := first
	for n := 0; ok && n < horizon && f.At.Before(dawn.AddDate(30, 0, 0)); n++ {
		if f.Held == "" {
			return nil
		}
		f, ok = c.Next(f.At)
	}
	return &diag.Field{
		Path: "cron",
		Msg:  fmt.Sprintf("%q never fires when a drill may begin: %s, for one, is held (%s)", s.Cron, first.Local, first.Held),
		Hint: "let the windows and the quiet hours have a time at which it fires",
	}
}
