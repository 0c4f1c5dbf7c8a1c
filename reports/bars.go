package reports

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// Small pictures that stand within tables. Each repeats what its row says in
// words, so that nothing is lost without them.

const (
	barWidth   = 190
	barHeight  = 22
	fallWidth  = 430
	fallHeight = 24
)

// An axis maps milliseconds from 0 to pixels.
type axis struct{ top, w float64 }

func (a axis) x(ms float64) float64 { return min(max(ms, 0), a.top) / a.top * a.w }

// axisFor ends a little beyond the largest value, so that no bar touches the
// edge.
func axisFor(w float64, values ...float64) axis {
	top := 0.0
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			top = max(top, v)
		}
	}
	if top <= 0 {
		top = 1
	}
	return axis{top * 1.08, w}
}

// objectiveBar shows the measured intervals against the objective.
func objectiveBar(r row) template.HTML {
	if len(r.Spans) == 0 || r.Limit == nil {
		return ""
	}
	values := []float64{*r.Limit}
	for _, s := range r.Spans {
		values = append(values, s.Hi)
	}
	a := axisFor(barWidth, values...)
	var c canvas
	c.open(barWidth, barHeight, "mini", r.Label+": "+r.Got+", objective "+r.Want, "")
	c.rect(0, 4, a.x(*r.Limit), barHeight-8, "allow", "")
	for _, s := range r.Spans {
		c.whisker(a, s.reading, barHeight/2, "iv "+outcomeClass(s.Outcome))
	}
	c.line(a.x(*r.Limit), 1, a.x(*r.Limit), barHeight-1, "limit")
	c.close()
	return template.HTML(c.String()) //nolint:gosec // built by canvas, which escapes
}

// whisker draws an interval: its ends, and a dot in its middle.
// A censored one ends in an arrow: it went on for nobody knows how long.
func (c *canvas) whisker(a axis, r reading, y float64, class string) {
	x0, x1 := a.x(r.Lo), a.x(r.Hi)
	c.write(`<g class="`, class, `">`)
	if x1-x0 >= 2 && !r.Censored {
		c.write(`<path d="M`, px(x0), " ", px(y-4), "v8M", px(x0), " ", px(y), "H", px(x1), "M", px(x1), " ", px(y-4), `v8"/>`)
	}
	if r.Censored {
		c.write(`<path d="M`, px(x0), " ", px(y), "h14m-5 -4l5 4l-5 4", `"/>`)
		x1 = x0
	}
	c.write(`<circle cx="`, px((x0+x1)/2), `" cy="`, px(y), `" r="3.5"/></g>`)
}

func outcomeClass(o verdict.Outcome) string {
	switch o {
	case verdict.Met:
		return "met"
	case verdict.Missed:
		return "missed"
	case verdict.Unproven:
		return "unproven"
	}
	return "told"
}

// A fallRow is one part of the failover, drawn where it begins.
type fallRow struct {
	Metric   metric
	Reading  reading
	Expected *verdict.Expected
	Share    string
	Picture  template.HTML
	Total    bool
}

// waterfall draws detection, election, promotion and routing one after the
// other, and the outage as a whole below, each against its expectation.
func waterfall(rec *drills.Record, t *verdict.Trial) []fallRow {
	total := read(t, "rto")
	values := []float64{total.Hi}
	if rec.Objectives.RTOMS != nil {
		values = append(values, *rec.Objectives.RTOMS)
	}
	var rs []fallRow
	sum := 0.0
	for _, m := range metrics() {
		if !slices.Contains(chain(), m.Name) && m.Name != "rto" {
			continue
		}
		r := fallRow{Metric: m, Reading: m.of(t), Total: m.Name == "rto"}
		if e, ok := t.Metrics.Expectation[m.Name]; ok {
			r.Expected = &e
			values = append(values, e.MaxMS)
		}
		if r.Reading.Known && !r.Total {
			sum += max(0, r.Reading.mid())
			values = append(values, sum)
		}
		rs = append(rs, r)
	}
	if sum == 0 && !total.Known {
		return nil
	}
	a := axisFor(fallWidth, values...)
	at := 0.0
	for i := range rs {
		r := &rs[i]
		if r.Reading.Known && !r.Total && sum > 0 {
			r.Share = percent(max(0, r.Reading.mid()) / sum)
		}
		r.Picture = fallBar(a, rec, rs, i, at)
		if r.Reading.Known && !r.Total {
			at += max(0, r.Reading.mid())
		}
	}
	return rs
}

func fallBar(a axis, rec *drills.Record, rs []fallRow, i int, at float64) template.HTML {
	r := &rs[i]
	var c canvas
	c.open(fallWidth, fallHeight, "fall", r.Metric.Label+": "+r.Reading.text(), "")
	if e := r.Expected; e != nil {
		begin := at
		if r.Total {
			begin = 0
		}
		c.rect(a.x(begin+e.MinMS), 2, max(2, a.x(begin+e.MaxMS)-a.x(begin+e.MinMS)), fallHeight-4, "expect",
			"expected "+between(e.MinMS, e.MaxMS)+": "+e.Why)
	}
	mid := float64(fallHeight) / 2
	switch {
	case r.Total:
		x := 0.0
		for k, part := range rs[:i] {
			if part.Reading.Known {
				w := max(0, part.Reading.mid())
				c.rect(a.x(x), mid-6, max(1, a.x(x+w)-a.x(x)), 12, "seg s"+string(rune('1'+k)), part.Metric.Label+" "+part.Reading.text())
				x += w
			}
		}
		if r.Reading.Known {
			c.whisker(a, r.Reading, mid, "iv told")
		}
	case r.Reading.Known:
		c.rect(a.x(at), mid-6, max(2, a.x(at+r.Reading.mid())-a.x(at)), 12, "seg s"+string(rune('1'+i)), r.Metric.Label+" "+r.Reading.text())
		c.whisker(a, reading{Lo: at + r.Reading.Lo, Hi: at + r.Reading.Hi, Censored: r.Reading.Censored}, mid, "iv edge")
	}
	if l := rec.Objectives.RTOMS; l != nil && r.Total {
		c.line(a.x(*l), 0, a.x(*l), fallHeight, "limit")
	}
	if l := rec.Objectives.DetectionMS; l != nil && r.Metric.Name == "detection" {
		c.line(a.x(*l), 0, a.x(*l), fallHeight, "limit")
	}
	c.close()
	return template.HTML(c.String()) //nolint:gosec // built by canvas, which escapes
}

// A spreadRow is one metric over the trials.
type spreadRow struct {
	Metric  metric
	Spread  verdict.Spread
	Next    string
	Picture template.HTML
	Expect  *verdict.Expected
}

// spreads tells each metric over all trials that count, with one dot a trial.
func spreads(rec *drills.Record) []spreadRow {
	var out []spreadRow
	for _, m := range metrics() {
		s, ok := rec.Series.Metrics[m.Name]
		if !ok || s.N == 0 {
			continue
		}
		r := spreadRow{Metric: m, Spread: s, Next: percent(s.PNext)}
		trials := counted(rec.Trials)
		for i := range trials {
			if e, ok := trials[i].Metrics.Expectation[m.Name]; ok {
				r.Expect = &e
				break
			}
		}
		r.Picture = spreadBar(rec, trials, &r)
		out = append(out, r)
	}
	return out
}

func spreadBar(rec *drills.Record, trials []verdict.Trial, r *spreadRow) template.HTML {
	const w, h = 300, 26
	if r.Spread.Min[0] < 0 {
		return "" // a fence lag before the promotion: the axis begins at 0
	}
	l := limit(rec.Objectives, r.Metric.Name)
	values := []float64{r.Spread.Max[1]}
	if l != nil {
		values = append(values, *l)
	}
	if r.Expect != nil {
		values = append(values, r.Expect.MaxMS)
	}
	a := axisFor(w, values...)
	var c canvas
	c.open(w, h, "mini", r.Metric.Label+" over the trials: "+plusMinus(r.Spread.Min[0], r.Spread.Min[1])+" to "+plusMinus(r.Spread.Max[0], r.Spread.Max[1]), "")
	if r.Expect != nil {
		c.rect(a.x(r.Expect.MinMS), 3, max(2, a.x(r.Expect.MaxMS)-a.x(r.Expect.MinMS)), h-6, "expect", "expected "+between(r.Expect.MinMS, r.Expect.MaxMS))
	}
	c.line(0, h/2, w, h/2, "zero")
	for i := range trials {
		if v := r.Metric.of(&trials[i]); v.Known {
			c.whisker(a, v, h/2, "iv dot")
		}
	}
	m := a.x((r.Spread.Median[0] + r.Spread.Median[1]) / 2)
	c.line(m, 4, m, h-4, "median")
	if l != nil {
		c.line(a.x(*l), 0, a.x(*l), h, "limit")
	}
	c.close()
	return template.HTML(c.String()) //nolint:gosec // built by canvas, which escapes
}

// Min, Median and Max are the spread's figures with their error bars.
func (r spreadRow) Min() string    { return plusMinus(r.Spread.Min[0], r.Spread.Min[1]) }
func (r spreadRow) Median() string { return plusMinus(r.Spread.Median[0], r.Spread.Median[1]) }
func (r spreadRow) Max() string {
	if r.Spread.Censored > 0 {
		return atLeast(r.Spread.Max[0])
	}
	return plusMinus(r.Spread.Max[0], r.Spread.Max[1])
}

// within is Max as an interval.
func (r spreadRow) within() string {
	if r.Spread.Censored > 0 {
		return atLeast(r.Spread.Max[0])
	}
	return within(r.Spread.Max[0], r.Spread.Max[1])
}

// Modes tells of groups that lie apart: failover times often do, and a median
// between two of them was never seen.
func (r spreadRow) Modes() string {
	if len(r.Spread.Modes) < 2 {
		return ""
	}
	var parts []string
	for _, m := range r.Spread.Modes {
		parts = append(parts, fmt.Sprintf("%d × %s", m.N, within(m.At[0], m.At[1])))
	}
	return "in groups: " + strings.Join(parts, ", ")
}
