package reports

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

// judge replaces what the fixtures say of their trials by what package verdict
// proves from their timelines.
func (r *Run) judge() {
	rec := &r.Record
	dur := func(ms *float64) *scenarios.Duration {
		if ms == nil {
			return nil
		}
		d := scenarios.Duration(timeline.FromMS(*ms))
		return &d
	}
	never := scenarios.Never(true)
	o := scenarios.Objectives{Detection: dur(rec.Objectives.DetectionMS), RTO: dur(rec.Objectives.RTOMS), RPO: &scenarios.RPO{Writes: rec.Objectives.RPOWrites},
		SplitBrain: &never, Rejoin: dur(rec.Objectives.RejoinMS), Redundancy: dur(rec.Objectives.RedundancyMS)}
	for i, old := range rec.Trials {
		in := verdict.Input{N: old.N, Objectives: o, Failover: old.Expect.Failover, Phase: old.Phase, Expectation: old.Metrics.Expectation,
			Window:       verdict.Window{Settle: 120 * time.Second, StableFor: 10 * time.Second, FullFor: 30 * time.Second},
			AppReconnect: 3500 * time.Millisecond, FreshPeriod: 20 * time.Millisecond, NodeDead: map[string]bool{"kill/" + old.Faults[0].Node: true}}
		for _, e := range r.Timeline {
			if e.Trial == old.N {
				in.Timeline = append(in.Timeline, e)
			}
		}
		rec.Trials[i] = verdict.Judge(in)
		rec.Trials[i].Leftovers = old.Leftovers
	}
	r.summarize()
}

// What the judge says must fit what the reports look for: the names of its
// objectives, the events of its metrics.
func TestWhatTheJudgeProvesIsShownWithItsMarksAndItsEvents(t *testing.T) {
	for name, fixture := range fixtures() {
		r := fixture(t)
		r.judge()
		if *look != "" {
			dir := filepath.Join(*look, "judged-"+name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := Write(dir, r, "html", "text", "json"); err != nil {
				t.Fatal(err)
			}
		}
		text := page1(t, r)
		for i := range r.Record.Trials {
			tr := &r.Record.Trials[i]
			v := views(&r)[i]
			var marks []string
			for _, m := range v.marks() {
				marks = append(marks, m.Name)
			}
			for metric, mark := range map[string]string{"detection": "detected", "election": "elected", "promotion": "promoted", "first_ack": "first ack", "rejoin": "rejoined"} {
				if read(tr, metric).Known && !strings.Contains(strings.Join(marks, ","), mark) {
					t.Errorf("%s, trial %d: %s was measured, but there is no mark %q", name, tr.N, metric, mark)
				}
			}
			if len(laws(tr))+len(rows(&r.Record)) == 0 && len(tr.Findings) > 0 {
				t.Errorf("%s: no finding is shown", name)
			}
		}
		if want := verdict.Pass; name == "patroni" && r.Record.Verdict != want {
			t.Errorf("%s: %s, want %s: %s", name, r.Record.Verdict, want, r.Record.Reason)
		}
		if n := strings.Count(text, `class="ev" href="#e`); n < 10 {
			t.Errorf("%s: only %d links to events", name, n)
		}
		summary := render(t, func(b *bytes.Buffer) error { return Text(b, r, Plain) })
		if !strings.HasPrefix(summary, word(r.Record.Verdict)) {
			t.Errorf("%s begins with %q", name, summary[:20])
		}
	}
}
