package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/reports/ci"
)

// ciJob is the CI job in which this program runs, if it does.
func ciJob(io stdio) *ci.Job { return ci.Detect(os.Getenv, io.err, time.Now) }

// failOn says which verdicts end the program with another code than 0.
type failOn struct {
	list     []string
	exitZero bool
}

// verdictsToFailOn are the words of --fail-on.
func verdictsToFailOn() []string {
	return []string{string(verdict.Fail), string(verdict.Aborted), string(verdict.Invalid), string(verdict.Inconclusive)}
}

func (f *failOn) check() error {
	if f.exitZero && len(f.list) > 0 {
		return usage(errors.New("--exit-zero and --fail-on exclude each other"))
	}
	for _, v := range f.list {
		if !slices.Contains(verdictsToFailOn(), v) {
			return usage(diag.Hint(fmt.Errorf("--fail-on %s: there is no such verdict", v), "one or more of: "+strings.Join(verdictsToFailOn(), ", ")))
		}
	}
	return nil
}

// forgives says whether a verdict is told by the exit code 0. A mistake, a
// refusal, an interruption and what is still in place are no verdicts, and are
// never hidden.
func (f *failOn) forgives(v verdict.Verdict) bool {
	if v == verdict.Pass || !slices.Contains(verdictsToFailOn(), string(v)) {
		return false
	}
	return f.exitZero || len(f.list) > 0 && !slices.Contains(f.list, string(v))
}

// outputs are what later steps of a job may read.
func outputs(b reports.Batch, code int) []ci.Output {
	out := []ci.Output{{Name: "exit_code", Value: fmt.Sprint(code)}}
	worst := -1
	for i, e := range b {
		if e.Run != nil && (worst < 0 || diag.Graver(e.Run.Record.ExitCode, b[worst].Run.Record.ExitCode) < 0) {
			worst = i
		}
	}
	if worst < 0 {
		return out
	}
	run := b[worst].Run
	out = append(out, ci.Output{Name: "verdict", Value: string(run.Record.Verdict)}, ci.Output{Name: "claim", Value: run.Record.Claim})
	if s, ok := run.Record.Series.Metrics["rto"]; ok && s.Censored == 0 {
		out = append(out, ci.Output{Name: "rto_seconds", Value: fmt.Sprintf("%.3f", s.Max[1]/1000)})
	}
	return append(out,
		ci.Output{Name: "run", Value: run.Record.Run},
		ci.Output{Name: "record", Value: filepath.Join(run.Dir, reports.RecordFile)},
		ci.Output{Name: "report", Value: filepath.Join(run.Dir, "report.html")})
}
