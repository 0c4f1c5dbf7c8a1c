package reports

import (
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// leastCurve is from how many trials on a series is drawn as a curve: of fewer the
// dots say as much.
const leastCurve = 4

// The picture's size in pixels, and its margins.
const (
	curveWidth, curveHeight          = 720, 300
	curveLeft, curveTop, curveBottom = 40, 26, 34
)

// A curve is how the RTO of the trials of a series is distributed.
type curve struct {
	axis
	c      canvas
	rec    *drills.Record
	spans  []reading // of the trials that count
	locked []lockedTrial
	expect *verdict.Expected
	limit  *float64
}

// A lockedTrial is one whose fault landed where the heartbeat made it best or worst.
type lockedTrial struct {
	phase string
	reading
}

// seriesCurve draws the share of trials that were over within a time. Each trial is
// an interval, so that the curve is an area: the true curve lies within it. Beside it
// are the expectation, the declared RTO, and what trials took whose phase was locked,
// in this run or in those beside it. "" where too few trials count.
func seriesCurve(r *Run) template.HTML {
	rec := &r.Record
	k := curve{rec: rec, limit: limit(rec.Objectives, "rto")}
	trials := counted(rec.Trials)
	for i := range trials {
		if v := read(&trials[i], "rto"); v.Known {
			k.spans = append(k.spans, v)
		}
		if e, ok := trials[i].Metrics.Expectation["rto"]; ok && k.expect == nil {
			k.expect = &e
		}
	}
	for _, x := range append([]drills.Record{*rec}, r.Beside...) {
		k.lock(x.Trials)
	}
	if len(k.spans) < leastCurve {
		return ""
	}
	return k.draw()
}

func (k *curve) lock(trials []verdict.Trial) {
	trials = counted(trials)
	for i := range trials {
		if v := read(&trials[i], "rto"); v.Known && trials[i].Phase.Locked {
			k.locked = append(k.locked, lockedTrial{trials[i].Phase.Asked, v})
		}
	}
}

func (k *curve) draw() template.HTML {
	k.axis = k.fit()
	k.c.open(curveWidth, curveHeight, "curve", k.title(), k.says())
	k.band()
	k.grid()
	k.area()
	k.verticals()
	k.c.close()
	return template.HTML(k.c.String()) //nolint:gosec // built by canvas, which escapes
}

func (k *curve) fit() axis {
	var values []float64
	for _, s := range k.spans {
		values = append(values, s.Lo, s.Hi)
	}
	for _, l := range k.locked {
		values = append(values, l.Hi)
	}
	if k.expect != nil {
		values = append(values, k.expect.MaxMS)
	}
	if k.limit != nil {
		values = append(values, *k.limit)
	}
	return axisFor(curveWidth-curveLeft-10, values...)
}

func (k *curve) at(ms float64) float64 { return curveLeft + k.x(ms) }

// y of a share of the trials.
func (k *curve) y(share float64) float64 {
	return curveHeight - curveBottom - share*(curveHeight-curveTop-curveBottom)
}

func (k *curve) title() string {
	return fmt.Sprintf("RTO of %d trials: the share that was over within a time", len(k.spans))
}

// says repeats the picture in words.
func (k *curve) says() string {
	words := []string{}
	if k.expect != nil {
		words = append(words, "expected "+between(k.expect.MinMS, k.expect.MaxMS))
	}
	if k.limit != nil {
		words = append(words, "declared "+between(0, *k.limit))
	}
	for _, l := range k.locked {
		words = append(words, "locked to the "+l.phase+" phase "+l.within())
	}
	return strings.Join(words, "; ")
}

func (k *curve) band() {
	if k.expect == nil {
		return
	}
	x0, x1 := k.at(k.expect.MinMS), k.at(k.expect.MaxMS)
	k.c.rect(x0, k.y(1), max(2, x1-x0), k.y(0)-k.y(1), "expect", "expected "+between(k.expect.MinMS, k.expect.MaxMS)+": "+k.expect.Why)
}

func (k *curve) grid() {
	for _, share := range []float64{0, 0.25, 0.5, 0.75, 1} {
		k.c.line(curveLeft, k.y(share), curveWidth-10, k.y(share), "grid")
		k.c.text(2, k.y(share)+4, "tick", percent(share))
	}
	s := scale{0, time.Duration(k.top * float64(time.Millisecond)), k.w}
	at, decimals := s.ticks()
	for _, t := range at {
		x := curveLeft + s.x(t)
		k.c.line(x, k.y(0), x, k.y(0)+4, "grid")
		k.c.text(x-10, curveHeight-curveBottom+18, "tick", strconv.FormatFloat(t.Seconds(), 'f', decimals, 64)+" s")
	}
}

// area lies between the curve of the lower bounds and that of the upper ones; a
// censored trial was over at no known time.
func (k *curve) area() {
	var lo, hi []float64
	for _, s := range k.spans {
		lo = append(lo, s.Lo)
		if !s.Censored {
			hi = append(hi, s.Hi)
		}
	}
	up, down := k.steps(lo), k.steps(hi)
	k.c.path("cdf", "M"+up+"L"+reversed(down)+"Z")
	k.c.path("cdfline", "M"+up)
	k.c.path("cdfline", "M"+down)
}

// steps is the empirical distribution of values as the points of a path.
func (k *curve) steps(values []float64) string {
	slices.Sort(values)
	n := float64(len(k.spans))
	points := []string{px(curveLeft) + " " + px(k.y(0))}
	for i, v := range values {
		points = append(points, px(k.at(v))+" "+px(k.y(float64(i)/n)), px(k.at(v))+" "+px(k.y(float64(i+1)/n)))
	}
	end := k.y(float64(len(values)) / n)
	return strings.Join(append(points, px(curveWidth-10)+" "+px(end)), "L")
}

func reversed(path string) string {
	points := strings.Split(path, "L")
	slices.Reverse(points)
	return strings.Join(points, "L")
}

// verticals are the declared RTO and the locked trials, each with its word.
func (k *curve) verticals() {
	for i, l := range k.locked {
		x0, x1 := k.at(l.Lo), k.at(l.Hi)
		k.c.rect(x0, k.y(1), max(2, x1-x0), k.y(0)-k.y(1), "locked", "locked to the "+l.phase+" phase: "+l.within())
		if !slices.ContainsFunc(k.locked[:i], func(o lockedTrial) bool { return o.phase == l.phase }) {
			k.c.text(x0-14, k.y(1)-6, "tick", l.phase)
		}
	}
	if k.limit != nil {
		x := k.at(*k.limit)
		k.c.line(x, k.y(1)-2, x, k.y(0), "limit")
		k.c.text(x-28, k.y(1)-6, "tick", "declared")
	}
}
