package schedule

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
	"github.com/dapple-drills/dapple/scenarios"
)

// soon bounds what takes moments on a machine that is not busy.
const soon = 90 * time.Second

// A recorder is a runner that notes what it was asked for.
type recorder struct {
	mu      sync.Mutex
	ran     []string
	reverts int
	hold    chan struct{} // Run waits for it, or for the end
	begun   chan string
}

func newRecorder() *recorder { return &recorder{begun: make(chan string, 100)} }

func (r *recorder) Run(ctx context.Context, o Order) Outcome {
	r.mu.Lock()
	r.ran = append(r.ran, o.Name+" "+o.Local)
	r.mu.Unlock()
	r.begun <- o.Name
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-ctx.Done():
			return Outcome{State: Failed, Why: "interrupted"}
		}
	}
	return Outcome{State: Done, Run: "run-of-" + o.Name}
}

func (r *recorder) Revert(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reverts++
	return nil
}

func (r *recorder) counts() (ran []string, reverts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(ran, r.ran...), r.reverts
}

// entries are n schedules that fire each minute of a clock.
func entries(t testing.TB, n int, cron string) (list []*Entry) {
	t.Helper()
	for i := range n {
		e, err := NewEntry("n.yaml", &scenarios.Schedule{Name: fmt.Sprintf("s%04d", i), Cron: cron, TimeZone: "UTC"})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// still is a clock that stands half a minute after a full one.
func still() func() time.Time {
	at := time.Now().Truncate(time.Minute).Add(30 * time.Second)
	return func() time.Time { return at }
}

// known has schedules be known for an hour, so that what was due just now counts.
func known(t testing.TB, s *Store, list []*Entry, now time.Time) []*Entry {
	t.Helper()
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
	}
	if _, err := s.firstSeen(t.Context(), names, now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	return list
}

func open(t testing.TB, where string) *Store {
	t.Helper()
	s, err := Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// keep runs a scheduler until stop.
func keep(t testing.TB, s *Scheduler) (stop func()) {
	t.Helper()
	s.Log = &testLog{t}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the scheduler %s: %v", s.ID, err)
		}
	})
	t.Cleanup(stop)
	return stop
}

type testLog struct{ t testing.TB }

func (l *testLog) Write(p []byte) (int, error) { l.t.Logf("%s", p); return len(p), nil }

// until waits for a firing in that state.
func until(t testing.TB, s *Store, state State, n int) []Decided {
	t.Helper()
	deadline := time.After(soon)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		list, err := s.query(context.Background(), "WHERE state = $1", string(state))
		if err != nil {
			t.Fatal(err)
		}
		if len(list) >= n {
			return list
		}
		select {
		case <-tick.C:
		case <-deadline:
			all, err := s.Decided(context.Background(), "", 20)
			t.Fatalf("%d firings are %s, want %d; all: %+v %v", len(list), state, n, all, err)
		}
	}
}

// databases are the two that the queue knows, each real.
func databases(t *testing.T, test func(t *testing.T, where string)) {
	t.Run("SQLite", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "schedule.db")) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgrestest.Start(t, postgrestest.Options{}).DSN()) })
}

func TestAFiringIsDoneOnceWithTwoSchedulersAndARestart(t *testing.T) {
	databases(t, func(t *testing.T, where string) {
		clock, store := still(), open(t, where)
		known(t, store, entries(t, 5, "* * * * *"), clock())
		var recorders []*recorder
		var stops []func()
		for i := range 2 {
			r := newRecorder()
			recorders = append(recorders, r)
			s := &Scheduler{Store: open(t, where), Entries: entries(t, 5, "* * * * *"), Runner: r, ID: fmt.Sprintf("machine-%d", i), Now: clock}
			stops = append(stops, keep(t, s))
		}
		until(t, store, Done, 5)
		for _, stop := range stops {
			stop()
		}
		// Again in the same minute: it has looked at its clock when it starts, before
		// it looks for what is due, and when it does.
		r := newRecorder()
		recorders = append(recorders, r)
		looks := make(chan bool, 100)
		looked := func() time.Time { looks <- true; return clock() }
		stop := keep(t, &Scheduler{Store: store, Entries: entries(t, 5, "* * * * *"), Runner: r, ID: "machine-0", Now: looked})
		for range 3 {
			<-looks
		}
		stop()
		seen := map[string]int{}
		for _, r := range recorders {
			ran, reverts := r.counts()
			for _, o := range ran {
				seen[o]++
			}
			if reverts != 0 {
				t.Errorf("%d reverts, and nothing died", reverts)
			}
		}
		if len(seen) < 5 {
			t.Errorf("done: %v", seen)
		}
		for o, n := range seen {
			if n != 1 {
				t.Errorf("%s was done %d times", o, n)
			}
		}
	})
}

func TestADrillThatHadBegunWhenTheSchedulerDiedIsRevertedAndNeverDoneAgain(t *testing.T) {
	databases(t, func(t *testing.T, where string) {
		store := open(t, where)
		e := entries(t, 1, "@yearly")[0]
		now := time.Now()
		// What a scheduler leaves that was killed in a drill.
		died := Decided{Schedule: e.Name, Local: "2026-11-26T03:00", At: now, State: Queued}
		r := newRecorder()
		s := &Scheduler{Store: store, Entries: []*Entry{e}, Runner: r, ID: "machine-0", Now: time.Now}
		s.Log = &testLog{t}
		client, err := s.queue()
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.decide(t.Context(), died, func(tx *sql.Tx) error {
			_, err := client.InsertTx(t.Context(), tx, job{died.Schedule, died.Local, died.At}, &river.InsertOpts{MaxAttempts: 1})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		died.State, died.Scheduler = Begun, "machine-0"
		if won, err := store.change(t.Context(), Queued, died); !won || err != nil {
			t.Fatal(won, err)
		}
		// The job is still there: whatever the queue does with it is a second delivery.
		stop := keep(t, s)
		until(t, store, Lost, 1)
		deadline := time.After(soon)
		for {
			if _, reverts := r.counts(); reverts >= 2 {
				break // after the crash, and by the second delivery
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-deadline:
				_, reverts := r.counts()
				t.Fatalf("%d reverts, want one for the crash and one for the second delivery", reverts)
			}
		}
		stop()
		if ran, _ := r.counts(); len(ran) != 0 {
			t.Errorf("done again: %v", ran)
		}
	})
}

func TestADrillOfASchedulerThatFellSilentIsSettledByAnother(t *testing.T) {
	store := open(t, filepath.Join(t.TempDir(), "schedule.db"))
	r := newRecorder()
	d := Decided{Schedule: "s0000", Local: "2026-11-26T03:00", At: time.Now(), State: Begun, Scheduler: "elsewhere"}
	if _, err := store.decide(t.Context(), d, nil); err != nil {
		t.Fatal(err)
	}
	s := &Scheduler{Store: store, Entries: entries(t, 1, "@yearly"), Runner: r, ID: "here", Now: time.Now}
	if err := store.alive(t.Context(), "elsewhere", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.bury(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := store.Decided(t.Context(), "", 1); err != nil || list[0].State != Begun {
		t.Fatalf("one that was heard of just now was buried: %+v %v", list, err)
	}
	if err := store.alive(t.Context(), "elsewhere", time.Now().Add(-2*silence)); err != nil {
		t.Fatal(err)
	}
	if err := s.bury(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := store.Decided(t.Context(), "", 1); err != nil || list[0].State != Lost || !strings.Contains(list[0].Why, "elsewhere") {
		t.Errorf("%+v %v", list, err)
	}
	if _, reverts := r.counts(); reverts != 0 {
		t.Error("what is on another machine was reverted here")
	}
}

func TestADrillThatIsQueuedTooLongIsNotDone(t *testing.T) {
	store := open(t, filepath.Join(t.TempDir(), "schedule.db"))
	r := newRecorder()
	r.hold = make(chan struct{})
	clock := still()
	var mu sync.Mutex
	var ahead time.Duration
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return clock().Add(ahead) }
	stop := keep(t, &Scheduler{Store: store, Entries: known(t, store, entries(t, 2, "* * * * *"), clock()), Runner: r, ID: "here", Now: now})
	<-r.begun
	until(t, store, Queued, 1)
	mu.Lock()
	ahead = patience + time.Minute
	mu.Unlock()
	close(r.hold)
	late := until(t, store, Late, 1)
	if !strings.Contains(late[0].Why, "late, after other drills") {
		t.Errorf("%+v", late)
	}
	stop()
}

func TestAStopInterruptsTheDrillAndWritesDownWhatBecameOfIt(t *testing.T) {
	store := open(t, filepath.Join(t.TempDir(), "schedule.db"))
	r := newRecorder()
	r.hold = make(chan struct{})
	clock := still()
	stop := keep(t, &Scheduler{Store: store, Entries: known(t, store, entries(t, 1, "* * * * *"), clock()), Runner: r, ID: "here", Now: clock})
	<-r.begun
	stop()
	list, err := store.Decided(t.Context(), "", 1)
	if err != nil || len(list) != 1 || list[0].State != Failed || list[0].Why != "interrupted" {
		t.Errorf("%+v %v", list, err)
	}
}

func TestADatabaseThatCannotBeUsedIsToldInClearWords(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.db")
	if err := os.WriteFile(other, []byte(strings.Repeat("this is no database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer.db")
	s := open(t, newer)
	if _, err := s.db.Exec(`INSERT INTO dapple_schedule_version (version_id, is_applied) VALUES (99, TRUE)`); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]string{
		other:                              "this one is something else",
		newer:                              "a newer dapple made it",
		filepath.Join(dir, "none", "x.db"): "unable to open database file",
		"postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=1": "127.0.0.1",
	} {
		_, err := Open(t.Context(), where)
		if err == nil {
			t.Errorf("%s was opened", where)
			continue
		}
		said := err.Error() + strings.Join(diag.Hints(err), " ")
		if !strings.Contains(said, want) || strings.Contains(said, "hunter2") {
			t.Errorf("%s: %s", where, said)
		}
	}
}

// A thousand schedules that have nothing to do: what they cost is in docs/guides/schedule.md.
func BenchmarkIdle(b *testing.B) {
	list := entries(b, 1000, "30 2 * * tue")
	l := &loop{entries: list, first: map[string]time.Time{}, book: &pageBook{now: time.Now, done: map[string]bool{}}, now: time.Now, seen: time.Now()}
	l.start()
	for b.Loop() {
		l.round(b.Context(), func(error) {})
	}
}
