package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// GitHub shows at most so many annotations of one level for a step; what is
// beyond is told in one.
const maxAnnotations = 10

// An Annotation is a message at a line of a file, as GitHub shows it beside the
// change.
type Annotation struct {
	Level     string // error, warning or notice
	File      string
	Line, Col int // 0: of the file as a whole
	Title     string
	Text      string
}

// GitHub writes workflow commands by which a job of GitHub Actions shows what was
// missed, not proven or left, at the scenario's step. What was met it does not
// tell: that is in the summary.
func GitHub(w io.Writer, b Batch) error {
	var all []Annotation
	for _, e := range b {
		all = append(all, e.annotations()...)
	}
	return Annotate(w, all)
}

// Annotate writes annotations as workflow commands, at most ten of a level.
func Annotate(w io.Writer, all []Annotation) error {
	n, more := map[string]int{}, map[string]int{}
	total := map[string]int{}
	for _, a := range all {
		total[a.Level]++
	}
	for _, a := range all {
		if n[a.Level]++; n[a.Level] >= maxAnnotations && total[a.Level] > maxAnnotations {
			more[a.Level]++
			continue
		}
		if _, err := fmt.Fprintln(w, a.command()); err != nil {
			return fmt.Errorf("writing annotations: %w", err)
		}
	}
	for _, level := range []string{"error", "warning", "notice"} {
		if more[level] == 0 {
			continue
		}
		a := Annotation{Level: level, Title: "dapple", Text: fmt.Sprintf("and %d more of these: see the summary", more[level])}
		if _, err := fmt.Fprintln(w, a.command()); err != nil {
			return fmt.Errorf("writing annotations: %w", err)
		}
	}
	return nil
}

// command is the annotation as the runner reads it
// (https://github.com/actions/toolkit, packages/core/src/command.ts).
func (a Annotation) command() string {
	var props []string
	add := func(name, value string) {
		if value != "" {
			props = append(props, name+"="+escapeProperty(value))
		}
	}
	add("file", a.File)
	if a.Line > 0 && a.File != "" {
		add("line", fmt.Sprint(a.Line))
		if a.Col > 0 {
			add("col", fmt.Sprint(a.Col))
		}
	}
	add("title", plain(cleanLines(a.Title)))
	return "::" + a.Level + " " + strings.Join(props, ",") + "::" + escapeData(plain(cleanLines(a.Text)))
}

// cleanLines is clean, line by line: a message may have several.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

func escapeData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func escapeProperty(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}

// annotations are what is to be told of an entry.
func (e Entry) annotations() []Annotation {
	if e.Run == nil {
		if e.Skipped != "" {
			return []Annotation{{Level: "notice", File: e.Scenario, Line: 1, Title: "skipped", Text: e.Skipped}}
		}
		return []Annotation{{Level: "error", File: e.Scenario, Line: 1, Title: "not drilled", Text: e.Err}}
	}
	rec := &e.Run.Record
	at := func(level, title, text string) Annotation {
		a := Annotation{Level: level, File: rec.Drill.ScenarioFile, Title: joinWords(": ", orText(rec.Drill.Name, "drill"), title), Text: text}
		if len(rec.Scenario.Steps) > 0 {
			a.Line, a.Col = rec.Scenario.Steps[0].Line, rec.Scenario.Steps[0].Col
		}
		return a
	}
	var out []Annotation
	for _, t := range rec.Trials {
		for _, l := range t.Leftovers {
			out = append(out, at("error", "still in place, a person must act", joinWords(" on ", l.What, l.Node)+"\n"+l.Command))
		}
	}
	for _, r := range rows(rec) {
		text := joinWords(", ", "got "+orText(r.Got, "nothing"), "wanted "+orText(r.Want, "nothing"), r.Margin)
		if len(rec.Trials) > 1 {
			text += fmt.Sprintf(" (trial %d)", r.Trial)
		}
		switch r.Outcome {
		case verdict.Missed:
			out = append(out, at("error", r.Label+" missed", joinWords("\n", text, r.Text)))
		case verdict.Unproven:
			out = append(out, at("warning", r.Label+" not proven", joinWords("\n", text, r.Text)))
		}
	}
	return append(out, verdictAnnotation(rec, at, len(out))...)
}

// verdictAnnotation tells a verdict that no objective has told, and the trials
// that do not count in a series that has one.
func verdictAnnotation(rec *drills.Record, at func(level, title, text string) Annotation, told int) []Annotation {
	switch {
	case rec.Verdict == verdict.Fail, rec.Verdict == verdict.Inconclusive:
		if told > 0 {
			return nil
		}
	case rec.Verdict == verdict.Pass:
		for _, t := range rec.Trials {
			if n := rec.Series.Invalid; t.Verdict == verdict.Invalid {
				return []Annotation{at("warning", plain(plural(int64(n), "invalid trial")), fmt.Sprintf("trial %d: %s\n%s", t.N, t.Reason, explain(t.Verdict)))}
			}
		}
		return nil
	}
	level := "warning"
	if rec.Verdict == verdict.Fail || rec.Verdict == verdict.Aborted {
		level = "error"
	}
	return []Annotation{at(level, string(rec.Verdict), joinWords("\n", sentence(rec), explain(rec.Verdict)))}
}
