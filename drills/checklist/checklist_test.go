package checklist

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/seal"
	"github.com/dapple-drills/dapple/scenarios"
)

var (
	now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	q4  = Quarter{2026, 4}
)

// drilled is a run n days ago that passed with a failover, as change makes it.
func drilled(daysAgo int, change func(*history.Run)) history.Run {
	rto, rpo := 60000.0, int64(0)
	r := history.Run{
		Run: fmt.Sprintf("run-%d", daysAgo), System: "orders", Kind: "patroni", Environment: "staging", Scenario: "primary kill", Verdict: verdict.Pass,
		Operator: "ada", SHA256: strings.Repeat("ab", 32), Link: history.Linked{N: 1},
		Digest: history.Digest{
			N: 1, Failovers: 1, Design: scenarios.Design{Detection: "lease", Recovery: "automatic"},
			Objectives: drills.Objectives{RTOMS: &rto, RPOWrites: &rpo},
			Findings: []history.Finding{{Objective: "detection", Outcome: verdict.Met}, {Objective: "rpo", Outcome: verdict.Met},
				{Objective: "rto", Outcome: verdict.Met}, {Objective: "split_brain", Outcome: verdict.Met}},
			Steps: []history.Step{{Inject: "kill", On: []string{"primary"}, Node: "pg1", ForMS: 60000}},
		},
	}
	r.Started = now.AddDate(0, 0, -daysAgo)
	r.Finished = r.Started.Add(time.Minute)
	if change != nil {
		change(&r)
	}
	return r
}

func spike(r *history.Run) {
	wanted := false
	r.Scenario, r.Digest.Failover, r.Digest.Failovers = "latency spike", &wanted, 0
	r.Digest.Findings = []history.Finding{{Objective: "failover", Outcome: verdict.Met}}
	r.Digest.Steps = []history.Step{{Inject: "netem", With: map[string]string{"delay": "200ms"}, Node: "pg1"}}
}

func maintained(r *history.Run) {
	r.Scenario = "primary kill in maintenance"
	r.Digest.Steps = []history.Step{{Inject: "kill", Node: "pg2", ForMS: 60000}, {Inject: "kill", On: []string{"primary"}, Node: "pg1", AtMS: 5000, ForMS: 30000}}
}

func alerted(r *history.Run) {
	r.Scenario = "agent freeze"
	r.Digest.Findings = append(r.Digest.Findings, history.Finding{Objective: "alert", Outcome: verdict.Met})
}

func miss(objective string) func(*history.Run) {
	return func(r *history.Run) {
		r.Verdict = verdict.Fail
		r.Digest.Findings = []history.Finding{{Objective: objective, Outcome: verdict.Missed, Want: "never", Got: "L2"}}
	}
}

func roster() *scenarios.Roster {
	return &scenarios.Roster{People: []scenarios.Engineer{{Name: "Ada Lovelace", Contact: "ada@example.org", OnCall: []string{"orders"}, Logins: []string{"ada"}}}}
}

func made(runs ...history.Run) Checklist {
	return Make(Input{Quarter: q4, Now: now, Runs: runs, Roster: roster()})
}

// states are those of the seven items of the only system.
func states(c Checklist) string {
	var out []string
	for _, item := range c.Systems[0].Items {
		out = append(out, string(item.State))
	}
	return strings.Join(out, " ")
}

func item(t *testing.T, c Checklist, n int) Item {
	t.Helper()
	if len(c.Systems) != 1 || len(c.Systems[0].Items) != 7 {
		t.Fatalf("%+v", c.Systems)
	}
	return c.Systems[0].Items[n-1]
}

func TestASystemThatWasDrilledInTheQuarterMeetsAllSeven(t *testing.T) {
	c := made(drilled(1, nil), drilled(2, spike), drilled(3, maintained), drilled(4, alerted))
	if got := states(c); got != "met met met met met met met" {
		t.Errorf("%s\n%+v", got, c.Systems[0].Items)
	}
	for _, i := range c.Systems[0].Items {
		for _, p := range i.Parts {
			if p.Proof == nil || p.Proof.Run == "" || len(p.Proof.SHA256) != 64 || p.Proof.Date.IsZero() {
				t.Errorf("item %d, %s: met without a record that proves it: %+v", i.N, p.Name, p)
			}
		}
	}
	if len(c.Open) != 0 {
		t.Errorf("open: %+v", c.Open)
	}
}

func TestWhatWasNotProvenMeetsNothing(t *testing.T) {
	for name, change := range map[string]func(*history.Run){
		"inconclusive":   func(r *history.Run) { r.Verdict = verdict.Inconclusive },
		"invalid":        func(r *history.Run) { r.Verdict = verdict.Invalid },
		"aborted":        func(r *history.Run) { r.Verdict = verdict.Aborted },
		"not in a chain": func(r *history.Run) { r.Link.N = 0 },
		"never finished": func(r *history.Run) { r.Finished = time.Time{} },
	} {
		in := Input{Quarter: q4, Now: now, Runs: []history.Run{drilled(1, change)}, Roster: roster(),
			Systems: []*scenarios.System{{Name: "orders", Kind: "patroni"}}}
		c := Make(in)
		for _, n := range []int{2, 3, 4, 5, 6} {
			if got := item(t, c, n).State; got == Met {
				t.Errorf("%s: item %d is met", name, n)
			}
		}
		for _, p := range append(item(t, c, 1).Parts, item(t, c, 7).Parts...) {
			if p.State == Met && p.Name != "documented" && p.Name != "declared" {
				t.Errorf("%s: %s is met", name, p.Name)
			}
		}
	}
}

func TestNoSplitBrainIsWorthSomethingOnlyWhereTheRoleMoved(t *testing.T) {
	c := made(drilled(1, func(r *history.Run) { r.Digest.Failovers = 0 }))
	if got := item(t, c, 2).State; got == Met {
		t.Error("nothing moved, and it is met")
	}
}

func TestAMissIsOpenUntilTheSameScenarioMeetsIt(t *testing.T) {
	c := made(drilled(1, alerted), drilled(2, miss("split_brain")))
	if got := item(t, c, 2); got.State != Failed || got.Parts[0].Proof.Run != "run-2" {
		t.Errorf("another scenario took it back: %+v", got)
	}
	if len(c.Open) != 1 || c.Open[0].Objective != "split_brain" || c.Open[0].Got != "L2" {
		t.Errorf("%+v", c.Open)
	}
	c = made(drilled(1, nil), drilled(2, miss("split_brain")))
	if got := item(t, c, 2); got.State != Met || len(c.Open) != 0 {
		t.Errorf("the same one met it since: %+v, %+v", got, c.Open)
	}
	// One that could not tell takes nothing back.
	c = made(drilled(1, func(r *history.Run) { r.Verdict = verdict.Inconclusive }), drilled(2, miss("split_brain")))
	if got := item(t, c, 2); got.State != Failed {
		t.Errorf("%+v", got)
	}
	// Nor does time.
	c = made(drilled(200, miss("split_brain")))
	if got := item(t, c, 2); got.State != Failed {
		t.Errorf("%+v", got)
	}
}

func TestDueWhileTheQuarterRunsAndOverdueAfterIt(t *testing.T) {
	old := drilled(60, nil) // in the third quarter
	for _, c := range []struct {
		name string
		runs []history.Run
		q    Quarter
		now  time.Time
		want State
	}{
		{"proven in the quarter before", []history.Run{old}, q4, now, Due},
		{"at the quarter's end", []history.Run{old}, q4, q4.Until(), Overdue},
		{"of the quarter in which it was", []history.Run{old}, Quarter{2026, 3}, now, Met},
		{"a whole quarter went by", []history.Run{drilled(200, nil)}, q4, now, Overdue},
		{"after the quarter is none of it", []history.Run{drilled(1, nil), old}, Quarter{2026, 3}, now, Met},
	} {
		got := Make(Input{Quarter: c.q, Now: c.now, Runs: c.runs})
		if s := item(t, got, 2).State; s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

func TestASystemThatWasNeverDrilledIsOnThePage(t *testing.T) {
	c := Make(Input{Quarter: q4, Now: now, Systems: []*scenarios.System{{Name: "legacy", Kind: "http", Design: scenarios.Design{Recovery: "manual"}}}})
	if got := states(c); got != "due due due due due due due" {
		t.Error(got)
	}
	if c.Modes[0].Cells[0].State != CellNever {
		t.Errorf("%+v", c.Modes[0])
	}
}

func TestPeopleAreDueSixMonthsAfterTheirLastFailover(t *testing.T) {
	for _, c := range []struct {
		name string
		run  history.Run
		want State
	}{
		{"lately, in another quarter", drilled(170, nil), Met},
		{"seven months ago", drilled(215, nil), Overdue},
		{"no failover", drilled(1, spike), Overdue},
		{"another person", drilled(1, func(r *history.Run) { r.Operator = "bob" }), Overdue},
		{"as the trainee", drilled(1, func(r *history.Run) {
			r.Operator, r.Digest.People = "bob", []drills.Person{{Name: "Ada Lovelace", Role: drills.Trainee}}
		}), Met},
		{"as the trainer alone", drilled(1, func(r *history.Run) {
			r.Operator, r.Digest.People = "bob", []drills.Person{{Name: "Ada Lovelace", Role: drills.Trainer}}
		}), Overdue},
	} {
		got := made(c.run)
		if got.People[0].State != c.want || item(t, got, 6).State != c.want {
			t.Errorf("%s: %+v, want %s", c.name, got.People[0], c.want)
		}
	}
}

func TestTheMatrixTellsTheLastProofAndItsAge(t *testing.T) {
	c := made(drilled(1, func(r *history.Run) { r.Verdict = verdict.Invalid }), drilled(9, nil),
		drilled(3, func(r *history.Run) {
			r.Verdict = verdict.Fail
			r.Digest.Steps = []history.Step{{Inject: "clockskew"}}
		}),
		drilled(2, func(r *history.Run) {
			r.Verdict = verdict.Inconclusive
			r.Digest.Steps = []history.Step{{Inject: "diskfill"}}
		}))
	want := map[string]string{
		"The primary's process is killed": CellPassed, "A clock jumps": CellFailed,
		"A disk fills, slows down or turns read-only": CellUnproven, "The majority is lost": CellNever,
	}
	for _, row := range c.Modes {
		if w := want[row.Mode]; w != "" && row.Cells[0].State != w {
			t.Errorf("%s: %+v, want %s", row.Mode, row.Cells[0], w)
		}
		if row.Mode == "The primary's process is killed" && (row.Cells[0].AgeDays != 9 || row.Cells[0].Proof.Run != "run-9") {
			t.Errorf("%+v", row.Cells[0])
		}
		delete(want, row.Mode)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestQuartersAreReadAsTheyAreWritten(t *testing.T) {
	q, err := ParseQuarter("2026Q4")
	if err != nil || q != q4 || !q.From().Equal(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)) || !q.Until().Equal(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%v, %v", q, err)
	}
	for _, bad := range []string{"", "2026", "2026Q5", "2026Q0", "26Q4", "2026q4", "2026Q4 ", "2026Q44", "Q4", "1026Q1"} {
		if q, err := ParseQuarter(bad); err == nil {
			t.Errorf("%q is %v", bad, q)
		}
	}
}

// kept puts a record into a home, as a drill leaves it, and returns its run.
func kept(t *testing.T, home string) history.Run {
	t.Helper()
	dir := filepath.Join(home, "runs", "01a-primary-kill")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	rec := drills.Record{Schema: drills.Schema, Run: "01a", Started: now, Finished: now.Add(time.Minute), Verdict: verdict.Pass,
		System: drills.SystemInfo{Name: "orders"},
		Trials: []verdict.Trial{{N: 1, Verdict: verdict.Pass, Findings: []verdict.Finding{{Objective: "rto", Outcome: verdict.Met}}}}}
	if err := drills.WriteRecord(dir, rec); err != nil {
		t.Fatal(err)
	}
	x, err := history.Open(t.Context(), home, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	runs, err := x.Runs(t.Context(), history.Query{})
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	return runs[0]
}

func TestASignedChecklistHoldsUntilAnythingOfItIsTouched(t *testing.T) {
	replace := func(t *testing.T, path, from, to string) {
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), from) {
			t.Fatalf("%s does not hold %q: %v", path, from, err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(data), from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		do   func(t *testing.T, home, out string)
		want string // in Broken; "" if it holds
	}{
		"nothing": {func(*testing.T, string, string) {}, ""},
		"a page":  {func(t *testing.T, _, out string) { replace(t, filepath.Join(out, "page.md"), "met", "bad") }, "page.md was changed"},
		"a record": {func(t *testing.T, home, _ string) {
			replace(t, filepath.Join(home, "runs/01a-primary-kill/record.json"), "pass", "fail")
		}, "run 01a was changed"},
		"a record, gone": {func(t *testing.T, home, _ string) { _ = os.RemoveAll(filepath.Join(home, "runs")) }, "run 01a was removed"},
		"the chain":      {func(t *testing.T, home, _ string) { replace(t, filepath.Join(home, "chain.jsonl"), "adopted", "drill") }, "does not go through"},
	} {
		t.Run(name, func(t *testing.T) {
			home, out := t.TempDir(), t.TempDir()
			run := kept(t, home)
			anchor, err := history.ChainFile(home).Anchor()
			if err != nil {
				t.Fatal(err)
			}
			list := Make(Input{Quarter: q4, Now: now.Add(time.Hour), Runs: []history.Run{run}, Anchor: anchor})
			keyFile := filepath.Join(out, "key.pem")
			key, _, err := seal.LoadKey(keyFile)
			if err != nil {
				t.Fatal(err)
			}
			page := []byte("all met\n")
			env, err := Sign(t.Context(), key, &list, map[string][]byte{"page.md": page})
			if err != nil {
				t.Fatal(err)
			}
			for path, data := range map[string][]byte{"page.md": page, "c.dsse.json": env} {
				if err := os.WriteFile(filepath.Join(out, path), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			public, err := seal.LoadPublicKey(keyFile + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			c.do(t, home, out)
			v, err := Verify(t.Context(), home, filepath.Join(out, "c.dsse.json"), []seal.PublicKey{public})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(v.Broken, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("broken: %q, want %q", got, c.want)
			}
			if c.want == "" && (v.Files != 1 || v.Records != 1 || v.Quarter != "2026Q4") {
				t.Errorf("%+v", v)
			}
		})
	}
}
