package verdict

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/internal/stats"
)

// What stable and full mean (measurement rules, section 3).
const (
	stableRatio = 0.99 // of the writes succeed
	fullGoodput = 0.95 // of the baseline
	fullLatency = 2    // times the baseline's p99
	mostBuckets = 1 << 20
)

// A bucket is the clients' writes that were intended within at.
type bucket struct {
	timeline.Counts
	at     timeline.Interval
	events []int
}

func (b bucket) served() int64 { return b.Acked + b.Degraded }
func (b bucket) tried() int64  { return b.served() + b.Failed + b.Unknown }

// A baseline is how the system did before the fault.
type baseline struct {
	perSecond float64
	p50, p99  float64 // medians of the buckets', in ms
}

func (j *judge) buckets() []bucket {
	var out []bucket
	for _, e := range j.kinds[timeline.Bucket] {
		b := bucket{at: e.At, events: of(e)}
		if json.Unmarshal(e.Data, &b.Counts) == nil && e.At.Width() > 0 {
			out = append(out, b)
		}
	}
	slices.SortStableFunc(out, func(a, b bucket) int { return cmp.Compare(a.at.Lo, b.at.Lo) })
	var merged []bucket
	for _, b := range out {
		if n := len(merged); n > 0 && merged[n-1].at == b.at {
			merged[n-1].merge(b)
			continue
		}
		merged = append(merged, b)
	}
	return merged
}

func (b *bucket) merge(c bucket) {
	b.Acked += c.Acked
	b.Degraded += c.Degraded
	b.Failed += c.Failed
	b.Unknown += c.Unknown
	b.P50ms, b.P99ms = max(b.P50ms, c.P50ms), max(b.P99ms, c.P99ms)
	b.events = append(b.events, c.events...)
}

// measureLoad fills in stable, full, goodput loss and the workload over time.
func (j *judge) measureLoad() {
	bs := j.buckets()
	base := j.baseline(bs)
	j.workload(bs, base)
	m := j.m
	d := j.firstAck.at.Sub(j.main.at)
	switch {
	case !j.from.ok:
		m.Reasons["first_ack"] = "no fault was made"
	case !j.firstAck.ok:
		m.Reasons["first_ack"] = j.firstAck.why
	default:
		m.FirstAck = &Metric{LoMS: timeline.MS(max(0, d.Lo)), HiMS: timeline.MS(max(0, d.Hi)), Events: indexes(j.firstAck.events, j.main.events)}
	}
	var why string
	switch {
	case !j.from.ok:
		why = "no fault was made"
	case len(bs) == 0:
		why = "the writes were not counted over time"
	}
	if why != "" {
		m.Reasons["stable"], m.Reasons["full"], m.Reasons["goodput_loss"] = why, why, why
		return
	}
	after := bs[firstAfter(bs, j.from.at.Lo):]
	m.Stable = j.lasting(state{"stable", j.in.Window.StableFor, bucket.stable, bucket.stable}, after)
	if base.perSecond == 0 {
		m.Reasons["full"], m.Reasons["goodput_loss"] = "no write was counted before the effect: there is no baseline", "there is no baseline"
		return
	}
	m.Full = j.lasting(state{"full", j.in.Window.FullFor, func(w bucket) bool { return w.full(base) }, func(b bucket) bool { return b.goodput(base) }}, after)
	j.goodputLoss(after, base)
}

// firstAfter is the index of the first bucket that is not over at t.
func firstAfter(bs []bucket, t time.Duration) int {
	i := slices.IndexFunc(bs, func(b bucket) bool { return b.at.Hi > t })
	if i < 0 {
		return len(bs)
	}
	return i
}

// baseline is taken over the steady phase, or all the time before the fault.
func (j *judge) baseline(bs []bucket) baseline {
	if !j.from.ok {
		return baseline{}
	}
	from := time.Duration(math.MinInt64)
	for _, e := range j.kinds[timeline.Phase] {
		if e.Value == "steady" {
			from = e.At.Lo
		}
	}
	var acked int64
	var took time.Duration
	var p50, p99 []stats.Weighted
	for _, b := range bs {
		if b.at.Lo < from || b.at.Hi > j.since() {
			continue
		}
		acked += b.served()
		took += b.at.Width()
		p50 = append(p50, stats.Weighted{Value: b.P50ms, Weight: float64(b.served())})
		p99 = append(p99, stats.Weighted{Value: b.P99ms, Weight: float64(b.served())})
	}
	if took <= 0 || acked == 0 {
		return baseline{}
	}
	return baseline{float64(acked) / took.Seconds(), stats.WeightedMedian(p50), stats.WeightedMedian(p99)}
}

// usualCounts are the usual latencies before the fault, where writes were counted.
func (j *judge) usualCounts() (p50, p99 time.Duration, ok bool) {
	if j.base == nil {
		b := j.baseline(j.buckets())
		j.base = &b
	}
	return timeline.FromMS(j.base.p50), timeline.FromMS(j.base.p99), j.base.p99 > 0
}

func (b bucket) stable() bool {
	return b.served() > 0 && float64(b.served()) >= stableRatio*float64(b.tried())
}

// goodput says whether the goodput is back, but for one write that may fall to
// the neighbour.
func (b bucket) goodput(base baseline) bool {
	return float64(b.served())+1 >= fullGoodput*base.perSecond*b.at.Width().Seconds()
}

// full says whether goodput and latency are back. Latency is compared by the
// weighted median of the buckets' p99 on both sides: percentiles do not add up,
// and the highest of a hundred buckets is noise.
func (b bucket) full(base baseline) bool { return b.goodput(base) && b.P99ms <= fullLatency*base.p99 }

// window sums buckets; its p99 is their weighted median.
func window(bs []bucket) bucket {
	w := bucket{at: timeline.Interval{Lo: bs[0].at.Lo, Hi: bs[len(bs)-1].at.Hi}}
	p99 := make([]stats.Weighted, len(bs))
	for i, b := range bs {
		w.Acked += b.Acked
		w.Degraded += b.Degraded
		w.Failed += b.Failed
		w.Unknown += b.Unknown
		p99[i] = stats.Weighted{Value: b.P99ms, Weight: float64(b.served())}
	}
	w.P99ms = stats.WeightedMedian(p99)
	return w
}

// A state is stable or full: what has to hold over the whole of it, and what of
// its first bucket, so that it does not seem to begin while the mean still
// carries what was before.
type state struct {
	name         string
	lasts        time.Duration
	whole, first func(bucket) bool
}

// lasting finds the first bucket from which on a state lasts; the metric is from
// the effect to its beginning.
func (j *judge) lasting(s state, bs []bucket) *Metric {
	end := 0
	for i := range bs {
		for end = max(end, i); end < len(bs) && bs[end].at.Hi-bs[i].at.Lo < s.lasts; end++ {
		}
		if end == len(bs) {
			break
		}
		if !bs[i].stable() || !s.first(bs[i]) || !s.whole(window(bs[i:end+1])) {
			continue
		}
		lo := bs[i].at.Lo
		if i > 0 {
			lo = bs[i-1].at.Lo // it may have begun within the bucket before
		}
		d := timeline.Interval{Lo: lo, Hi: bs[i].at.Hi}.Sub(j.from.at)
		return &Metric{
			LoMS: timeline.MS(max(0, d.Lo)), HiMS: timeline.MS(max(0, d.Hi)),
			Events: indexes(bs[i].events, bs[end].events, j.from.events),
		}
	}
	j.m.Reasons[s.name] = fmt.Sprintf("not for %s without a break before the window ended", wordsOf(s.lasts))
	return nil
}

// goodputLoss sums what is missing to the baseline from the effect until full,
// or to the end of the window.
func (j *judge) goodputLoss(bs []bucket, base baseline) {
	until := time.Duration(math.MaxInt64)
	if j.m.Full != nil {
		until = j.from.at.Hi + timeline.FromMS(j.m.Full.HiMS)
	} else {
		j.m.Reasons["goodput_loss"] = "counted to the end of the window: full goodput was not reached"
	}
	sum := 0.0
	for _, b := range bs {
		if b.at.Lo < until {
			sum += max(0, base.perSecond*b.at.Width().Seconds()-float64(b.served()))
		}
	}
	j.m.GoodputLoss = &sum
}

// workload fills in the counts over time; buckets that are missing are zero.
func (j *judge) workload(bs []bucket, base baseline) {
	w := &j.m.Workload
	w.Baseline = base.perSecond
	if len(bs) == 0 {
		return
	}
	width := bs[0].at.Width()
	w.FirstMS, w.BucketMS = timeline.MS(bs[0].at.Lo), timeline.MS(width)
	n := int64((bs[len(bs)-1].at.Lo-bs[0].at.Lo)/width) + 1
	if n > mostBuckets {
		j.m.Reasons["workload"] = "the counts are too far apart to be one series"
		return
	}
	w.Acked, w.Degraded, w.Failed, w.Unknown = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	w.P50, w.P99 = make([]float64, n), make([]float64, n)
	for _, b := range bs {
		i := int64((b.at.Lo - bs[0].at.Lo) / width)
		w.Acked[i] += b.Acked
		w.Degraded[i] += b.Degraded
		w.Failed[i] += b.Failed
		w.Unknown[i] += b.Unknown
		w.P50[i], w.P99[i] = max(w.P50[i], b.P50ms), max(w.P99[i], b.P99ms)
	}
}
