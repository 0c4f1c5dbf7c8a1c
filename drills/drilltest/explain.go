package drilltest

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/reports"
)

// maxEvidence is how many events are shown of a finding.
const maxEvidence = 6

// codes says what an exit code means (contract, "Exit codes").
func codes(code int) string {
	return map[int]string{
		0: "all objectives met", 1: "an objective was missed", 2: "usage, or an invalid file", 3: "refused: nothing was touched",
		4: "aborted or interrupted, everything was reverted", 5: "inconclusive or invalid", 6: "something is still in place: a person must act",
	}[code]
}

// explain is why a test fails: the verdict, each finding that is not met with the
// events that show it, and where the whole report is.
func explain(run reports.Run) string {
	var b strings.Builder
	rec := &run.Record
	fmt.Fprintf(&b, "%s: %s on %s", strings.ToUpper(string(rec.Verdict)), rec.Drill.Name, rec.System.Name)
	if rec.Reason != "" {
		fmt.Fprintf(&b, "\n%s", rec.Reason)
	}
	for _, t := range rec.Trials {
		if t.Verdict == verdict.Invalid || t.Verdict == verdict.Aborted {
			fmt.Fprintf(&b, "\ntrial %d is %s: %s", t.N, t.Verdict, t.Reason)
		}
		for _, f := range t.Findings {
			if f.Severity != "warning" && (f.Outcome == verdict.Missed || f.Outcome == verdict.Unproven) {
				fmt.Fprintf(&b, "\n%s in trial %d: %s: wanted %s, got %s", f.Outcome, t.N, f.Objective, f.Want, f.Got)
				if f.Text != "" {
					fmt.Fprintf(&b, " (%s)", f.Text)
				}
				b.WriteString(evidence(run.Timeline, f.Events))
			}
		}
		for _, l := range t.Leftovers {
			fmt.Fprintf(&b, "\nSTILL IN PLACE, a person must act: %s %s\n    %s", l.What, l.Node, l.Command)
		}
	}
	fmt.Fprintf(&b, "\nreport: %s", filepath.Join(run.Dir, "report.html"))
	if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() != "true" {
		b.WriteString(" (kept with go test -artifacts)")
	}
	return b.String()
}

// evidence shows the events that a finding rests on.
func evidence(t timeline.Timeline, events []int) string {
	var b strings.Builder
	for n, i := range events {
		if n == maxEvidence {
			fmt.Fprintf(&b, "\n    and %d events more", len(events)-n)
			break
		}
		for _, e := range t {
			if e.I == i {
				fmt.Fprintf(&b, "\n    event %d, at %.3f s: %s", i, e.At.Hi.Seconds(), tell(e))
			}
		}
	}
	return b.String()
}

func tell(e timeline.Event) string {
	var parts []string
	for _, s := range []string{string(e.Kind), e.Node, e.Value, e.Evidence} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ") + " (" + e.By + ")"
}
