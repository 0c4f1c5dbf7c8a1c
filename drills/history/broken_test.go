package history

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/internal/diag"
)

// each way in which the database may be unusable: it is named, nothing is lost, and
// whoever asks gets the answer from the run directories.
func TestWithoutItsDatabaseTheHistoryStillAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, home string)
		want  error
	}{
		"damaged": {func(t *testing.T, home string) {
			write(t, DatabaseFile(home), strings.Repeat("no database at all ", 1000))
		}, ErrCorrupt},
		"newer": {func(t *testing.T, home string) {
			exec(t, home, `INSERT INTO dapple_history_version (version_id, is_applied) VALUES (99, 1)`)
		}, ErrNewer},
		"locked": {lockDatabase, ErrLocked},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			x := opened(t, home, "")
			add(t, x, drilled(t, home, "01a", day, nil))
			if _, err := Keep(t.Context(), home, ByDrill, "ada", drilled(t, home, "01b", day, nil)); err != nil {
				t.Fatal(err)
			}
			if err := x.db.Close(); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, home)
			if c.want == ErrLocked {
				was := busy
				busy = 200 * time.Millisecond
				defer func() { busy = was }()
			}
			_, err := Open(t.Context(), home, "")
			var broken *DatabaseError
			if !errors.Is(err, c.want) || !errors.As(err, &broken) || len(diag.Hints(err)) != 1 {
				t.Fatalf("got %v, with %d hints", err, len(diag.Hints(err)))
			}
			any, why, err := OpenAnyway(t.Context(), home, "")
			if err != nil || !errors.Is(why, c.want) {
				t.Fatalf("%v, %v", why, err)
			}
			if got := ids(t, any, Query{}); got != "01b 01a" {
				t.Errorf("got %s", got)
			}
			if err := any.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A limit of pages gives what a full disk does: SQLITE_FULL.
func TestWhatDoesNotFitIntoTheDatabaseIsAddedWhenThereIsRoom(t *testing.T) {
	home := t.TempDir()
	add(t, opened(t, home, ""), drilled(t, home, "01a", day, nil))
	x, err := open(t.Context(), home, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	x.db.SetMaxOpenConns(1)
	if _, err := x.db.Exec(`PRAGMA max_page_count = 1`); err != nil { // the least is what it has already
		t.Fatal(err)
	}
	big := drilled(t, home, "01c", day, func(r *drills.Record) { r.Reason = strings.Repeat("long ", 100000) })
	_, err = x.Add(t.Context(), ByDrill, "ada", big)
	if !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	if got := ids(t, x, Query{}); got != "01a" {
		t.Errorf("a part of what did not fit is there: %s", got)
	}
	if got := ids(t, opened(t, home, ""), Query{}); got != "01c 01a" {
		t.Errorf("with room again, %s is there", got)
	}
}

func lockDatabase(t *testing.T, home string) {
	db, err := sql.Open("sqlite", DatabaseFile(home))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`BEGIN EXCLUSIVE`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = db.Exec(`ROLLBACK`); _ = db.Close() })
}

func exec(t *testing.T, home, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", DatabaseFile(home))
	if err == nil {
		_, err = db.Exec(statement)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestARebuildMovesADamagedDatabaseAside(t *testing.T) {
	home := t.TempDir()
	x := opened(t, home, "")
	add(t, x, drilled(t, home, "01a", day, nil), drilled(t, home, "01b", day, nil))
	if err := x.db.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, DatabaseFile(home), "damaged")
	n, aside, err := Rebuild(t.Context(), home, "")
	if n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if data, err := os.ReadFile(aside); err != nil || string(data) != "damaged" {
		t.Errorf("what was there is lost: %v", err)
	}
	if got := ids(t, opened(t, home, ""), Query{}); got != "01b 01a" {
		t.Errorf("got %s", got)
	}
}

func TestAPostgreSQLThatIsAwayIsNamedWithoutItsPassword(t *testing.T) {
	home := t.TempDir()
	drilled(t, home, "01a", day, nil)
	for _, dsn := range []string{"postgres://ada:secret@127.0.0.1:1/x?connect_timeout=1", "postgres://ada:secret@:no port/"} {
		x, why, err := OpenAnyway(t.Context(), home, dsn)
		if err != nil || why == nil || strings.Contains(why.Error(), "secret") {
			t.Fatalf("%v, %v", why, err)
		}
		if got := ids(t, x, Query{}); got != "01a" {
			t.Errorf("got %s", got)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWhateverIsDoneToRecordsOrTheChainIsSeen(t *testing.T) {
	chain := func(home string) string { return filepath.Join(home, "chain.jsonl") }
	edit := func(t *testing.T, path, from, to string) {
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), from) {
			t.Fatalf("%s does not hold %q: %v", path, from, err)
		}
		write(t, path, strings.Replace(string(data), from, to, 1))
	}
	for name, c := range map[string]struct {
		do   func(t *testing.T, home string)
		want string
	}{
		"a record is changed": {func(t *testing.T, home string) {
			edit(t, filepath.Join(home, "runs", "01b-primary-kill", "record.json"), "20500", "10500")
		}, "run 01b: record.json was changed"},
		"a timeline is changed": {func(t *testing.T, home string) {
			edit(t, filepath.Join(home, "runs", "01b-primary-kill", "timeline.jsonl"), "0", "1")
		}, "run 01b: timeline.jsonl was changed"},
		"a file of it is removed": {func(t *testing.T, home string) {
			remove(t, filepath.Join(home, "runs", "01b-primary-kill", "timeline.jsonl"))
		}, "run 01b: timeline.jsonl was removed"},
		"a record is removed": {func(t *testing.T, home string) {
			remove(t, filepath.Join(home, "runs", "01b-primary-kill"))
		}, "run 01b was removed"},
		"a record is inserted": {func(t *testing.T, home string) {
			drilled(t, home, "01x", day, nil)
		}, "run 01x was inserted"},
		"a record is inserted under an id that is there": {func(t *testing.T, home string) {
			if err := os.CopyFS(filepath.Join(home, "runs", "copy"), os.DirFS(filepath.Join(home, "runs", "01b-primary-kill"))); err != nil {
				t.Fatal(err)
			}
		}, "run 01b was inserted"},
		"a line is changed": {func(t *testing.T, home string) {
			edit(t, chain(home), `"n":2,"run":"01b"`, `"n":2,"run":"01z"`)
		}, "line 4 (run 01c) does not follow"},
		"a line is removed": {func(t *testing.T, home string) {
			data, _ := os.ReadFile(chain(home))
			lines := strings.SplitAfter(string(data), "\n")
			write(t, chain(home), lines[0]+lines[1]+lines[3])
		}, "line 3 (run 01c) does not follow"},
		"a line is damaged": {func(t *testing.T, home string) {
			edit(t, chain(home), `"n":2,`, `"n":2"`)
		}, "line 3 cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			home := threeRuns(t)
			if v, err := Verify(t.Context(), home); err != nil || len(v.Broken) > 0 || v.Links != 3 || v.Files != 6 || len(v.Head) != 64 {
				t.Fatalf("untouched: %+v, %v", v, err)
			}
			c.do(t, home)
			v, err := Verify(t.Context(), home)
			if err != nil || !strings.Contains(strings.Join(v.Broken, "\n"), c.want) {
				t.Errorf("%v, %v", v.Broken, err)
			}
			// An index that is made from it shows nothing of what was changed.
			if _, _, err := Rebuild(t.Context(), home, ""); err != nil {
				t.Fatal(err)
			}
			if v, err := Verify(t.Context(), home); err != nil || len(v.Broken) == 0 {
				t.Errorf("a rebuild made it good: %v", err)
			}
		})
	}
}

func threeRuns(t *testing.T) (home string) {
	home = t.TempDir()
	x := opened(t, home, "")
	for i, id := range []string{"01a", "01b", "01c"} {
		add(t, x, drilled(t, home, id, day.AddDate(0, 0, i), nil))
	}
	return home
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// The last line has no next one that holds it: the database does, and a signed
// checklist.
func TestAChainThatIsWrittenAnewIsSeenByItsWitnesses(t *testing.T) {
	home := threeRuns(t)
	anchor, err := ChainFile(home).Anchor()
	if err != nil || anchor.N != 3 {
		t.Fatalf("%+v, %v", anchor, err)
	}
	if holds, known, err := ChainFile(home).Holds(anchor); !holds || !known || err != nil {
		t.Errorf("%v %v %v", holds, known, err)
	}
	dir := filepath.Join(home, "runs", "01c-primary-kill")
	remove(t, dir)
	data, _ := os.ReadFile(filepath.Join(home, "chain.jsonl"))
	lines := strings.SplitAfter(string(data), "\n")
	write(t, filepath.Join(home, "chain.jsonl"), strings.Join(lines[:3], ""))
	if v, err := Verify(t.Context(), home); err != nil || len(v.Broken) > 0 {
		t.Errorf("nothing in the chain itself tells: %v, %v", v.Broken, err)
	}
	if holds, known, err := ChainFile(home).Holds(anchor); holds || !known || err != nil {
		t.Errorf("the anchor holds: %v %v", known, err)
	}
	broken, err := opened(t, home, "").Witness(t.Context())
	if err != nil || len(broken) != 1 || !strings.Contains(broken[0], "01c") {
		t.Errorf("%v, %v", broken, err)
	}
}

func TestALineThatACrashCutShortDoesNotCountAndIsMended(t *testing.T) {
	home := threeRuns(t)
	path := filepath.Join(home, "chain.jsonl")
	whole, _ := os.ReadFile(path)
	write(t, path, string(whole)+`{"n":4,"run":"01d","di`)
	if v, err := Verify(t.Context(), home); err != nil || len(v.Broken) > 0 || v.Links != 3 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := Keep(t.Context(), home, ByDrill, "ada", drilled(t, home, "01e", day, nil)); err != nil {
		t.Fatal(err)
	}
	if v, err := Verify(t.Context(), home); err != nil || len(v.Broken) > 0 || v.Links != 4 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestWithoutItsChainTheHistoryShowsWhatIsThereAndProvesNothing(t *testing.T) {
	home := threeRuns(t)
	write(t, filepath.Join(home, "chain.jsonl"), "damaged\n")
	x, why, err := OpenAnyway(t.Context(), home, "")
	if err != nil || why == nil || !strings.Contains(why.Error(), "chain.jsonl") {
		t.Fatalf("%v, %v", why, err)
	}
	defer func() { _ = x.Close() }()
	runs, _, err := x.List(t.Context())
	if err != nil || len(runs) != 3 {
		t.Errorf("%d runs, %v", len(runs), err)
	}
	for _, r := range runs {
		if r.Link.N != 0 {
			t.Errorf("run %s is said to be in a chain", r.Run)
		}
	}
	if _, err := Keep(t.Context(), home, ByDrill, "ada", drilled(t, home, "01d", day, nil)); err == nil {
		t.Error("a line was added to what cannot be read")
	}
}

func TestARecordThatWasChangedIsNotShownAsARun(t *testing.T) {
	home := threeRuns(t)
	path := filepath.Join(home, "runs", "01b-primary-kill", "record.json")
	data, _ := os.ReadFile(path)
	write(t, path, strings.Replace(string(data), `"pass"`, `"fail"`, 1))
	if _, _, err := Rebuild(t.Context(), home, ""); err != nil {
		t.Fatal(err)
	}
	runs, broken, err := opened(t, home, "").List(t.Context())
	if err != nil || len(runs) != 2 || len(broken) != 1 || !strings.Contains(broken[0].Why, "was changed") {
		t.Errorf("%d runs, %+v, %v", len(runs), broken, err)
	}
}
