package history

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/testenv"
)

var day = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

// drilled puts a finished run into the home, as a drill leaves it.
func drilled(t *testing.T, home, run string, started time.Time, change func(*drills.Record)) (dir string) {
	t.Helper()
	dir = filepath.Join(home, "runs", run+"-primary-kill")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	rec := drills.Record{
		Schema: drills.Schema, Run: run, Started: started, Finished: started.Add(time.Minute), Verdict: verdict.Pass, Operator: "ada",
		Drill:  drills.DrillInfo{Name: "primary kill"},
		System: drills.SystemInfo{Name: "orders", Kind: "patroni", Environment: "staging"},
		Trials: []verdict.Trial{{N: 1, Verdict: verdict.Pass,
			Metrics:  verdict.Metrics{RTO: &verdict.Metric{LoMS: 20000, HiMS: 20500}},
			Findings: []verdict.Finding{{Objective: "rto", Outcome: verdict.Met, Want: "≤ 60 s", Got: "20.3 s"}},
		}},
		Series: verdict.Series{N: 1},
	}
	if change != nil {
		change(&rec)
	}
	if err := drills.WriteRecord(dir, rec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "timeline.jsonl"), []byte("{\"i\":0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func opened(t *testing.T, home, dsn string) *Index {
	t.Helper()
	x, err := Open(t.Context(), home, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func add(t *testing.T, x *Index, dirs ...string) {
	t.Helper()
	if _, err := x.Add(t.Context(), ByDrill, "ada", dirs...); err != nil {
		t.Fatal(err)
	}
}

func ids(t *testing.T, x *Index, q Query) string {
	t.Helper()
	runs, err := x.Runs(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range runs {
		out = append(out, r.Run)
	}
	return strings.Join(out, " ")
}

func TestWhatWasAddedIsFoundInAFileAndInPostgreSQL(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { keepsAndFinds(t, "") })
	t.Run("PostgreSQL", func(t *testing.T) { keepsAndFinds(t, testenv.NeedPostgres(t)) })
}

func keepsAndFinds(t *testing.T, dsn string) {
	home := t.TempDir()
	x := opened(t, home, dsn)
	if got := ids(t, x, Query{}); got != "" {
		t.Fatalf("a new history holds %s", got)
	}
	add(t, x, drilled(t, home, "01a", day, nil))
	add(t, x, drilled(t, home, "01b", day.Add(time.Hour), func(r *drills.Record) { r.System.Name, r.Verdict = "users", verdict.Fail }),
		drilled(t, home, "02c", day.Add(48*time.Hour), func(r *drills.Record) { r.Drill.Name = "agent freeze" }))
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{}, "02c 01b 01a"},
		{Query{Limit: 2}, "02c 01b"},
		{Query{System: "orders"}, "02c 01a"},
		{Query{System: "orders", Scenario: "primary kill"}, "01a"},
		{Query{Verdict: verdict.Fail}, "01b"},
		{Query{Environment: "production"}, ""},
		{Query{Since: day.Add(time.Hour)}, "02c 01b"},
		{Query{Since: day, Until: day.Add(time.Hour)}, "01a"},
		{Query{Run: "01"}, "01b 01a"},
	} {
		if got := ids(t, x, c.q); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.q, got, c.want)
		}
	}
	runs, err := x.Runs(t.Context(), Query{Run: "01a"})
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	r := runs[0]
	if f, ok := r.Digest.Finding("rto"); !ok || f.Outcome != verdict.Met || r.Operator != "ada" || !r.Started.Equal(day) || r.Link.N != 1 || len(r.SHA256) != 64 {
		t.Errorf("%+v", r)
	}
	ms, err := x.Readings(t.Context(), Query{Run: "01a"})
	if err != nil || len(ms["01a"]) != 1 || ms["01a"][0] != (Reading{"rto", 1, 20000, 20500, false}) {
		t.Errorf("%+v, %v", ms, err)
	}
	if broken, err := x.Witness(t.Context()); err != nil || len(broken) > 0 {
		t.Errorf("%v, %v", broken, err)
	}
	if n, aside, err := Rebuild(t.Context(), home, dsn); n != 3 || aside != "" || err != nil {
		t.Errorf("rebuilt %d, %q, %v", n, aside, err)
	}
	if got := ids(t, x, Query{}); got != "02c 01b 01a" {
		t.Errorf("after the rebuild: %s", got)
	}
}

func TestTwoMachinesShareAPostgreSQL(t *testing.T) {
	dsn := testenv.NeedPostgres(t)
	a, b := t.TempDir(), t.TempDir()
	xa, xb := opened(t, a, dsn), opened(t, b, dsn)
	add(t, xa, drilled(t, a, "01a", day, nil))
	add(t, xb, drilled(t, b, "01b", day.Add(time.Hour), nil))
	if got := ids(t, xa, Query{}); got != "01b 01a" {
		t.Errorf("one sees %s", got)
	}
	runs, err := xa.Runs(t.Context(), Query{Run: "01b"})
	if err != nil || runs[0].Dir != "" || runs[0].Link.N != 1 {
		t.Errorf("the run directory of the other machine is not here: %+v, %v", runs, err)
	}
	if _, _, err := Rebuild(t.Context(), a, dsn); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, xb, Query{}); got != "01b 01a" {
		t.Errorf("the rebuild of one machine left %s", got)
	}
}

func TestARunThatIsNotFinishedOrNotInTheHomeIsNotAdded(t *testing.T) {
	home := t.TempDir()
	x := opened(t, home, "")
	running := drilled(t, home, "01a", day, func(r *drills.Record) { r.Finished = time.Time{} })
	if _, err := x.Add(t.Context(), ByDrill, "", running); !errors.Is(err, ErrUnfinished) {
		t.Error(err)
	}
	elsewhere := drilled(t, t.TempDir(), "01b", day, nil)
	if _, err := x.Add(t.Context(), ByDrill, "", elsewhere); err == nil || !strings.Contains(err.Error(), "is not in") {
		t.Error(err)
	}
	add(t, x, drilled(t, home, "01c", day, nil), drilled(t, home, "01c", day, nil))
	if got := ids(t, x, Query{}); got != "01c" {
		t.Error(got)
	}
}

// What was drilled while the database could not be written is in the chain, and is
// added by whoever opens the database next.
func TestTheDatabaseCatchesUpWithTheChain(t *testing.T) {
	home := t.TempDir()
	if _, err := Keep(t.Context(), home, ByDrill, "ada", drilled(t, home, "01a", day, nil)); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, opened(t, home, ""), Query{}); got != "01a" {
		t.Error(got)
	}
	if _, err := Keep(t.Context(), home, ByDrill, "ada", drilled(t, home, "01b", day.Add(time.Hour), nil)); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, opened(t, home, ""), Query{}); got != "01b 01a" {
		t.Error(got)
	}
}

func TestRunsFromBeforeTheChainAreTakenInAndSaidToBe(t *testing.T) {
	home := t.TempDir()
	drilled(t, home, "01b", day.Add(time.Hour), nil)
	drilled(t, home, "01a", day, nil)
	drilled(t, home, "01c", day, func(r *drills.Record) { r.Finished = time.Time{} })
	x := opened(t, home, "")
	if got := ids(t, x, Query{}); got != "01b 01a" {
		t.Error(got)
	}
	runs, _ := x.Runs(t.Context(), Query{})
	if runs[1].Link.How != ByAdding || runs[1].Link.N != 1 {
		t.Errorf("%+v", runs[1].Link)
	}
}

func TestSeveralProcessesMayAddAtOnce(t *testing.T) {
	home := t.TempDir()
	done := make(chan error)
	for _, id := range []string{"01a", "01b", "01c", "01d", "01e", "01f"} {
		dir := drilled(t, home, id, day, nil)
		go func() {
			x, err := Open(context.Background(), home, "") // as a process of its own does
			if err == nil {
				_, err = x.Add(context.Background(), ByDrill, "", dir)
				err = errors.Join(err, x.Close())
			}
			done <- err
		}()
	}
	for range 6 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := ids(t, opened(t, home, ""), Query{}); len(strings.Fields(got)) != 6 {
		t.Error(got)
	}
	if v, err := Verify(t.Context(), home); err != nil || len(v.Broken) > 0 || v.Links != 6 {
		t.Errorf("%+v, %v", v, err)
	}
}
