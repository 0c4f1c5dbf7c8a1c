package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// Markdown writes the run for a pull request or a wiki: GitHub's dialect, no
// HTML, small enough for a job summary (64 KiB; see Write's callers).
func Markdown(w io.Writer, r Run) error {
	m := &mdWriter{}
	m.run(&r)
	if _, err := io.WriteString(w, m.b.String()); err != nil {
		return fmt.Errorf("writing Markdown: %w", err)
	}
	return nil
}

// maxMarkdownTrials bounds how many trials are told one by one.
const maxMarkdownTrials = 20

type mdWriter struct{ b strings.Builder }

func (m *mdWriter) line(parts ...string) {
	for _, p := range parts {
		m.b.WriteString(p)
	}
	m.b.WriteByte('\n')
}

// md escapes what Markdown, or HTML within it, would take for its own.
func md(s string) string {
	return strings.NewReplacer("\\", "\\\\", "|", "\\|", "<", "&lt;", ">", "&gt;", "&", "&amp;", "*", "\\*", "_", "\\_", "`", "\\`",
		"[", "\\[", "]", "\\]", "#", "\\#", "~", "\\~", "!", "\\!", "@", "&#64;", "\n", " ", "://", ":&#47;/").Replace(clean(s))
}

// code writes s as it is, in a code span that its backticks cannot end.
func code(s string) string {
	s = strings.ReplaceAll(clean(s), "|", "¦")
	if strings.Contains(s, "`") {
		return "`` " + strings.ReplaceAll(s, "``", "` `") + " ``"
	}
	return "`" + s + "`"
}

func (m *mdWriter) table(head []string, rows [][]string) {
	m.line("")
	m.line("| ", strings.Join(head, " | "), " |")
	m.line("|", strings.Repeat(" --- |", len(head)))
	for _, r := range rows {
		m.line("| ", strings.Join(r, " | "), " |")
	}
}

func (m *mdWriter) run(r *Run) {
	rec := &r.Record
	m.line("# ", word(rec.Verdict), ": ", md(rec.Drill.Name), " on ", md(rec.System.Name))
	for _, s := range []string{sentence(rec), rec.Claim, explain(rec.Verdict)} {
		if s != "" {
			m.line("")
			m.line(md(s))
		}
	}
	m.leftovers(rec)
	m.objectives(rec)
	m.series(rec)
	vs := views(r)
	if len(vs) > 0 {
		m.trial(rec, &vs[worst(rec.Trials)])
	}
	m.trials(rec)
	m.system(rec)
}

func (m *mdWriter) leftovers(rec *drills.Record) {
	var rows [][]string
	for _, t := range rec.Trials {
		for _, l := range t.Leftovers {
			rows = append(rows, []string{md(l.What), md(l.Node), code(l.Command)})
		}
	}
	if len(rows) > 0 {
		m.line("")
		m.line("## Still in place: a person must act")
		m.table([]string{"What", "Node", "Run this"}, rows)
	}
}

func (m *mdWriter) objectives(rec *drills.Record) {
	var out [][]string
	for _, r := range rows(rec) {
		o := outcomeWord(r.Outcome)
		if r.Outcome == verdict.Missed {
			o = "**missed**"
		}
		got := md(r.Got)
		if len(r.Spans) > 1 {
			got += fmt.Sprintf(" (trial %d)", r.Trial)
		}
		if r.Text != "" && r.Outcome != verdict.Met {
			got += " " + md(r.Text)
		}
		out = append(out, []string{md(r.Label), md(r.Want), got, r.Margin, o, events(r.Events)})
	}
	if len(out) > 0 {
		m.table([]string{"Objective", "Wanted", "Got", "Margin", "Outcome", "Events"}, out)
	}
}

func events(is []int) string {
	const shown = 4
	parts := make([]string, 0, shown)
	for _, i := range is[:min(len(is), shown)] {
		parts = append(parts, fmt.Sprint(i))
	}
	if n := len(is) - shown; n > 0 {
		parts = append(parts, fmt.Sprintf("+%d", n))
	}
	return strings.Join(parts, ", ")
}

func (m *mdWriter) series(rec *drills.Record) {
	if len(rec.Trials) < 2 {
		return
	}
	var out [][]string
	for _, s := range spreads(rec) {
		want := ""
		if s.Expect != nil {
			want = between(s.Expect.MinMS, s.Expect.MaxMS)
		}
		out = append(out, []string{s.Metric.Label, fmt.Sprint(s.Spread.N), s.Min(), s.Median(), s.Max(), want})
	}
	if len(out) > 0 {
		m.line("")
		m.line("## All trials")
		m.table([]string{"Metric", "n", "Min", "Median", "Max", "Expected"}, out)
	}
}

func (m *mdWriter) trial(rec *drills.Record, v *trialView) {
	t := &textWriter{}
	t.trial(rec, v)
	m.line("")
	m.line("## The trial that weighs most")
	m.line("")
	for l := range strings.Lines(strings.TrimLeft(t.b.String(), "\n")) {
		m.line("    ", strings.TrimRight(l, "\n")) // indented: no fence that a name could end
	}
}

func (m *mdWriter) trials(rec *drills.Record) {
	if len(rec.Trials) < 2 {
		return
	}
	var out [][]string
	for i := range rec.Trials[:min(len(rec.Trials), maxMarkdownTrials)] {
		t := &rec.Trials[i]
		out = append(out, []string{fmt.Sprint(t.N), word(t.Verdict), md(trialHead(t)), md(t.Reason)})
	}
	m.table([]string{"Trial", "Verdict", "What happened", "Reason"}, out)
	if n := len(rec.Trials) - maxMarkdownTrials; n > 0 {
		m.line("")
		m.line("and ", plural(int64(n), "trial"), " more, in record.json.")
	}
}

func (m *mdWriter) system(rec *drills.Record) {
	var out [][]string
	for _, p := range append(facts(rec), pair{"Run", rec.Run}, pair{"dapple", rec.Dapple.Version}, pair{"Scenario sha256", rec.Drill.ScenarioSHA256}) {
		if p.Value != "" {
			out = append(out, []string{md(p.Key), md(p.Value)})
		}
	}
	for _, p := range system(rec) {
		out = append(out, []string{md(p.Key), md(p.Value)})
	}
	m.line("")
	m.line("## System and origin")
	m.table([]string{"", ""}, out)
	for i, n := range rec.Notes {
		if i == 0 {
			m.line("")
		}
		m.line("- ", md(n))
	}
}
