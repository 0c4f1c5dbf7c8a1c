package ledger

import (
	"context"
	"math/bits"
	"runtime"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// hundredMillion is spread over as many clients as a drill has.
const (
	hundredMillion = 100_000_000
	benchClients   = 8
)

// dense is a ledger that holds every id below each client's mark. Its digests
// are right, or say too much by one row, so that all chunks must be streamed.
type dense struct {
	*system
	marks []uint64
	dirty bool
}

func (d *dense) Digests(context.Context, targets.Node, string) (all []probes.Digest, err error) {
	for client, n := range d.marks {
		for no := uint64(0); no<<probes.ChunkBits < n; no++ {
			first := no << probes.ChunkBits
			last := min(n, first+chunkSize) - 1
			g := probes.Digest{Chunk: probes.Chunk{Client: client, No: no}, Count: last - first + 1, Min: first, Max: last}
			if d.dirty {
				g.Count++
			}
			all = append(all, g)
		}
	}
	return all, nil
}

func (d *dense) IDs(_ context.Context, _ targets.Node, _ string, c probes.Chunk, see func(uint64)) error {
	if c.Client >= len(d.marks) {
		return nil
	}
	first := c.No << probes.ChunkBits
	for seq := first; seq < min(d.marks[c.Client], first+chunkSize); seq++ {
		see(seq)
	}
	return nil
}

func (d *dense) Ready(context.Context, probes.Write) error { return nil }

// BenchmarkAuditBookkeeping is what an audit of 100 million acknowledged writes
// costs besides the system's own work: when all chunks are clean, and when every
// id is streamed. Bound: 1 s and 64 MB (of which the books are 13 MB).
func BenchmarkAuditBookkeeping(b *testing.B) {
	for _, c := range []struct {
		name  string
		dirty bool
	}{{"clean", false}, {"streamed", true}} {
		b.Run(c.name, func(b *testing.B) {
			before := settledHeap()
			sys := &dense{system: newSystem(), dirty: c.dirty}
			w := New(Config{System: sys, Ledger: sys, Run: "r", Dir: b.TempDir(), Apps: benchClients, FreshPeriod: Off})
			if err := w.Prepare(b.Context()); err != nil {
				b.Fatal(err)
			}
			booking := fill(w)
			for _, s := range w.streams[:benchClients] {
				sys.marks = append(sys.marks, s.books.next)
			}
			books := settledHeap() - before
			peak := uint64(0)
			for b.Loop() {
				out, err := w.Audit(b.Context(), "A1", nil, func(time.Time, time.Time, timeline.Event) int { return 0 })
				if err != nil || out.Acked < hundredMillion || out.Lost > 1 {
					b.Fatal(out, err)
				}
				peak = max(peak, heapNow()-before)
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/audit")
			b.ReportMetric(float64(books)/1e6, "MB-books")
			b.ReportMetric(float64(peak)/1e6, "MB-peak")
			b.ReportMetric(float64(booking.Nanoseconds())/hundredMillion, "ns/booked")
			if err := w.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// fill books the acks without their dates, which go to disk.
func fill(w *Workload) time.Duration {
	began := time.Now()
	for _, s := range w.streams[:benchClients] {
		for seq := range uint64(hundredMillion / benchClients) {
			s.books.mark(seq, acked)
		}
		s.books.next = hundredMillion / benchClients
	}
	return time.Since(began)
}

func settledHeap() uint64 {
	runtime.GC()
	return heapNow()
}

func heapNow() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkSettle is what each write costs on its own path: id, class, date.
func BenchmarkSettle(b *testing.B) {
	var books books
	books.init(func() {})
	books.grow(1 << 62)
	who := taker{"pg1", "1", "INSERT 0 1"}
	var spare []byte
	for b.Loop() {
		seq, err := books.issue(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if t := int64(seq) * 100; books.settle(outcome{seq, acked, t, t + 90, who}) {
			spare, _ = books.take(spare)
		}
	}
}

// BenchmarkReadSegment is what it costs to read back when writes were made.
func BenchmarkReadSegment(b *testing.B) {
	var f frame
	for i := range int64(10_000) {
		f.add(outcome{seq: uint64(i), sent: i * 400, back: i*400 + 380, who: taker{"pg1", "1", "INSERT 0 1"}})
	}
	n := 0
	for b.Loop() {
		if _, err := decode(f.buf, func(o outcome) bool { n += bits.OnesCount64(o.seq); return true }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/10_000, "ns/write")
	b.ReportMetric(float64(len(f.buf))/10_000, "B/write")
}
