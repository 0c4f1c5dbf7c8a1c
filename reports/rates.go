package reports

import (
	"fmt"
	"math"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// A bar is the writes of one or more buckets, per second.
type bar struct {
	lo, hi                           float64 // ms
	acked, degraded, failed, unknown float64
	p50, p99                         float64
}

func (b bar) total() float64 { return b.acked + b.degraded + b.failed + b.unknown }

// bars joins the buckets of a workload so that each bar is at least minMS wide.
func bars(w *verdict.Workload, minMS float64) []bar {
	if w.BucketMS < 0.001 { // finer than any clock here: no buckets
		return nil
	}
	n := max(len(w.Acked), len(w.Degraded), len(w.Failed), len(w.Unknown))
	per := min(max(1, int(math.Ceil(minMS/w.BucketMS))), max(n, 1))
	var out []bar
	for i := 0; i < n; i += per {
		k := min(per, n-i)
		b := bar{lo: w.FirstMS + float64(i)*w.BucketMS, hi: w.FirstMS + float64(i+k)*w.BucketMS}
		perS := 1000 / (b.hi - b.lo)
		b.acked, b.degraded = perS*sum(w.Acked, i, k), perS*sum(w.Degraded, i, k)
		b.failed, b.unknown = perS*sum(w.Failed, i, k), perS*sum(w.Unknown, i, k)
		b.p50, b.p99 = highest(w.P50, i, k), highest(w.P99, i, k)
		out = append(out, b)
	}
	return out
}

func sum(vs []int64, i, k int) float64 {
	var s int64
	for j := i; j < min(i+k, len(vs)); j++ {
		s += vs[j]
	}
	return float64(s)
}

func highest(vs []float64, i, k int) float64 {
	var m float64
	for j := i; j < min(i+k, len(vs)); j++ {
		m = max(m, vs[j])
	}
	return m
}

// rates draws the writes per second below the lanes, on the same axis.
func (s *sketch) rates(v *trialView) {
	w := &v.T.Metrics.Workload
	perPixel := timeline.MS(s.hi-s.lo) / s.w
	bs := bars(w, 3*perPixel)
	top := w.Baseline
	for _, b := range bs {
		top = max(top, b.total())
	}
	if len(bs) == 0 || top <= 0 {
		return
	}
	s.y += 4
	y0, base := s.y, s.y+rateHeight
	y := func(rate float64) float64 { return base - rate/top*(rateHeight-8) }
	s.labels.text(0, y0+16, "lbl", "writes/s")
	s.labels.text(labelWidth-8, y(top)+4, "sub", count(int64(math.Round(top))))
	s.labels.text(labelWidth-8, base, "sub", "0")
	s.plot.rect(0, y0, s.w, rateHeight, "bg", "")
	for _, b := range bs {
		s.bar(b, y)
	}
	if w.Baseline > 0 {
		s.plot.line(0, y(w.Baseline), s.w, y(w.Baseline), "base")
	}
	s.plot.line(0, base, s.w, base, "zero")
	s.y = base + 4
}

func (s *sketch) bar(b bar, y func(float64) float64) {
	lo, hi := timeline.FromMS(b.lo), timeline.FromMS(b.hi)
	if !s.overlaps(lo, hi) {
		return
	}
	x, w := s.x(lo), s.x(hi)-s.x(lo)
	if w > 4 {
		w--
	}
	if w <= 0 {
		return
	}
	s.plot.write("<g><title>", esc(b.hover()), "</title>")
	at := 0.0
	for _, part := range []struct {
		rate  float64
		class string
	}{{b.acked, bandAcked}, {b.degraded, bandDegraded}, {b.unknown, bandUnknown}, {b.failed, bandFailed}} {
		if part.rate > 0 {
			s.plot.rect(x, y(at+part.rate), w, y(at)-y(at+part.rate), "b "+part.class, "")
			at += part.rate
		}
	}
	s.plot.write("</g>")
}

func (b bar) hover() string {
	s := fmt.Sprintf("%s to %s: %.0f/s acknowledged", clock(timeline.FromMS(b.lo), 1), clock(timeline.FromMS(b.hi), 1), b.acked)
	for _, part := range []struct {
		rate float64
		name string
	}{{b.degraded, "acknowledged degraded"}, {b.unknown, "unknown"}, {b.failed, "failed"}} {
		if part.rate > 0 {
			s += fmt.Sprintf(", %.0f/s %s", part.rate, part.name)
		}
	}
	if b.p99 > 0 {
		s += "; latency p50 " + duration(b.p50) + ", p99 " + duration(b.p99)
	}
	return s
}
