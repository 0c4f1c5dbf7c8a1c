package reports

import (
	_ "embed" // the template of a sweep
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/dapple-drills/dapple/drills/sweep"
)

//go:embed sweep.html.tmpl
var sweepTemplate string

// SweepJSON writes the sweep for a program.
func SweepJSON(w io.Writer, s *sweep.Sweep) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("writing the sweep: %w", err)
	}
	return nil
}

// SweepText writes it for a terminal.
func SweepText(w io.Writer, s *sweep.Sweep) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s", clean(s.Parameter), clean(s.System))
	if s.RTOMS != nil {
		fmt.Fprintf(&b, ", RTO ≤ %s", duration(*s.RTOMS))
	}
	b.WriteString("\n")
	for i := range s.Values {
		v := &s.Values[i]
		mark := " "
		if v.Fits {
			mark = "✓"
		}
		fmt.Fprintf(&b, "%s %-8s  detection %-18s  outage %-18s  n=%d", mark, duration(v.ValueMS), sweepFigure(v.Kill.Detection), sweepFigure(v.Kill.RTO), v.Kill.N)
		for _, blip := range v.Blips {
			fmt.Fprintf(&b, "  | %s: %s", duration(blip.BlipMS), blipText(blip))
		}
		if v.Why != "" {
			b.WriteString("  — " + clean(v.Why))
		}
		b.WriteByte('\n')
	}
	b.WriteString(sweepSays(s) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func sweepSays(s *sweep.Sweep) string {
	if s.Range == nil {
		return "recommended: none; " + s.Why
	}
	if s.Range.FromMS == s.Range.ToMS {
		return "recommended: " + duration(s.Range.FromMS) + "; " + s.Why
	}
	return "recommended: from " + duration(s.Range.FromMS) + " to " + duration(s.Range.ToMS) + "; " + s.Why
}

func sweepFigure(x *[2]float64) string {
	if x == nil {
		return "not measured"
	}
	return plusMinus(x[0], x[1])
}

func blipText(b sweep.Blip) string {
	s := fmt.Sprintf("%d of %d moved the role", b.Failovers, b.N)
	if b.Untold > 0 {
		s += fmt.Sprintf(", %d could not tell", b.Untold)
	}
	return s
}

// SweepHTML writes it as one self-contained page with its picture.
func SweepHTML(w io.Writer, s *sweep.Sweep) error {
	type row struct {
		Value, Detection, RTO, Why string
		N                          int
		Fits                       bool
		Blips                      []string
		Runs                       []string
	}
	var rows []row
	var blips []string
	for i := range s.Values {
		v := &s.Values[i]
		r := row{duration(v.ValueMS), sweepFigure(v.Kill.Detection), sweepFigure(v.Kill.RTO), v.Why, v.Kill.N, v.Fits, nil, v.Kill.Runs}
		for _, b := range v.Blips {
			r.Blips = append(r.Blips, blipText(b))
			r.Runs = append(r.Runs, b.Runs...)
			if i == 0 {
				blips = append(blips, duration(b.BlipMS))
			}
		}
		rows = append(rows, r)
	}
	return writeTemplate(w, "sweep", "", sweepTemplate, struct {
		*sweep.Sweep
		Says  string
		Plot  template.HTML
		Blips []string
		Rows  []row
		CSS   template.CSS
	}{s, sweepSays(s), sweepPlot(s), blips, rows, template.CSS(pageCSS)}) //nolint:gosec // our own file
}

// The picture of a sweep, in CSS pixels.
const (
	sweepWidth  = 900
	sweepHeight = 300 // of the upper part: the durations
	sweepLeft   = 92
	sweepRight  = 20
	sweepTop    = 14
	sweepRow    = 26 // of the lower part: one row for each disturbance
)

// sweepScale maps the values, by their logarithm, to x, and milliseconds to y.
type sweepScale struct{ from, to, most float64 }

func (s sweepScale) x(v float64) float64 {
	if s.to <= s.from {
		return (sweepLeft + sweepWidth) / 2
	}
	return sweepLeft + 30 + (math.Log(v)-math.Log(s.from))/(math.Log(s.to)-math.Log(s.from))*(sweepWidth-sweepLeft-sweepRight-60)
}

func (s sweepScale) y(ms float64) float64 {
	return sweepHeight - (math.Min(ms, s.most)/s.most)*(sweepHeight-sweepTop)
}

// sweepPlot draws detection and outage over the values, the declared RTO, below
// them whether each disturbance moved the role, and the recommended stretch.
func sweepPlot(s *sweep.Sweep) template.HTML {
	var c canvas
	rows := 0
	if len(s.Values) > 0 {
		rows = len(s.Values[0].Blips)
	}
	height := float64(sweepHeight + 26 + rows*sweepRow + 24)
	c.open(sweepWidth, height, "plot", s.Parameter+" of "+s.System, sweepSays(s))
	if len(s.Values) > 0 {
		sc := sweepScaleOf(s)
		sc.stretch(&c, s, height)
		sc.grid(&c, s)
		for i := range s.Values {
			sc.value(&c, &s.Values[i])
		}
	}
	c.close()
	return template.HTML(c.String()) //nolint:gosec // built by canvas, which escapes
}

func sweepScaleOf(s *sweep.Sweep) sweepScale {
	sc := sweepScale{s.Values[0].ValueMS, s.Values[len(s.Values)-1].ValueMS, 1}
	for i := range s.Values {
		k := &s.Values[i].Kill
		sc.most = math.Max(sc.most, k.WorstMS)
		if k.Detection != nil {
			sc.most = math.Max(sc.most, k.Detection[1])
		}
	}
	if s.RTOMS != nil {
		sc.most = math.Max(sc.most, *s.RTOMS)
	}
	sc.most *= 1.1
	return sc
}

// stretch shades the recommended values.
func (s sweepScale) stretch(c *canvas, sw *sweep.Sweep, height float64) {
	if sw.Range == nil {
		return
	}
	x0, x1 := s.x(sw.Range.FromMS)-14, s.x(sw.Range.ToMS)+14
	c.rect(x0, sweepTop, x1-x0, height-sweepTop-20, "s-range", sweepSays(sw))
	c.text(x0+4, sweepTop+13, "tick", "recommended")
}

func (s sweepScale) grid(c *canvas, sw *sweep.Sweep) {
	for i := range 5 {
		ms := s.most / 1.1 * float64(i) / 4
		c.line(sweepLeft, s.y(ms), sweepWidth-sweepRight, s.y(ms), "grid")
		c.text(4, s.y(ms)+4, "tick", duration(ms))
	}
	if sw.RTOMS != nil {
		c.line(sweepLeft, s.y(*sw.RTOMS), sweepWidth-sweepRight, s.y(*sw.RTOMS), "s-limit")
		c.text(sweepWidth-sweepRight-4, s.y(*sw.RTOMS)-4, "tick end", "RTO "+duration(*sw.RTOMS))
	}
	c.text(4, sweepHeight+19, "tick", sw.Parameter)
	for i, b := range sw.Values[0].Blips {
		c.text(4, blipY(i)+4, "tick", "blip "+duration(b.BlipMS))
	}
}

func blipY(row int) float64 { return sweepHeight + 26 + float64(row)*sweepRow + sweepRow/2 }

// value draws one value: detection left, outage right of its place, with bars from
// the median's lower bound to the upper; below, a dot for each disturbance.
func (s sweepScale) value(c *canvas, v *sweep.Value) {
	x := s.x(v.ValueMS)
	c.text(x-14, sweepHeight+19, "tick", duration(v.ValueMS))
	s.figure(c, x-5, v.Kill.Detection, "s-detect", "detection at "+duration(v.ValueMS)+": "+sweepFigure(v.Kill.Detection))
	if v.Kill.RTO != nil {
		c.line(x+5, s.y(v.Kill.RTO[0]), x+5, s.y(v.Kill.WorstMS), "s-worst")
	}
	s.figure(c, x+5, v.Kill.RTO, "s-outage", "outage at "+duration(v.ValueMS)+": "+sweepFigure(v.Kill.RTO)+", at most "+duration(v.Kill.WorstMS)+", n = "+strconv.Itoa(v.Kill.N))
	for i, b := range v.Blips {
		class := "s-none"
		switch {
		case b.Failovers > 0:
			class = "s-moved"
		case b.N == 0 || b.Untold > 0:
			class = "s-untold"
		}
		c.write(`<circle class="`, class, `" cx="`, px(x), `" cy="`, px(blipY(i)), `" r="8"><title>`, esc(blipText(b)), `</title></circle>`)
		c.text(x+12, blipY(i)+4, "tick", strconv.Itoa(b.Failovers)+"/"+strconv.Itoa(b.N))
	}
}

func (s sweepScale) figure(c *canvas, x float64, m *[2]float64, class, hover string) {
	if m == nil {
		return
	}
	top := s.y(m[1])
	c.rect(x-3.5, top-1, 7, math.Max(2, s.y(m[0])-top+2), class, hover)
}
