package reports

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// Paint says whether a text may hold terminal colours. A caller decides it: off
// where NO_COLOR is set or the output is no terminal.
type Paint int

const (
	Plain    Paint = iota // no escape sequences at all
	Coloured              // the sixteen colours of the terminal's theme
)

// columns is the width of a report on a terminal: what every terminal has.
const columns = 80

// Text writes what a person sees at the end of a run: the verdict first, then
// what was wanted and got, as intervals, and the trial that weighs most.
func Text(w io.Writer, r Run, p Paint) error {
	t := &textWriter{paint: p}
	t.run(&r)
	_, err := io.WriteString(w, t.b.String())
	if err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	return nil
}

type textWriter struct {
	b     strings.Builder
	paint Paint
}

func (t *textWriter) run(r *Run) {
	rec := &r.Record
	t.line(t.colour(verdictColour(rec.Verdict), word(rec.Verdict)), "  ", clean(rec.Drill.Name), " on ", clean(rec.System.Name))
	t.wrap("", sentence(rec))
	t.wrap("", clean(rec.Claim))
	t.wrap("", explain(rec.Verdict))
	t.leftovers(rec)
	t.objectives(rec)
	if len(rec.Trials) > 1 {
		t.series(rec)
	}
	vs := views(r)
	if len(vs) > 0 {
		t.trial(rec, &vs[worst(rec.Trials)])
	}
	t.line("")
	t.line("run ", clean(rec.Run))
	if r.Dir != "" {
		t.line("in  ", clean(r.Dir))
	}
}

func (t *textWriter) line(parts ...string) {
	for _, p := range parts {
		t.b.WriteString(strings.ReplaceAll(p, nbsp, " "))
	}
	t.b.WriteByte('\n')
}

// clean takes from a name or a reply what would steer a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) {
			return '·'
		}
		return r
	}, s)
}

// wrap writes s in lines of at most 80 columns, each after the indent.
func (t *textWriter) wrap(indent, s string) {
	line := ""
	for _, w := range strings.FieldsFunc(clean(s), func(r rune) bool { return r == ' ' || r == '\n' }) {
		if line != "" && width(indent)+width(line)+1+width(w) > columns {
			t.line(indent, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+w, " ")
	}
	if line != "" {
		t.line(indent, line)
	}
}

func width(s string) int { return utf8.RuneCountInString(s) }

// pad fills s with spaces up to n columns; what is longer is kept.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-width(s))) }

func (t *textWriter) leftovers(rec *drills.Record) {
	var left []verdict.Left
	for _, tr := range rec.Trials {
		left = append(left, tr.Leftovers...)
	}
	if len(left) == 0 {
		return
	}
	t.line("")
	t.line(t.colour(red, "STILL IN PLACE: a person must act"))
	for _, l := range left {
		t.wrap("  ", joinWords(" on ", l.What, l.Node))
		t.line("    ", clean(l.Command))
	}
}

func (t *textWriter) objectives(rec *drills.Record) {
	rs := rows(rec)
	if len(rs) == 0 {
		return
	}
	wanted := 10
	for _, r := range rs {
		wanted = max(wanted, width(clean(r.Want)))
	}
	wanted++
	t.line("")
	t.line(pad("outcome", 9), pad("objective", 13), pad("wanted", wanted), "got")
	for _, r := range rs {
		got := r.Got
		if m := lastSpan(r); m.Known {
			got = m.within()
		}
		got = joinWords(", ", got, r.Margin)
		if len(r.Spans) > 1 {
			got += fmt.Sprintf(" (trial %d)", r.Trial)
		}
		if r.Outcome != verdict.Met {
			got = joinWords(": ", got, r.Text)
		}
		head := pad(outcomeShort(r.Outcome), 9)
		t.hang(t.outcome(r.Outcome, head), pad(lowerLabel(r.Label), 13)+pad(clean(r.Want), wanted), got)
	}
}

// hang writes head and lead, and then s beside them, wrapped below its begin.
func (t *textWriter) hang(head, lead, s string) {
	in := &textWriter{}
	in.wrap(strings.Repeat(" ", 9+width(lead)), s)
	first, rest, _ := strings.Cut(in.b.String(), "\n")
	t.line(head, lead, strings.TrimLeft(first, " "))
	t.b.WriteString(rest)
}

func outcomeShort(o verdict.Outcome) string {
	switch o {
	case verdict.Missed:
		return "MISSED"
	case verdict.Unproven:
		return "unproven"
	}
	return outcomeWord(o)
}

func (t *textWriter) series(rec *drills.Record) {
	ss := spreads(rec)
	if len(ss) == 0 {
		return
	}
	t.line("")
	head := fmt.Sprintf("%d trials", rec.Series.N)
	if rec.Series.Invalid > 0 {
		head += fmt.Sprintf(" (+%d inv.)", rec.Series.Invalid)
	}
	t.line(pad(head, 19), pad("min", 20), pad("median", 20), "max")
	for _, s := range ss {
		x := s.Spread
		t.line(pad(lowerLabel(s.Metric.Label), 19), pad(within(x.Min[0], x.Min[1]), 20), pad(within(x.Median[0], x.Median[1]), 20), s.within())
	}
}

func (t *textWriter) trial(rec *drills.Record, v *trialView) {
	t.line("")
	head := ""
	if len(rec.Trials) > 1 {
		head = fmt.Sprintf("trial %d: ", v.T.N)
	}
	t.wrap("", head+joinWords(" · ", word(v.T.Verdict), trialHead(v.T)))
	if v.T.Reason != "" && len(rec.Trials) > 1 { // of a single one it stands on top
		t.wrap("  ", sentenceCase(v.T.Reason))
	}
	t.fall(rec, v.T)
	t.lanes(v)
	t.marks(v)
	for _, f := range laws(v.T) {
		if f.Outcome == verdict.Met {
			continue
		}
		name := "finding"
		if f.Severity == "warning" {
			name = "warning"
		}
		t.wrap("  ", name+", "+lowerLabel(label(f.Objective))+": "+joinWords("; wanted ", joinWords(": ", f.Got, f.Text), f.Want))
	}
}

// fall shows the parts of the failover one after the other.
func (t *textWriter) fall(rec *drills.Record, tr *verdict.Trial) {
	rs := waterfall(rec, tr)
	if len(rs) == 0 {
		return
	}
	top := 0.0
	for _, r := range rs {
		top = max(top, r.Reading.Hi)
	}
	const bar = 24
	at := 0.0
	for _, r := range rs {
		if !r.Reading.Known {
			continue
		}
		from, n := int(at/top*bar), max(1, int(r.Reading.mid()/top*bar+0.5))
		if r.Total {
			from = 0
		} else {
			at += max(0, r.Reading.mid())
		}
		from = min(from, bar-1)
		picture := strings.Repeat(" ", from) + strings.Repeat("▬", min(n, bar-from))
		line := "  " + pad(lowerLabel(r.Metric.Label), 11) + pad(r.Reading.within(), 19) + pad(picture, bar+1)
		if r.Expected != nil {
			line += joinWords(" ", between(r.Expected.MinMS, r.Expected.MaxMS), short(r.Expected.Class))
		}
		t.line(strings.TrimRight(line, " "))
	}
}

// short is the class of an expectation in a column's width.
func short(class string) string {
	switch class {
	case "inside":
		return "ok"
	case "faster than min":
		return "fast"
	case "slower than max":
		return "slow"
	}
	return ""
}
