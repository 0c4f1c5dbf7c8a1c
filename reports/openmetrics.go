package reports

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// OpenMetrics writes gauges for a textfile collector: what was measured, as
// bounds, whether each objective was met, and when. The subset of OpenMetrics is
// the one that readers of the older Prometheus text format take as well.
func OpenMetrics(w io.Writer, b Batch) error { return writeMetrics(w, b, families()) }

// GitLab writes the same for a GitLab metrics report, which shows in a merge
// request what has changed: without what changes every time.
func GitLab(w io.Writer, b Batch) error {
	return writeMetrics(w, b, slices.DeleteFunc(families(), func(f family) bool { return f.volatile }))
}

// A family is one metric of the file with the samples of a record.
type family struct {
	name, help string
	volatile   bool // it changes with every run
	samples    func(rec *drills.Record) []sample
}

type sample struct {
	labels []string // name, value, name, value …
	value  float64
}

const secondsPerMS = 1.0 / 1000

func families() []family {
	return []family{
		{"dapple_drill_verdict", "1 for the verdict that the drill came to, 0 for the others.", false, verdictSamples},
		{"dapple_drill_objective_met", "1 if the declared objective was met in every trial that counts, 0 if it was missed in one; absent if it was not proven.", false, metSamples},
		{"dapple_drill_objective_limit_seconds", "The declared bound of an objective.", false, limitSamples},
		{"dapple_drill_seconds", "What was measured, over the trials that count: the bounds of the median and of the largest value.", false, spreadSamples},
		{"dapple_drill_lost_writes", "Acknowledged writes that were missing at the audit, in all trials that count.", false, lostSamples},
		{"dapple_drill_split_brain_level", "The highest proven level: 0 none, 1 dual claim, 2 dual writable, 3 divergent.", false, splitSamples},
		{"dapple_drill_trials", "How many trials came to each verdict.", false, trialSamples},
		{"dapple_drill_leftovers", "Traces that are still in place: a person must act.", false, leftSamples},
		{"dapple_drill_exit_code", "The exit code of the drill.", false, func(rec *drills.Record) []sample { return []sample{{nil, float64(rec.ExitCode)}} }},
		{"dapple_drill_finished_timestamp_seconds", "When the drill ended.", true, finishedSamples},
	}
}

func writeMetrics(w io.Writer, b Batch, fs []family) error {
	out := bufio.NewWriter(w)
	for _, f := range fs {
		head := fmt.Sprintf("# HELP %s %s\n# TYPE %s gauge\n", f.name, f.help, f.name)
		for _, r := range b.runs() {
			own := []string{"drill", orText(r.Record.Drill.Name, "drill"), "system", r.Record.System.Name}
			for _, s := range f.samples(&r.Record) {
				fmt.Fprintf(out, "%s%s{%s} %s\n", head, f.name, labels(append(slices.Clone(own), s.labels...)), openNumber(s.value))
				head = ""
			}
		}
	}
	fmt.Fprintln(out, "# EOF")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	return nil
}

func labels(pairs []string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		parts = append(parts, pairs[i]+`="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(clean(pairs[i+1]))+`"`)
	}
	return strings.Join(parts, ",")
}

func openNumber(v float64) string {
	if v > largest {
		return "+Inf"
	}
	return strings.TrimSuffix(strings.TrimRight(fix(v, 6), "0"), ".")
}

func verdicts() []verdict.Verdict {
	return []verdict.Verdict{verdict.Pass, verdict.Fail, verdict.Inconclusive, verdict.Invalid, verdict.Aborted}
}

func verdictSamples(rec *drills.Record) (out []sample) {
	for _, v := range verdicts() {
		is := 0.0
		if rec.Verdict == v {
			is = 1
		}
		out = append(out, sample{[]string{"verdict", string(v)}, is})
	}
	return out
}

func trialSamples(rec *drills.Record) (out []sample) {
	for _, v := range verdicts() {
		n := 0.0
		for _, t := range rec.Trials {
			if t.Verdict == v {
				n++
			}
		}
		out = append(out, sample{[]string{"verdict", string(v)}, n})
	}
	return out
}

func metSamples(rec *drills.Record) (out []sample) {
	if len(counted(rec.Trials)) == 0 {
		return nil
	}
	for _, r := range rows(rec) {
		switch r.Outcome {
		case verdict.Met:
			out = append(out, sample{[]string{"objective", r.Objective}, 1})
		case verdict.Missed:
			out = append(out, sample{[]string{"objective", r.Objective}, 0})
		}
	}
	return out
}

func limitSamples(rec *drills.Record) (out []sample) {
	for _, name := range objectives() {
		if l := limit(rec.Objectives, name); l != nil {
			out = append(out, sample{[]string{"objective", name}, *l * secondsPerMS})
		}
	}
	return out
}

// spreadSamples are the bounds; a largest value that our own revert cut short has
// no upper one.
func spreadSamples(rec *drills.Record) (out []sample) {
	for _, m := range metrics() {
		s, ok := rec.Series.Metrics[m.Name]
		if !ok {
			continue
		}
		add := func(of, bound string, v float64) {
			out = append(out, sample{[]string{"metric", m.Name, "of", of, "bound", bound}, v})
		}
		top := s.Max[1] * secondsPerMS
		if s.Censored > 0 {
			top = 2 * largest
		}
		add("median", "lower", s.Median[0]*secondsPerMS)
		add("median", "upper", s.Median[1]*secondsPerMS)
		add("max", "lower", s.Max[0]*secondsPerMS)
		add("max", "upper", top)
	}
	return out
}

func lostSamples(rec *drills.Record) []sample {
	lost, known := 0.0, false
	for _, t := range counted(rec.Trials) {
		if l := t.Metrics.Loss; l != nil {
			lost, known = lost+float64(l.Lost), true
		}
	}
	if !known {
		return nil
	}
	return []sample{{nil, lost}}
}

func splitSamples(rec *drills.Record) []sample {
	trials := counted(rec.Trials)
	if len(trials) == 0 {
		return nil
	}
	level := 0
	for _, t := range trials {
		level = max(level, t.Metrics.SplitBrain.Level)
	}
	return []sample{{nil, float64(level)}}
}

func leftSamples(rec *drills.Record) []sample {
	n := 0
	for _, t := range rec.Trials {
		n += len(t.Leftovers)
	}
	return []sample{{nil, float64(n)}}
}

func finishedSamples(rec *drills.Record) []sample {
	if rec.Finished.IsZero() {
		return nil
	}
	return []sample{{nil, float64(rec.Finished.UnixMilli()) * secondsPerMS}}
}
