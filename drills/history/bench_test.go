package history_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// BenchmarkChecklist makes the checklist of a quarter from 10,000 records of 20
// systems, as the command does: open the index, ask it, answer, hash the records
// that are named. It must stay below a second.
func BenchmarkChecklist(b *testing.B) {
	home := b.TempDir()
	manyRuns(b, home, 10000)
	x, err := history.Open(b.Context(), home, "") // which makes chain and index
	if err != nil {
		b.Fatal(err)
	}
	if err := x.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		x, err := history.Open(b.Context(), home, "")
		if err != nil {
			b.Fatal(err)
		}
		q := checklist.Quarter{Year: 2026, N: 4}
		runs, err := x.Runs(b.Context(), history.Query{Until: q.Until()})
		if err != nil || len(runs) != 10000 {
			b.Fatalf("%d runs, %v", len(runs), err)
		}
		c := checklist.Make(checklist.Input{Quarter: q, Now: q.Until(), Runs: runs})
		if len(c.Systems) != 20 || c.Systems[0].Items[1].State != checklist.Met {
			b.Fatalf("%d systems", len(c.Systems))
		}
		where := map[string]string{}
		for _, r := range runs {
			where[r.Run] = r.Dir
		}
		for _, p := range c.Proofs() {
			if err := history.Unchanged(where[p.Run], p.SHA256); err != nil {
				b.Fatal(err)
			}
		}
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func manyRuns(b *testing.B, home string, n int) {
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	rto := 60000.0
	metric := &verdict.Metric{LoMS: 20000, HiMS: 20200}
	for i := range n {
		at := start.Add(time.Duration(i) * 104 * time.Minute)
		id := fmt.Sprintf("%06d", i)
		dir := filepath.Join(home, "runs", id+"-drill")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			b.Fatal(err)
		}
		rec := drills.Record{
			Schema: drills.Schema, Run: id, Started: at, Finished: at.Add(time.Minute), Verdict: verdict.Pass, Operator: "ada",
			Drill:      drills.DrillInfo{Name: fmt.Sprintf("scenario %d", i%7), ScenarioSHA256: fmt.Sprintf("%064d", i%7)},
			System:     drills.SystemInfo{Name: fmt.Sprintf("system %02d", i%20), Kind: "patroni", Environment: "staging"},
			Objectives: drills.Objectives{RTOMS: &rto, SplitBrain: "never"},
			Trials: []verdict.Trial{{N: 1, Verdict: verdict.Pass, Expect: verdict.Expect{Outcome: "failover a → b"},
				Metrics: verdict.Metrics{RTO: metric, Detection: metric, Election: metric, Promotion: metric, Outage: metric},
				Findings: []verdict.Finding{{Objective: "rto", Outcome: verdict.Met, Want: "≤ 60 s", Got: "20.1 s"}, {Objective: "detection", Outcome: verdict.Met, Want: "≤ 35 s", Got: "12 s"},
					{Objective: "split_brain", Outcome: verdict.Met, Want: "never", Got: "none"}, {Objective: "rpo", Outcome: verdict.Met, Want: "0 writes", Got: "0"}},
			}},
			Scenario: drills.Facts{Steps: []drills.StepFacts{{Inject: "kill", On: []string{"primary"}, With: map[string]string{"signal": "KILL"}, ForMS: 60000}}},
		}
		if err := drills.WriteRecord(dir, rec); err != nil {
			b.Fatal(err)
		}
	}
}
