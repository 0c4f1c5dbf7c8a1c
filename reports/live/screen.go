package live

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/dapple-drills/dapple/probes"
)

const (
	labelWidth  = 10
	statusWidth = 22
)

// View draws the screen: never more lines or columns than it has.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.screen(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "dapple: " + clean(m.facts.Scenario)
	return v
}

func (m *model) screen() []string {
	lines := append(m.head(), "")
	lines = append(lines, m.body()...)
	lines = append(lines, "")
	foot := faint.Render("Ctrl-C: take the fault back and stop")
	if room := m.height - len(lines) - 1; room > 0 {
		lines = append(lines, m.log[max(0, len(m.log)-room):]...)
	}
	lines = lines[:min(len(lines), m.height-1)]
	for i := range lines {
		lines[i] = lipgloss.NewStyle().MaxWidth(m.width).Render(lines[i])
	}
	return append(lines, lipgloss.NewStyle().MaxWidth(m.width).Render(foot))
}

func (m *model) head() []string {
	left := bold.Render(clean(m.facts.Scenario)) + faint.Render(" on "+clean(m.facts.System)+" ("+clean(m.facts.Kind)+")")
	right := instant(m.now)
	if m.facts.Trials > 1 {
		right = fmt.Sprintf("trial %d of %d  %s", max(1, m.trial), m.facts.Trials, right)
	}
	gap := max(1, m.width-lipgloss.Width(left)-lipgloss.Width(right))
	return []string{left + strings.Repeat(" ", gap) + right, m.progress()}
}

// progress is the phase, how far it is, and what comes next.
func (m *model) progress() string {
	if m.phase == "" {
		return faint.Render("getting ready")
	}
	s := bold.Render(m.phase)
	if _, p := m.planned(m.phase); p.For > 0 {
		const cells = 20
		gone := m.now - m.since
		full := int(min(1, float64(gone)/float64(p.For)) * cells)
		s += " " + strings.Repeat("█", full) + faint.Render(strings.Repeat("░", cells-full)) + fmt.Sprintf(" %s of %s", instant(gone), instant(p.For))
	}
	if next := m.ahead(); next != "" {
		s += faint.Render("  next: " + next)
	}
	return s
}

func (m *model) cells() int { return max(8, m.width-labelWidth-statusWidth) }

func (m *model) body() []string {
	var out []string
	out = append(out, m.row("phase", m.phases(), ""))
	if cs := m.lanes["fault"]; len(cs) > 0 {
		out = append(out, m.row("fault", m.lane(cs), last(cs).what))
	}
	for _, class := range []string{"app", "fresh"} {
		if cs := m.client(class); len(cs) > 0 {
			out = append(out, m.row(class, m.lane(cs), m.clientStatus(class)))
		}
	}
	if len(m.rates) > 0 {
		r := m.rates[len(m.rates)-1]
		status := fmt.Sprintf("%.0f/s", r.acked)
		if r.failed > 0 {
			status += red.Render(fmt.Sprintf(" %.0f/s not", r.failed))
		}
		out = append(out, m.row("writes/s", m.spark(), status))
	}
	for _, name := range m.named("leader ") {
		status := "no leader"
		if l := last(m.lanes[name]).what; l != "" {
			status = l + " leads"
		}
		out = append(out, m.row("leader", m.lane(m.lanes[name]), status))
	}
	for _, n := range m.facts.Nodes {
		cs := m.lanes["node "+n.Name]
		out = append(out, m.row(n.Name, m.lane(cs), last(cs).what))
	}
	return out
}

func (m *model) row(label, cells, status string) string {
	return fmt.Sprintf("%-*s%s  %s", labelWidth, clip(clean(label), labelWidth-1), cells, status)
}

func last(cs []change) change {
	if len(cs) == 0 {
		return change{}
	}
	return cs[len(cs)-1]
}

func (m *model) named(prefix string) []string {
	var out []string
	for name := range m.lanes {
		if strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out[:min(len(out), 2)] // more observers say the same
}

// client joins the streams of a class: it fails while any of them does.
func (m *model) client(class string) []change {
	var all []change
	states := map[string]string{}
	type turn struct {
		change
		by string
	}
	var turns []turn
	for name, cs := range m.lanes {
		if name == class || strings.HasPrefix(name, class+"/") {
			for _, c := range cs {
				turns = append(turns, turn{c, name})
			}
		}
	}
	slices.SortFunc(turns, func(a, b turn) int {
		if a.at != b.at {
			return int(min(1, max(-1, a.at-b.at)))
		}
		return strings.Compare(a.by, b.by)
	})
	for _, t := range turns {
		states[t.by] = t.what
		worst := ""
		for _, s := range states {
			if weight(s) > weight(worst) || weight(s) == weight(worst) && s > worst {
				worst = s
			}
		}
		if last(all).what != worst {
			all = append(all, change{t.at, worst})
		}
	}
	return all
}

func (m *model) clientStatus(class string) string {
	if d := m.tell.since[class]; d > 0 {
		return red.Render("failing for " + instant(max(0, m.now-d)))
	}
	return green.Render("succeeding")
}

// lane draws states over the whole span; what is still to come stays empty.
func (m *model) lane(cs []change) string {
	n, span := m.cells(), m.span()
	column := func(d time.Duration) int { return int(float64(d) / float64(span) * float64(n)) }
	states, set := make([]string, n), make([]bool, n)
	for i, c := range cs {
		end := m.now
		if i+1 < len(cs) {
			end = cs[i+1].at
		}
		for k := max(0, column(c.at)); k <= column(end) && k < n; k++ {
			if !set[k] || weight(c.what) >= weight(states[k]) {
				states[k], set[k] = c.what, true
			}
		}
	}
	return paint(states, set)
}

func paint(states []string, set []bool) string {
	var b strings.Builder
	for i := 0; i < len(states); {
		j := i
		for j < len(states) && states[j] == states[i] && set[j] == set[i] {
			j++
		}
		switch glyph, style := look(states[i]); {
		case !set[i]:
			b.WriteString(faint.Render(strings.Repeat("·", j-i)))
		default:
			b.WriteString(style.Render(strings.Repeat(glyph, j-i)))
		}
		i = j
	}
	return b.String()
}

// look is how a state is drawn: each by a character of its own, so that colour
// only helps.
func look(what string) (string, lipgloss.Style) {
	switch what {
	case "":
		return " ", faint
	case string(probes.Primary):
		return "█", blue
	case string(probes.Replica):
		return "─", blue
	case string(probes.None):
		return "╌", yellow
	case string(probes.Silent), string(probes.Failed):
		return "×", red
	case string(probes.Acked):
		return "━", green
	case string(probes.Degraded):
		return "~", yellow
	case string(probes.Unknown):
		return "?", yellow
	}
	if strings.Contains(what, " ") { // a fault: "killed pg1"
		return "▓", magenta
	}
	return "━", faint // a leader's name
}

// phases marks where each phase begins, with its name where there is room.
func (m *model) phases() string {
	n, span := m.cells(), m.span()
	column := func(d time.Duration) int { return min(n, int(float64(d)/float64(span)*float64(n))) }
	line := []rune(strings.Repeat("·", n))
	for i, c := range m.began {
		end := n
		if i+1 < len(m.began) {
			end = column(m.began[i+1].at)
		}
		copy(line[column(c.at):end], []rune("|"))
		if name := []rune("|" + clean(c.what)); len(name) <= end-column(c.at) {
			copy(line[column(c.at):], name)
		}
	}
	return faint.Render(string(line))
}

// spark draws the acknowledged writes per second on the same axis.
func (m *model) spark() string {
	const steps = "▁▂▃▄▅▆▇█"
	n, span := m.cells(), m.span()
	sums, counts, fails := make([]float64, n), make([]int, n), make([]bool, n)
	top := 1.0
	for _, r := range m.rates {
		if k := int(float64(r.at) / float64(span) * float64(n)); k < n {
			sums[k] += r.acked
			counts[k]++
			fails[k] = fails[k] || r.failed > 0
			top = max(top, r.acked)
		}
	}
	var b strings.Builder
	height := 0.0
	for k := range sums {
		if counts[k] > 0 {
			height = sums[k] / float64(counts[k])
		} else if float64(k) > float64(m.now)/float64(span)*float64(n) {
			b.WriteString(faint.Render("·"))
			continue
		}
		glyphs := []rune(steps)
		g := string(glyphs[int(height/top*float64(len(glyphs)-1)+0.5)])
		if fails[k] {
			b.WriteString(red.Render(g))
		} else {
			b.WriteString(green.Render(g))
		}
	}
	return b.String()
}
