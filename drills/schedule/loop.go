package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/scenarios"
)

// grace is how late a firing may be acted upon and still be on time.
const grace = time.Minute

// patience is how late the turn of a queued drill may come, unless its schedule
// catches up from further back.
const patience = 15 * time.Minute

// look is how often the clock is looked at at least. Timers do not notice when a
// clock is set or a machine has slept; a look does.
const look = 30 * time.Second

// again is how soon a decision that could not be written down is tried again.
const again = 5 * time.Second

// An Entry is a schedule that is kept.
type Entry struct {
	*scenarios.Schedule
	Calendar *Calendar
	File     string // where it was read

	next    Firing // the next one; its At is zero if there is none
	pending *Firing
	missed  int // how many were due before pending while nobody ran
}

// NewEntry makes an entry of a schedule.
func NewEntry(file string, s *scenarios.Schedule) (*Entry, error) {
	c, err := NewCalendar(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &Entry{Schedule: s.WithoutSource(), Calendar: c, File: file}, nil
}

// tooLate says whether it is too late for a firing's drill to begin.
func (e *Entry) tooLate(at, now time.Time) bool {
	return now.Sub(at) > max(e.CatchUp.D(), patience)
}

// A book decides firings, each once, whoever asks; see Store.
type book interface {
	decide(ctx context.Context, e *Entry, f Firing, s State, why string) error
}

// A loop finds out what is due.
type loop struct {
	entries []*Entry
	first   map[string]time.Time // since when each schedule is known
	book    book
	now     func() time.Time
	seen    time.Time // the last look
}

// run looks until ctx ends; failed decisions are told, and tried again.
func (l *loop) run(ctx context.Context, trouble func(error)) {
	l.start()
	for {
		wait := l.round(ctx, trouble)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// start looks at what was due since the last look, which was another process's.
func (l *loop) start() {
	now := l.now()
	for _, e := range l.entries {
		l.lookBack(e, now)
	}
	l.seen = now
}

// lookBack finds the last firing of an entry up to now that nobody may have decided,
// and its next one.
func (l *loop) lookBack(e *Entry, now time.Time) {
	from := earlier(l.seen, now).Add(-grace) // a clock that was set back has not made anything due
	if limit := now.Add(-e.CatchUp.D()); limit.Before(from) {
		from = limit
	}
	if first := l.first[e.Name]; from.Before(first) {
		from = first
	}
	e.pending, e.missed = nil, 0
	n := 0
	f, ok := e.Calendar.Next(from)
	for ; ok && !f.At.After(now) && n < horizon; f, ok = e.Calendar.Next(f.At) {
		n++
		if f.Held == "" || now.Sub(f.At) <= grace {
			due := f
			e.pending = &due
			e.missed++
		}
	}
	if n == horizon {
		f, ok = e.Calendar.Next(now)
	}
	if !ok {
		f = Firing{}
	}
	e.next = f
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// round acts on what is due, and says how long nothing will be.
func (l *loop) round(ctx context.Context, trouble func(error)) time.Duration {
	now := l.now()
	jumped := now.Before(l.seen) || now.Sub(l.seen) > 2*look
	wait := look
	for _, e := range l.entries {
		if jumped || !e.next.At.IsZero() && !e.next.At.After(now) {
			l.lookBack(e, now)
		}
		if e.pending != nil {
			if err := l.act(ctx, e, now); err != nil && ctx.Err() == nil {
				trouble(err)
				wait = min(wait, again)
			}
		}
		if !e.next.At.IsZero() {
			wait = min(wait, e.next.At.Sub(now))
		}
	}
	l.seen = now
	return max(wait, time.Millisecond)
}

// act decides what is pending, if it can be decided now.
func (l *loop) act(ctx context.Context, e *Entry, now time.Time) error {
	f := *e.pending
	age := now.Sub(f.At)
	var err error
	switch held := e.Calendar.Held(now); {
	case age <= grace && f.Held != "":
		err = l.book.decide(ctx, e, f, Held, f.Held)
	case age <= grace:
		err = l.book.decide(ctx, e, f, Queued, "")
	case age > e.CatchUp.D():
		err = l.book.decide(ctx, e, f, Missed, fmt.Sprintf("%d firing(s) were due while no scheduler ran", e.missed))
	case held == "":
		err = l.book.decide(ctx, e, f, Queued, fmt.Sprintf("made up for %v later", age.Round(time.Second)))
	default:
		return nil // made up for when a drill may begin again
	}
	if err == nil {
		e.pending = nil
	}
	return err
}

// Upcoming are the next n firings of an entry after t, held ones among them.
func (e *Entry) Upcoming(t time.Time, n int) (list []Firing) {
	for range n {
		f, ok := e.Calendar.Next(t)
		if !ok {
			break
		}
		list, t = append(list, f), f.At
	}
	return list
}

// Unique says which names stand twice: a name is half of the key under which a
// firing happens once.
func Unique(entries []*Entry) error {
	var errs []error
	first := map[string]string{}
	for _, e := range entries {
		if other, twice := first[e.Name]; twice {
			errs = append(errs, fmt.Errorf("%s: the schedule %q is in %s too: names must differ", e.File, e.Name, other))
			continue
		}
		first[e.Name] = e.File
	}
	return errors.Join(errs...)
}
