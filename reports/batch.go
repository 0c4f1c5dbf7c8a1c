package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/dapple-drills/dapple/drills/verdict"
)

// An Entry is what became of one scenario of several.
type Entry struct {
	Scenario string // its file, as it was named
	Run      *Run   // nil if it was not drilled
	Skipped  string // why it was left out: it does not fit the system
	Err      string // why it was not drilled, or what went wrong besides its verdict
	Code     int    // its exit code; 0 of a skipped one
}

// A Batch is several scenarios that were drilled one after the other.
type Batch []Entry

// one is the batch of a single run.
func one(r Run) Batch {
	return Batch{{Scenario: r.Record.Drill.ScenarioFile, Run: &r, Code: r.Record.ExitCode}}
}

// runs are those that were drilled.
func (b Batch) runs() []*Run {
	var out []*Run
	for i := range b {
		if b[i].Run != nil {
			out = append(out, b[i].Run)
		}
	}
	return out
}

// outcome is the word for an entry: its verdict, or why there is none.
func (e Entry) outcome() string {
	switch {
	case e.Run != nil:
		return word(e.Run.Record.Verdict)
	case e.Skipped != "":
		return "SKIPPED"
	case e.Code == 3:
		return "REFUSED"
	}
	return "ERROR"
}

// says is what a table tells of an entry in one line.
func (e Entry) says() string {
	var s string
	switch {
	case e.Run != nil:
		s = sentence(&e.Run.Record)
	case e.Skipped != "":
		return oneLine(e.Skipped)
	}
	return oneLine(joinWords(" ", s, e.Err))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// TextTable writes a line per scenario for a terminal, and how many of each
// outcome there were.
func (b Batch) TextTable(w io.Writer, p Paint) error {
	t := &textWriter{paint: p}
	names := 8
	for _, e := range b {
		names = max(names, width(clean(e.Scenario)))
	}
	t.line(pad("outcome", 14), pad("scenario", names+2), "exit")
	for _, e := range b {
		o := e.outcome()
		v := verdict.Verdict(strings.ToLower(o))
		t.line(t.colour(verdictColour(v), o), strings.Repeat(" ", max(1, 14-width(o))), pad(clean(e.Scenario), names+2), fmt.Sprint(e.Code))
		t.wrap("    ", e.says())
	}
	t.line("")
	t.line(b.count())
	if _, err := io.WriteString(w, t.b.String()); err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	return nil
}

// count says how many scenarios came to what.
func (b Batch) count() string {
	n := map[string]int{}
	for _, e := range b {
		n[e.outcome()]++
	}
	var parts []string
	for _, o := range []string{"PASS", "FAIL", "ABORTED", "INVALID", "INCONCLUSIVE", "REFUSED", "ERROR", "SKIPPED"} {
		if n[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[o], strings.ToLower(o)))
		}
	}
	return plain(plural(int64(len(b)), "scenario")) + ": " + orText(strings.Join(parts, ", "), "nothing to do")
}

// Markdown writes the table of the batch, and below it each run, as long as they
// fit into limit bytes.
func (b Batch) Markdown(w io.Writer, limit int) error {
	m := &mdWriter{}
	if len(b) == 1 && b[0].Run != nil {
		m.run(b[0].Run)
	} else {
		m.batch(b)
		b.append(m, limit)
	}
	text := cut(m.b.String(), limit)
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("writing Markdown: %w", err)
	}
	return nil
}

func (m *mdWriter) batch(b Batch) {
	m.line("# ", b.count())
	var rows [][]string
	for _, e := range b {
		rto := "—"
		if e.Run != nil {
			if s, ok := e.Run.Record.Series.Metrics["rto"]; ok {
				rto = md(plain(spreadMax(s)))
			}
		}
		rows = append(rows, []string{"**" + e.outcome() + "**", md(e.Scenario), rto, fmt.Sprint(e.Code), md(e.says())})
	}
	m.table([]string{"Outcome", "Scenario", "RTO, at most", "Exit code", "What happened"}, rows)
}

func spreadMax(s verdict.Spread) string {
	if s.Censored > 0 {
		return atLeast(s.Max[0])
	}
	return within(s.Max[0], s.Max[1])
}

// append adds the runs, those with bad news first.
func (b Batch) append(m *mdWriter, limit int) {
	left := 0
	for _, bad := range []bool{true, false} {
		for _, r := range b.runs() {
			if (r.Record.Verdict != verdict.Pass) != bad {
				continue
			}
			one := &mdWriter{}
			one.line("")
			one.run(r)
			if m.b.Len()+one.b.Len() > limit-200 {
				left++
				continue
			}
			m.b.WriteString(one.b.String())
		}
	}
	if left > 0 {
		m.line("")
		m.line(plain(plural(int64(left), "report")), " did not fit: see report.md in the run directories.")
	}
}

// cut shortens Markdown at the end of a line.
func cut(s string, limit int) string {
	const note = "\n\nThe rest did not fit: see report.md and report.html in the run directory.\n"
	if len(s) <= limit {
		return s
	}
	s = s[:max(0, limit-len(note))]
	return s[:strings.LastIndexByte(s, '\n')+1] + note
}
