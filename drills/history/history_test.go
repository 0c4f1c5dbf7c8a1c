package history

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
)

// keep writes a record into a run directory of its own.
func keep(t *testing.T, dir, run string, started time.Time) {
	t.Helper()
	path := filepath.Join(dir, run)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := drills.WriteRecord(path, drills.Record{Schema: drills.Schema, Run: run, Started: started}); err != nil {
		t.Fatal(err)
	}
}

func TestRunsAreListedNewestFirstAndBrokenOnesAreNamed(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	keep(t, dir, "old", now.Add(-time.Hour))
	keep(t, dir, "new", now)
	if err := os.MkdirAll(filepath.Join(dir, "torn"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "torn", "record.json"), []byte(`{"schema":`), 0o600); err != nil {
		t.Fatal(err)
	}
	entries, broken, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 || entries[0].Record.Run != "new" || entries[1].Record.Run != "old" {
		t.Errorf("got %+v", entries)
	}
	if len(broken) != 1 || !strings.HasSuffix(broken[0].Dir, "torn") {
		t.Errorf("broken: %+v", broken)
	}
}

func TestARunIsFoundByDirectoryByIDAndByTheBeginningOfOneID(t *testing.T) {
	dir := t.TempDir()
	keep(t, dir, "01abc", time.Now())
	keep(t, dir, "01abd", time.Now())
	for name, want := range map[string]string{"01abc": "01abc", filepath.Join(dir, "01abd"): "01abd"} {
		got, err := Find(dir, name)
		if err != nil || filepath.Base(got) != want {
			t.Errorf("Find(%q) = %q, %v", name, got, err)
		}
	}
	if _, err := Find(dir, "01ab"); err == nil || !strings.Contains(err.Error(), "ambiguous") {
		t.Errorf("two runs begin so: %v", err)
	}
	if _, err := Find(dir, "02"); err == nil || !strings.Contains(err.Error(), "no run") {
		t.Errorf("no run begins so: %v", err)
	}
	if _, err := Find(filepath.Join(dir, "nowhere"), "x"); err == nil {
		t.Error("a directory that is not there holds no run")
	}
}

func TestTheRecordBeforeIsNamedByItsHash(t *testing.T) {
	home := t.TempDir()
	if sha, err := Previous(home); err != nil || sha != "" {
		t.Errorf("of no records: %q, %v", sha, err)
	}
	keep(t, filepath.Join(home, "runs"), "a", time.Now().Add(-time.Hour))
	one, err := Previous(home)
	if err != nil || len(one) != 64 {
		t.Fatalf("%q, %v", one, err)
	}
	if _, err := Keep(t.Context(), home, ByDrill, "ada", drilled(t, home, "b", time.Now(), nil)); err != nil {
		t.Fatal(err)
	}
	two, err := Previous(home)
	if err != nil || two == one {
		t.Errorf("another record has the same hash: %v", err)
	}
	keep(t, filepath.Join(home, "runs"), "running", time.Now().Add(time.Hour))
	if sha, err := Previous(home); err != nil || sha != two {
		t.Errorf("a drill that runs beside has no record to follow yet: %v", err)
	}
}
