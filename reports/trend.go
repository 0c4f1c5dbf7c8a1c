package reports

import (
	_ "embed" // the template of trends
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/trend"
)

//go:embed trend.html.tmpl
var trendTemplate string

// TrendJSON writes the trends for a program.
func TrendJSON(w io.Writer, t trend.Trends) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(t); err != nil {
		return fmt.Errorf("writing the trends: %w", err)
	}
	return nil
}

// TrendText writes them for a terminal: a line for each record, and what got worse.
func TrendText(w io.Writer, t trend.Trends) error {
	var b strings.Builder
	for i := range t.Series {
		s := &t.Series[i]
		fmt.Fprintf(&b, "%s · %s · %s%s\n", clean(s.System), clean(s.Scenario), trendLabel(s), limitText(s))
		longest := 0.0
		for j := range s.Points {
			longest = math.Max(longest, s.Points[j].MedianMS[0])
		}
		for j := range s.Points {
			p := &s.Points[j]
			note := ""
			if p.OtherThan {
				note = "  other settings or versions"
			}
			fmt.Fprintf(&b, "  %s  %-26s n=%-3d %-20s %s%s\n", p.Started.UTC().Format(time.DateOnly), clean(p.Run), p.N, pointText(p), trendBar(p.MedianMS[0], longest), note)
		}
		for _, x := range s.Shifts {
			b.WriteString("  " + shiftText(x) + "\n")
		}
		b.WriteByte('\n')
	}
	switch {
	case len(t.Series) == 0:
		b.WriteString("no drill has measured this yet\n")
	case t.Regressions == 0:
		b.WriteString("no regression beyond the error bars\n")
	default:
		b.WriteString(plural(int64(t.Regressions), "regression") + " beyond the error bars\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func trendBar(v, longest float64) string {
	if longest <= 0 || v < 0 {
		return ""
	}
	return strings.Repeat("▇", int(math.Round(v/longest*24)))
}

func trendLabel(s *trend.Series) string {
	label := s.Metric
	for _, m := range metrics() {
		if m.Name == s.Metric {
			label = m.Label
		}
	}
	if s.Phase != "" && s.Phase != "random" {
		label += " (phase " + s.Phase + ")"
	}
	return label
}

func limitText(s *trend.Series) string {
	if s.LimitMS == nil {
		return ""
	}
	return ", objective " + duration(*s.LimitMS)
}

func pointText(p *trend.Point) string {
	if p.MedianMS[1] >= largest {
		return atLeast(p.MedianMS[0])
	}
	return plusMinus(p.MedianMS[0], p.MedianMS[1])
}

func shiftText(x trend.Shift) string {
	word, by := "faster", between(-x.DeltaMS[1], -x.DeltaMS[0])
	if x.Worse {
		word, by = "SLOWER", between(x.DeltaMS[0], x.DeltaMS[1])
		if x.DeltaMS[1] >= largest {
			by = atLeast(x.DeltaMS[0])
		}
	} else if -x.DeltaMS[0] >= largest {
		by = atLeast(-x.DeltaMS[1])
	}
	s := word + " by " + by + ", " + x.Call + ": " + clean(x.From) + " → " + clean(x.To)
	if x.Drift {
		s += "; by small steps between them"
	}
	if x.Setup {
		s += "; settings or versions differ (dapple diff " + clean(x.From) + " " + clean(x.To) + ")"
	}
	return s
}

// TrendHTML writes them as one self-contained page.
func TrendHTML(w io.Writer, t trend.Trends) error { return trendPart(w, "", t) }

// TrendMain writes what is within the page's main element; see ChecklistMain.
func TrendMain(w io.Writer, t trend.Trends) error { return trendPart(w, mainPart, t) }

func trendPart(w io.Writer, part string, t trend.Trends) error {
	type row struct {
		Title, Limit string
		Plot         template.HTML
		Shifts       []template.HTML
	}
	var rows []row
	for i := range t.Series {
		s := &t.Series[i]
		r := row{Title: s.System + " · " + s.Scenario + " · " + trendLabel(s), Limit: limitText(s), Plot: trendPlot(s)}
		for _, x := range s.Shifts {
			class := "reported"
			if x.Worse {
				class = "missed"
			}
			r.Shifts = append(r.Shifts, template.HTML(`<span class="pill p-`+class+`">`+esc(x.Call)+`</span> `+esc(shiftText(x)))) //nolint:gosec // escaped
		}
		rows = append(rows, r)
	}
	return writeTemplate(w, "trend", part, trendTemplate, struct {
		Rows        []row
		Regressions int
		CSS         template.CSS
	}{rows, t.Regressions, template.CSS(pageCSS)}) //nolint:gosec // our own file
}

// The plot of a series, in CSS pixels.
const (
	trendWidth  = 900
	trendHeight = 190
	trendLeft   = 64
	trendRight  = 12
	trendTop    = 12
	trendBottom = 34
)

// A trendScale maps times to x, and milliseconds, from 0 to most, to y.
type trendScale struct {
	from, to time.Time
	most     float64
}

func (s trendScale) x(t time.Time) float64 {
	span := s.to.Sub(s.from)
	if span <= 0 {
		return trendLeft + (trendWidth-trendLeft-trendRight)/2
	}
	return trendLeft + 8 + float64(t.Sub(s.from))/float64(span)*(trendWidth-trendLeft-trendRight-16)
}

func (s trendScale) y(ms float64) float64 {
	v := math.Max(0, math.Min(ms, s.most)) / s.most
	return trendHeight - trendBottom - v*(trendHeight-trendTop-trendBottom)
}

func trendPlot(s *trend.Series) template.HTML {
	sc := trendScale{s.Points[0].Started, s.Points[len(s.Points)-1].Started, 0}
	for i := range s.Points {
		p := &s.Points[i]
		for _, v := range []float64{p.RangeMS[0], p.RangeMS[1], p.MedianMS[0]} {
			if v < largest {
				sc.most = math.Max(sc.most, v)
			}
		}
	}
	if s.LimitMS != nil {
		sc.most = math.Max(sc.most, *s.LimitMS)
	}
	sc.most = math.Max(sc.most*1.08, 1)
	var c canvas
	c.open(trendWidth, trendHeight, "plot", s.System+", "+s.Scenario+", "+trendLabel(s), trendWords(s))
	sc.frame(&c, s)
	bad := map[string]bool{}
	for _, x := range s.Shifts {
		if x.Worse {
			bad[x.To] = true
		}
	}
	for i := range s.Points {
		sc.point(&c, &s.Points[i], bad[s.Points[i].Run])
	}
	c.close()
	return template.HTML(c.String()) //nolint:gosec // built by canvas, which escapes
}

// frame draws the axes, the objective, and where settings or versions changed.
func (s trendScale) frame(c *canvas, series *trend.Series) {
	for i := range 4 {
		ms := s.most / 1.08 * float64(i) / 3
		c.line(trendLeft, s.y(ms), trendWidth-trendRight, s.y(ms), "grid")
		c.text(2, s.y(ms)+4, "tick", duration(ms))
	}
	if l := series.LimitMS; l != nil {
		c.line(trendLeft, s.y(*l), trendWidth-trendRight, s.y(*l), "t-limit")
		c.text(trendLeft+4, s.y(*l)-3, "tick", "objective")
	}
	for i := range series.Points {
		p := &series.Points[i]
		if p.OtherThan {
			c.line(s.x(p.Started), trendTop, s.x(p.Started), trendHeight-trendBottom, "t-setup")
		}
	}
	first, last := &series.Points[0], &series.Points[len(series.Points)-1]
	c.text(s.x(first.Started)-8, trendHeight-14, "tick", first.Started.UTC().Format(time.DateOnly))
	if len(series.Points) > 1 {
		c.text(s.x(last.Started)+8, trendHeight-14, "tick end", last.Started.UTC().Format(time.DateOnly))
	}
}

// point draws all trials as a thin line, the median's bounds as a thick one, and
// makes a regression red.
func (s trendScale) point(c *canvas, p *trend.Point, bad bool) {
	x := s.x(p.Started)
	class := "t-point"
	if bad {
		class = "t-point t-bad"
	}
	c.line(x, s.y(p.RangeMS[0]), x, s.y(p.RangeMS[1]), class+" t-range")
	top := s.y(p.MedianMS[1])
	hover := p.Started.UTC().Format("2006-01-02 15:04") + " " + p.Run + ": median " + pointText(p) + ", n = " + strconv.Itoa(p.N)
	c.rect(x-4, top-1, 8, math.Max(2, s.y(p.MedianMS[0])-top+2), class, hover)
}

func trendWords(s *trend.Series) string {
	var parts []string
	for i := range s.Points {
		parts = append(parts, s.Points[i].Started.UTC().Format(time.DateOnly)+": "+pointText(&s.Points[i]))
	}
	return strings.Join(parts, "; ")
}
