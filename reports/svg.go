package reports

import (
	"cmp"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A canvas writes SVG by hand. Every text goes through its methods, which
// escape: no caller writes markup that holds a name.
type canvas struct{ strings.Builder }

func esc(s string) string { return html.EscapeString(s) }

// px writes a coordinate with one decimal: a tenth of a pixel is finer than
// anyone sees, and keeps the file small.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

func (c *canvas) open(w, h float64, class, title, desc string) {
	c.write(`<svg class="`, class, `" width="`, px(w), `" height="`, px(h), `" viewBox="0 0 `, px(w), " ", px(h), `" role="img" aria-label="`, esc(title), `">`)
	c.write("<title>", esc(title), "</title>")
	if desc != "" {
		c.write("<desc>", esc(desc), "</desc>")
	}
}

func (c *canvas) close() { c.write("</svg>") }

func (c *canvas) write(parts ...string) {
	for _, p := range parts {
		c.WriteString(p)
	}
}

// rect draws a box; a hover makes it a group with a title.
func (c *canvas) rect(x, y, w, h float64, class, hover string) {
	c.write(`<rect class="`, class, `" x="`, px(x), `" y="`, px(y), `" width="`, px(w), `" height="`, px(h), `"`)
	if hover == "" {
		c.write("/>")
		return
	}
	c.write("><title>", esc(hover), "</title></rect>")
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	c.write(`<path class="`, class, `" d="M`, px(x1), " ", px(y1), "L", px(x2), " ", px(y2), `"/>`)
}

func (c *canvas) text(x, y float64, class, s string) {
	c.write(`<text class="`, class, `" x="`, px(x), `" y="`, px(y), `">`, esc(s), "</text>")
}

func (c *canvas) path(class, d string) {
	if d != "" {
		c.write(`<path class="`, class, `" d="`, d, `"/>`)
	}
}

// link begins a link to an event if the page holds it; the func ends it.
func (c *canvas) link(event int, has func(int) bool) (end func()) {
	if event < 0 || !has(event) {
		return func() {}
	}
	c.write(`<a href="#e`, strconv.Itoa(event), `">`)
	return func() { c.write("</a>") }
}

// A scale maps the times of a picture to its pixels.
type scale struct {
	lo, hi time.Duration
	w      float64
}

func (s scale) x(t time.Duration) float64 {
	t = min(max(t, s.lo), s.hi)
	return float64(t-s.lo) / float64(s.hi-s.lo) * s.w
}

func (s scale) overlaps(lo, hi time.Duration) bool { return hi >= s.lo && lo <= s.hi }

// ticks are round instants, about one per 110 pixels, and the decimals they need.
func (s scale) ticks() (at []time.Duration, decimals int) {
	want := (s.hi - s.lo).Seconds() / max(1, s.w/110)
	step, decimals := roundStep(want)
	d := time.Duration(step * float64(time.Second))
	if d <= 0 {
		return nil, 0
	}
	for t := (s.lo + d - 1).Truncate(d); t <= s.hi; t += d {
		at = append(at, t)
	}
	return at, decimals
}

// roundStep is the smallest of 1, 2, 5 × 10^n that is not below want.
func roundStep(want float64) (step float64, decimals int) {
	if want <= 0 {
		return 1, 0
	}
	p := math.Pow(10, math.Floor(math.Log10(want)))
	for _, m := range []float64{1, 2, 5, 10} {
		if step = m * p; step >= want*0.999 {
			break
		}
	}
	return step, max(0, -int(math.Floor(math.Log10(step)+1e-9)))
}

// A pixelBand is a band on its pixels.
type pixelBand struct {
	x0, x1 float64
	band
	many bool // it stands for several
}

// narrow is the width in pixels below which a band gets no hover and no link of
// its own: nobody can point at it.
const narrow = 2.5

// fit puts bands onto pixels: what is outside is left out, neighbours of one
// class are joined, and of several bands within one pixel the one that weighs
// most is kept. So the size of a picture is bounded by its width, whatever the
// number of events.
func (s scale) fit(bs []band) []pixelBand {
	bs = slices.DeleteFunc(slices.Clone(bs), func(b band) bool { return !s.overlaps(b.Lo, b.Hi) })
	slices.SortStableFunc(bs, func(a, b band) int { return cmp.Compare(a.Lo, b.Lo) })
	var out []pixelBand
	for _, b := range bs {
		p := pixelBand{x0: s.x(b.Lo), x1: s.x(b.Hi), band: b}
		p.x1 = max(p.x1, p.x0+1)
		n := len(out)
		if n == 0 || p.x0 >= out[n-1].x1 {
			if n > 0 && out[n-1].Class == p.Class && p.x0-out[n-1].x1 < 0.5 && out[n-1].Text == p.Text {
				out[n-1].x1, out[n-1].many = p.x1, true
				continue
			}
			out = append(out, p)
			continue
		}
		last := &out[n-1]
		switch {
		case last.Class == p.Class && last.Text == p.Text:
			last.x1, last.many = max(last.x1, p.x1), true
		case last.x1-last.x0 <= 1 && p.x1-p.x0 <= 1: // both fall into one pixel
			if weight(p.Class) > weight(last.Class) {
				p.x0, p.x1 = last.x0, last.x1
				*last = p
			}
			last.many = true
		case p.x1 <= last.x1 && p.x1-p.x0 <= 1 && weight(p.Class) < weight(last.Class):
			last.many = true
		default: // cut the former one short, or move a narrow one aside
			if last.x1 = p.x0; last.x1-last.x0 < 1 {
				last.x1 = last.x0 + 1
				p.x0 = last.x1
				p.x1 = max(p.x1, p.x0+1)
			}
			out = append(out, p)
		}
	}
	return out
}
