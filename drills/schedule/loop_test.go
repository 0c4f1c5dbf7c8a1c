package schedule

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/scenarios"
)

// A pageBook decides in memory, each firing once, as the database does.
type pageBook struct {
	mu    sync.Mutex
	now   func() time.Time
	done  map[string]bool
	lines []string
	fail  int // how many decisions fail
}

func (b *pageBook) decide(_ context.Context, e *Entry, f Firing, s State, _ string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail > 0 {
		b.fail--
		return errors.New("the disk is full")
	}
	if b.done[e.Name+f.Local] {
		return nil
	}
	b.done[e.Name+f.Local] = true
	b.lines = append(b.lines, f.Local+" "+string(s)+" at "+b.now().UTC().Format("01-02 15:04:05"))
	return nil
}

// A world has one schedule, and a clock that can be set.
type world struct {
	*loop
	book   *pageBook
	mu     sync.Mutex
	offset time.Duration
}

// newWorld begins at 2000-01-01 00:00 UTC, when the time of synctest does.
func newWorld(t *testing.T, cron string, change func(*scenarios.Schedule)) *world {
	t.Helper()
	s := &scenarios.Schedule{Name: "n", Cron: cron, TimeZone: "UTC"}
	if change != nil {
		change(s)
	}
	e, err := NewEntry("n.yaml", s)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{}
	now := func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Add(w.offset)
	}
	w.book = &pageBook{now: now, done: map[string]bool{}}
	w.loop = &loop{entries: []*Entry{e}, first: map[string]time.Time{"n": now()}, book: w.book, now: now, seen: now()}
	return w
}

// known has the schedule be known for long, and the last look be that long ago.
func (w *world) known(ago time.Duration) {
	w.first["n"] = time.Time{}
	w.seen = w.now().Add(-ago)
}

// set moves the clock without time passing.
func (w *world) set(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

// runFor keeps the schedule while time passes.
func (w *world) runFor(t *testing.T, steps ...func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx, func(error) {}) }()
	for _, step := range steps {
		step()
		synctest.Wait()
	}
	cancel()
	<-done
}

func pass(d time.Duration) func() { return func() { <-time.After(d) } }

func (w *world) want(t *testing.T, lines ...string) {
	t.Helper()
	if d := cmp.Diff(lines, w.book.lines); d != "" {
		t.Error(d)
	}
}

func TestEachFiringIsDecidedWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "0 */6 * * *", nil)
		w.runFor(t, pass(13*time.Hour))
		w.want(t, "2000-01-01T06:00 queued at 01-01 06:00:00", "2000-01-01T12:00 queued at 01-01 12:00:00")
	})
}

func TestWhatWasMissedIsToldAndNotMadeUpForUnlessAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "0 * * * *", nil)
		w.known(5*time.Hour + 30*time.Minute) // five were due, the last one right now
		w.set(10 * time.Minute)               // and is too late now
		w.runFor(t, pass(20*time.Minute))
		w.want(t, "2000-01-01T00:00 missed at 01-01 00:10:00")
	})
}

func TestOfWhatWasMissedTheLastIsMadeUpForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "0 * * * *", func(s *scenarios.Schedule) { s.CatchUp = scenarios.Duration(3 * time.Hour) })
		w.known(5 * time.Hour)
		w.set(10 * time.Minute)
		w.runFor(t, pass(20*time.Minute))
		w.loop.start() // a restart
		w.runFor(t, pass(time.Minute))
		w.want(t, "2000-01-01T00:00 queued at 01-01 00:10:00")
	})
}

func TestCatchingUpWaitsForAWindowAndEndsAtItsLimit(t *testing.T) {
	weekly := func(limit time.Duration) func(s *scenarios.Schedule) {
		return func(s *scenarios.Schedule) {
			s.CatchUp, s.Windows = scenarios.Duration(limit), []scenarios.Window{window("22:00-02:00")}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "0 0 1 * *", weekly(24*time.Hour))
		w.known(time.Hour)
		w.set(3 * time.Hour) // the window is over
		w.runFor(t, pass(20*time.Hour))
		w.want(t, "2000-01-01T00:00 queued at 01-01 22:00:00")
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "0 0 1 * *", weekly(12*time.Hour))
		w.known(time.Hour)
		w.set(3 * time.Hour)
		w.runFor(t, pass(20*time.Hour))
		w.want(t, "2000-01-01T00:00 missed at 01-01 12:00:30")
	})
}

func TestAFiringThatIsHeldIsWrittenDownAndNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "0 12 * * *", func(s *scenarios.Schedule) {
			s.CatchUp, s.Quiet = scenarios.Duration(48*time.Hour), []scenarios.Window{window("sat 10:00-14:00")}
		})
		w.runFor(t, pass(40*time.Hour)) // 2000-01-01 was a Saturday
		w.want(t, "2000-01-01T12:00 held at 01-01 12:00:00", "2000-01-02T12:00 queued at 01-02 12:00:00")
	})
}

func TestAClockThatJumpsForwardIsNoticedAndNothingFiresTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "0 * * * *", func(s *scenarios.Schedule) { s.CatchUp = scenarios.Duration(2 * time.Hour) })
		w.runFor(t, pass(time.Minute), func() { w.set(3*time.Hour + 30*time.Minute) }, pass(time.Minute),
			func() { w.set(-3*time.Hour - 30*time.Minute) }, pass(4*time.Hour))
		w.want(t,
			"2000-01-01T03:00 queued at 01-01 03:31:30", // made up for within a look
			"2000-01-01T01:00 queued at 01-01 01:00:00", // set back: only what was not yet decided
			"2000-01-01T02:00 queued at 01-01 02:00:00",
			"2000-01-01T04:00 queued at 01-01 04:00:00")
	})
}

func TestADecisionThatCannotBeWrittenDownIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "0 1 * * *", nil)
		w.book.fail = 3
		w.runFor(t, pass(2*time.Hour))
		w.want(t, "2000-01-01T01:00 queued at 01-01 01:00:15")
	})
}

func TestWhatWasDueBeforeAScheduleWasKnownIsNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "0 * * * *", func(s *scenarios.Schedule) { s.CatchUp = scenarios.Duration(24 * time.Hour) })
		w.known(24 * time.Hour)
		w.set(30 * time.Minute)
		w.first["n"] = w.now()
		w.runFor(t, pass(time.Minute))
		w.want(t)
	})
}

func TestTwoSchedulesOfOneNameAreRefused(t *testing.T) {
	a, b := &Entry{Schedule: &scenarios.Schedule{Name: "n"}, File: "a"}, &Entry{Schedule: &scenarios.Schedule{Name: "n"}, File: "b"}
	if Unique([]*Entry{a, b}) == nil || Unique([]*Entry{a}) != nil {
		t.Error("a name may stand once")
	}
}
