package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dapple-drills/dapple/drills/timeline"
)

const (
	// bucketSize is the width of a Bucket event.
	bucketSize = 250 * time.Millisecond
	// latencyMax is the longest latency that the percentiles tell apart; two
	// significant digits keep a histogram at 20 kB.
	latencyMax    = time.Minute
	latencyDigits = 2
)

// buckets count the client classes' writes by the time for which they were
// intended. A bucket is emitted when each of them has its outcome, in order. The
// incomplete ones at the beginning and at the end are left out: as rates they
// would be too low.
type buckets struct {
	mu    sync.Mutex
	base  time.Time
	emit  timeline.Emit // nil before begin
	first int64         // number of open[0]; bucket n covers [n, n+1) × bucketSize
	open  []*bucket
	spare []*bucket
}

type bucket struct {
	pending int
	counts  timeline.Counts
	latency *hdrhistogram.Histogram // of acked ones, in microseconds
}

func (b *buckets) begin(base, start time.Time, emit timeline.Emit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.base, b.emit = base, emit
	b.first = floor(int64(start.Sub(base)), int64(bucketSize)) + 1
}

// at returns the bucket of a time, or nil if it is not counted.
func (b *buckets) at(t time.Time) *bucket {
	i := floor(int64(t.Sub(b.base)), int64(bucketSize)) - b.first
	if b.emit == nil || i < 0 {
		return nil
	}
	for int64(len(b.open)) <= i {
		b.open = append(b.open, b.empty())
	}
	return b.open[i]
}

func (b *buckets) empty() *bucket {
	if n := len(b.spare); n > 0 {
		e := b.spare[n-1]
		b.spare = b.spare[:n-1]
		e.latency.Reset()
		e.counts = timeline.Counts{}
		return e
	}
	return &bucket{latency: hdrhistogram.New(1, latencyMax.Microseconds(), latencyDigits)}
}

// due says that a write is intended for t and will have an outcome.
func (b *buckets) due(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.at(t); k != nil {
		k.pending++
	}
}

// done gives a due write its outcome.
func (b *buckets) done(t, back time.Time, c class) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.at(t)
	if k == nil {
		return
	}
	k.pending--
	switch c {
	case acked:
		k.counts.Acked++
		us := min(max(back.Sub(t).Microseconds(), 1), latencyMax.Microseconds())
		if err := k.latency.RecordValue(us); err != nil {
			panic("dapple: internal error: a latency within bounds is out of bounds: " + err.Error())
		}
	case degraded:
		k.counts.Degraded++
	case unknown:
		k.counts.Unknown++
	case failed:
		k.counts.Failed++
	}
}

// run emits complete buckets until ctx ends.
func (b *buckets) run(ctx context.Context, frontier func() time.Duration) {
	t := time.NewTicker(bucketSize / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			b.closeUpTo(frontier())
		}
	}
}

// closeUpTo emits the buckets that end before the frontier and wait for nothing.
func (b *buckets) closeUpTo(frontier time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.emit != nil && time.Duration(b.first+1)*bucketSize <= frontier {
		var k *bucket
		if len(b.open) > 0 {
			k = b.open[0]
			if k.pending > 0 {
				return
			}
			b.open = b.open[1:]
		} else {
			k = b.empty()
		}
		lo := b.base.Add(time.Duration(b.first) * bucketSize)
		b.emit(lo, lo.Add(bucketSize), timeline.Event{Kind: timeline.Bucket, By: "ledger", Data: k.data()})
		b.first++
		b.spare = append(b.spare, k)
	}
}

func (k *bucket) data() json.RawMessage {
	if k.counts.Acked > 0 {
		k.counts.P50ms = float64(k.latency.ValueAtQuantile(50)) / 1000
		k.counts.P99ms = float64(k.latency.ValueAtQuantile(99)) / 1000
	}
	data, err := json.Marshal(k.counts)
	if err != nil {
		panic(fmt.Sprintf("dapple: internal error: counts have no JSON: %v", err))
	}
	return data
}

const (
	slotSize = 50 * time.Millisecond
	slots    = 2400
	// RecentMax is how far Recent looks back.
	RecentMax = slots * slotSize
)

// recent counts outcomes of the client classes by when they came.
type recent struct {
	mu   sync.Mutex
	base time.Time
	ring [slots]slot
	last Recent
}

type slot struct {
	no int64
	n  [classes]int64
}

// Recent is what became of the client classes' writes in the last while.
type Recent struct {
	Acked, Degraded, Failed, Unknown int64
	LastAck                          time.Time // of all time; zero if there was none
	LastBad                          time.Time // the latest that was failed or unknown
	LastReply                        string    // what was said to that
}

func (r *recent) add(back time.Time, c class, reply string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.base.IsZero() {
		r.base = back
	}
	no := max(0, int64(back.Sub(r.base)/slotSize))
	s := &r.ring[no%slots]
	if s.no != no {
		*s = slot{no: no}
	}
	s.n[c]++
	switch c {
	case acked, degraded:
		r.last.LastAck = later(r.last.LastAck, back)
	case unknown, failed:
		if !back.Before(r.last.LastBad) {
			r.last.LastBad, r.last.LastReply = back, reply
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Recent counts the outcomes that came in the last d, to within 50 ms; d is at
// most RecentMax.
func (w *Workload) Recent(d time.Duration) Recent {
	r := &w.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.last
	if r.base.IsZero() {
		return out
	}
	now := int64(time.Since(r.base) / slotSize)
	from := max(0, now-int64(min(d, RecentMax)/slotSize)+1)
	for no := from; no <= now; no++ {
		if s := &r.ring[no%slots]; s.no == no {
			out.Acked += s.n[acked]
			out.Degraded += s.n[degraded]
			out.Unknown += s.n[unknown]
			out.Failed += s.n[failed]
		}
	}
	return out
}
