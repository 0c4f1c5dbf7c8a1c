package reports

import (
	"fmt"
	"io"
	"math"
)

// Text writes the comparison for a terminal.
func (c Comparison) Text(w io.Writer, p Paint) error {
	t := &textWriter{paint: p}
	for _, s := range []struct {
		name string
		Side
	}{{"before", c.Before}, {"after", c.After}} {
		t.line(pad(s.name, 8), t.colour(verdictColour(s.Verdict), word(s.Verdict)), "  ", clean(s.Drill), " on ", clean(s.System))
		t.wrap("        ", fmt.Sprintf("run %s, %s, %s", s.Run, s.Started, plain(plural(int64(s.N), "trial that counts"))))
	}
	for _, d := range c.Doubts {
		t.wrap("", "Doubt: "+d+".")
	}
	t.line("")
	if len(c.Changed) == 0 {
		t.line("nothing was changed")
	}
	for _, x := range c.Changed {
		t.wrap("", fmt.Sprintf("%s %s: %s → %s", x.What, x.Name, orAbsent(x.Before), orAbsent(x.After)))
	}
	t.line("")
	t.line(pad("metric", 16), pad("before", 20), pad("after", 20), "difference")
	for _, m := range c.Metrics {
		t.line(pad(m.Label, 16), pad(m.span(m.Before), 20), pad(m.span(m.After), 20), m.delta())
		t.wrap("                ", m.says())
	}
	for _, r := range c.counts() {
		t.line(pad(r[0], 16), pad(r[1], 20), pad(r[2], 20), r[3])
	}
	if _, err := io.WriteString(w, t.b.String()); err != nil {
		return fmt.Errorf("writing the comparison: %w", err)
	}
	return nil
}

// Markdown writes the comparison for a pull request.
func (c Comparison) Markdown(w io.Writer) error {
	m := &mdWriter{}
	m.line("# ", md(c.Before.Drill), ": before and after")
	var sides [][]string
	for _, s := range []Side{c.Before, c.After} {
		sides = append(sides, []string{md(s.Run), word(s.Verdict), md(s.System), md(s.Started), fmt.Sprint(s.N), md(s.Claim)})
	}
	m.table([]string{"Run", "Verdict", "System", "Started", "Trials", "Claim"}, sides)
	for _, d := range c.Doubts {
		m.line("")
		m.line("**Doubt:** ", md(d), ".")
	}
	var changed [][]string
	for _, x := range c.Changed {
		changed = append(changed, []string{x.What, md(x.Name), md(orAbsent(x.Before)), md(orAbsent(x.After))})
	}
	m.line("")
	m.line("## Changed")
	if len(changed) > 0 {
		m.table([]string{"What", "Name", "Before", "After"}, changed)
	} else {
		m.line("")
		m.line("Nothing.")
	}
	m.line("")
	m.line("## Measured")
	var rows [][]string
	for _, d := range c.Metrics {
		rows = append(rows, []string{d.Label, d.span(d.Before), d.span(d.After), d.delta(), md(d.says())})
	}
	for _, r := range c.counts() {
		rows = append(rows, []string{r[0], r[1], r[2], r[3], ""})
	}
	m.table([]string{"Metric (median)", "Before", "After", "Difference", "Call"}, rows)
	if _, err := io.WriteString(w, plain(m.b.String())); err != nil {
		return fmt.Errorf("writing the comparison: %w", err)
	}
	return nil
}

func orAbsent(s *string) string {
	if s == nil {
		return "(absent)"
	}
	return orText(*s, "(empty)")
}

// span is one side of a metric.
func (d MetricDiff) span(of *[2]float64) string {
	switch {
	case of == nil:
		return "—"
	case of[1] >= largest/2:
		return atLeast(of[0])
	}
	return within(of[0], of[1])
}

// delta is after minus before.
func (d MetricDiff) delta() string {
	if d.DeltaMS == nil {
		return "—"
	}
	lo, hi := d.DeltaMS[0], d.DeltaMS[1]
	switch {
	case math.Abs(lo) >= largest/2 && math.Abs(hi) >= largest/2:
		return "no bound"
	case hi >= largest/2:
		return "at least " + signed(lo)
	case lo <= -largest/2:
		return "at most " + signed(hi)
	case lo > 0:
		return within(lo, hi) + " more"
	case hi < 0:
		return within(-hi, -lo) + " less"
	}
	return within(lo, hi)
}

func signed(ms float64) string {
	if ms > 0 {
		return "+" + duration(ms)
	}
	return duration(ms)
}

// says is the call with its reason.
func (d MetricDiff) says() string {
	n := fmt.Sprintf("%d and %d trials", d.N[0], d.N[1])
	if d.N == [2]int{1, 1} {
		n = "one trial each"
	} else if d.P != nil && d.Call != CallSame {
		n += fmt.Sprintf(", p ≤ %.2g", *d.P)
	}
	if d.Call == CallApart {
		return fmt.Sprintf("%s, but chance is not excluded (%s)", d.Call, n)
	}
	return fmt.Sprintf("%s (%s)", d.Call, n)
}

// counts are what is no duration.
func (c Comparison) counts() [][4]string {
	lost := func(n *int64) string {
		if n == nil {
			return "no audit"
		}
		return count(*n)
	}
	differ := func(same bool) string {
		if same {
			return "the same"
		}
		return "differs"
	}
	a, b := lost(c.Lost[0]), lost(c.Lost[1])
	return [][4]string{
		{"Lost writes", a, b, differ(a == b)},
		{"Split-brain", levelWords(c.Split[0]), levelWords(c.Split[1]), differ(c.Split[0] == c.Split[1])},
	}
}
