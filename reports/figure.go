package reports

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
)

// The picture of a trial: a column of labels, and beside it the plot, which a
// narrow screen scrolls. Widths in CSS pixels; the style sheet scales the whole
// to A4 for print.
const (
	labelWidth = 112
	plotWidth  = 900
	axisHeight = 22
	markRow    = 15
	laneGap    = 9
	stripGap   = 2
	rateHeight = 84
)

// A Figure is a picture in two parts.
type figure struct {
	Title  string
	Labels template.HTML
	Plot   template.HTML
}

// A sketch is a figure while it is drawn.
type sketch struct {
	scale
	labels, plot canvas
	y            float64
	has          func(event int) bool // whether the page shows the event
}

// picture draws the trial from lo to hi.
func (v *trialView) picture(lo, hi time.Duration, title string, has func(int) bool) figure {
	s := &sketch{scale: scale{lo, hi, plotWidth}, has: has}
	ms := slices.DeleteFunc(v.marks(), func(m mark) bool { return !s.overlaps(m.At.Lo, m.At.Hi) })
	placed, rowsUsed := placeMarks(s.scale, ms)
	top := float64(rowsUsed)*markRow + 4
	s.y = top
	s.phases(phases(v))
	s.axis()
	bodyTop := s.y
	for _, l := range lanes(v) {
		s.lane(l)
	}
	s.rates(v)
	height := s.y + 4
	s.marks(placed, bodyTop, height)
	return s.finish(height, title, describe(v))
}

func (s *sketch) finish(height float64, title, desc string) figure {
	var l, p canvas
	l.write(`<svg class="labels" width="`, px(labelWidth), `" height="`, px(height), `" aria-hidden="true">`, s.labels.String())
	l.close()
	p.open(s.w, height, "plot", title, desc)
	p.write(s.plot.String())
	p.close()
	return figure{title, template.HTML(l.String()), template.HTML(p.String())} //nolint:gosec // built by canvas, which escapes
}

// describe tells the picture in words, for those who do not see it.
func describe(v *trialView) string {
	var parts []string
	for _, m := range v.marks() {
		parts = append(parts, strings.TrimSpace(m.Name+" at "+at(m.At)))
	}
	return strings.Join(parts, "; ")
}

func (s *sketch) phases(bs []band) {
	if len(bs) == 0 {
		return
	}
	s.labels.text(0, s.y+12, "lbl dim", "phase")
	for _, b := range s.fit(bs) {
		w := b.x1 - b.x0
		s.plot.rect(b.x0, s.y, max(0, w-1), 16, "ph", b.Hover)
		if room(b.Text, w) {
			s.plot.text(b.x0+4, s.y+12, "phl", b.Text)
		}
	}
	s.y += 20
}

func (s *sketch) axis() {
	at, decimals := s.ticks()
	s.labels.text(0, s.y+13, "lbl dim", "trial time")
	for _, t := range at {
		x := s.x(t)
		s.plot.write(`<path class="grid" d="M`, px(x), " ", px(s.y+axisHeight-5), `V2000"/>`)
		label := clock(t, decimals)
		if x > s.w-40 {
			s.plot.text(x-3, s.y+13, "tick end", label)
		} else {
			s.plot.text(x+3, s.y+13, "tick", label)
		}
	}
	s.y += axisHeight
}

func (s *sketch) lane(l lane) {
	for i, st := range l.Strips {
		mid := s.y + st.Height/2 + 4
		if i == 0 {
			s.labels.text(0, mid, "lbl", clip(l.Label, 10))
		}
		if st.Label != "" {
			s.labels.text(labelWidth-8, mid, "sub", st.Label)
		}
		s.strip(st)
		s.y += st.Height + stripGap
	}
	s.y += laneGap - stripGap
}

// strip draws bands; those too narrow to be pointed at become one path per
// class, which keeps the page small.
func (s *sketch) strip(st strip) {
	s.plot.rect(0, s.y, s.w, st.Height, "bg", "")
	thin := map[string]*strings.Builder{}
	for _, b := range s.fit(st.Bands) {
		w, h, y := b.x1-b.x0, st.Height, s.y
		switch { // told apart without colour, too
		case b.Class == bandFailed && h >= 8:
			h, y = h*0.6, y+h*0.4
		case b.Class == bandRefused:
			h, y = 2, y+h/2-1
		}
		if w < narrow {
			d := thin[b.Class]
			if d == nil {
				d = &strings.Builder{}
				thin[b.Class] = d
			}
			d.WriteString("M" + px(b.x0) + " " + px(y) + "h" + px(w) + "v" + px(h) + "h-" + px(w) + "z")
			continue
		}
		hover := b.Hover
		if b.many {
			hover += " (and more, joined)"
		}
		hover += fmt.Sprintf("\n%s to %s", clock(b.Lo, 3), clock(b.Hi, 3))
		end := s.plot.link(b.Event, s.has)
		s.plot.rect(b.x0, y, w, h, "b "+b.Class, hover)
		if st.Height >= 14 && room(b.Text, w) {
			s.plot.text(b.x0+5, s.y+st.Height-4, "bl "+b.Class+"-t", b.Text)
		}
		end()
	}
	for _, class := range sortedKeys(thin) {
		s.plot.path("b "+class, thin[class].String())
	}
}

// room says whether a text of the small size fits into w pixels: 6.3 px is the
// mean advance of the page's font at 11 px, rounded up.
func room(text string, w float64) bool {
	return text != "" && float64(len([]rune(text)))*6.3+10 <= w
}

// A placed mark has its label on a row where it hides no other.
type placed struct {
	mark
	x     float64
	row   int
	left  bool // the label stands to the left of its line
	label string
}

// placeMarks joins marks that fall onto the same pixels and spreads the labels
// over as few rows as they need, the earliest on top.
func placeMarks(s scale, ms []mark) (out []placed, rows int) {
	for _, m := range ms {
		x := s.x((m.At.Lo + m.At.Hi) / 2)
		if n := len(out); n > 0 && x-out[n-1].x < 2.5 && len(out[n-1].label) < 24 {
			out[n-1].label += ", " + m.Name
			out[n-1].At.Hi = max(out[n-1].At.Hi, m.At.Hi)
			if m.Since != "" {
				out[n-1].Since, out[n-1].Exact = m.Since, m.Exact
			}
			continue
		}
		out = append(out, placed{mark: m, x: x, label: m.Name})
	}
	var ends []float64 // how far each row is used
	for i := range out {
		p := &out[i]
		if p.Since != "" {
			p.label += " " + p.Since
		}
		width := float64(len([]rune(p.label)))*6.3 + 12
		from := p.x
		if p.x+width > s.w {
			p.left, from = true, p.x-width
		}
		p.row = slices.IndexFunc(ends, func(e float64) bool { return from >= e })
		if p.row < 0 {
			p.row = len(ends)
			ends = append(ends, 0)
		}
		ends[p.row] = max(p.x, from+width)
	}
	return out, len(ends)
}

func (s *sketch) marks(ps []placed, bodyTop, bottom float64) {
	for _, p := range ps {
		x0, x1 := s.x(p.At.Lo), s.x(p.At.Hi)
		y := float64(p.row) * markRow
		end := s.plot.link(p.Event, s.has)
		s.plot.write(`<g class="mk"><title>`, esc(joinWords(", ", p.label+" at "+at(p.At), p.Exact)), "</title>")
		if x1-x0 > 2 {
			s.plot.rect(x0, bodyTop, x1-x0, bottom-bodyTop, "mkw", "")
		}
		s.plot.line(p.x, y+2, p.x, bottom, "mkl")
		if p.left {
			s.plot.text(p.x-4, y+12, "mkt end", p.label)
		} else {
			s.plot.text(p.x+4, y+12, "mkt", p.label)
		}
		s.plot.write("</g>")
		end()
	}
}
