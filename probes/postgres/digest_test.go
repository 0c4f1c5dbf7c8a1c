package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
)

// What is done to a full chunk, each in a way that leaves count, ends or sum as
// they were, must change its digest, or be told by the digest being that of the
// rows that are there.
func TestADigestIsThatOfTheRowsWhateverHappenedToThem(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Standbys: 1})
	s := open(t, c)
	a := hands{c}.admin(t, 0)
	for i, change := range []string{
		"select 1",
		"delete from %s where client = 2 and seq = 40000",
		"update %s set seq = seq + 1 where client = 2 and seq in (7, 40000)",
		"update %s set seq = case when seq in (5, 9) then 7 else seq end where client = 2",
		"update %s set client = 3 where client = 2 and seq = 65535",
		"delete from %s where client = 2 and seq >= 65536",
		"insert into %s select client, seq, sent_ns from %s where client = 1 and seq < 10",
		"update %s set seq = seq + 4294967296 where client = 1",
		"truncate %s",
	} {
		run := fmt.Sprintf("digest%d", i)
		if err := s.Prepare(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		exec(t, a, fmt.Sprintf("insert into %s select i %% 3, i / 3, i from generate_series(0, 209999) i", table(run)),
			strings.ReplaceAll(change, "%s", table(run)))
		want := map[probes.Chunk]probes.Digest{}
		rows, err := a.Query(t.Context(), "select client, seq from "+table(run))
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var client int
			var seq uint64
			if err := rows.Scan(&client, &seq); err != nil {
				t.Fatal(err)
			}
			k := probes.Chunk{Client: client, No: seq >> probes.ChunkBits}
			d, ok := want[k]
			if !ok {
				d = probes.Digest{Chunk: k, Min: seq, Max: seq}
			}
			d.Count++
			d.Min, d.Max, d.Hash = min(d.Min, seq), max(d.Max, seq), d.Hash^probes.HashID(seq)
			want[k] = d
		}
		for _, n := range c.Servers {
			var got []probes.Digest
			until(t, n.Name()+" to hold as many chunks", func() bool {
				var err error
				if got, err = s.Digests(t.Context(), n, run); err != nil && n == c.Servers[0] {
					t.Fatal(err)
				}
				return len(got) == len(want) && equal(want, got)
			})
		}
	}
}

func equal(want map[probes.Chunk]probes.Digest, got []probes.Digest) bool {
	for _, d := range got {
		if want[d.Chunk] != d {
			return false
		}
	}
	return true
}

// The audit of 10 M rows must cost at most 1.5 times a plain count over the
// same index; the metric x-count is that ratio, of the best of each.
func BenchmarkAuditOfTenMillionRows(b *testing.B) {
	c := postgrestest.Start(b, postgrestest.Options{Conf: []string{"shared_buffers=512MB", "max_wal_size=8GB"}})
	s := open(b, c)
	if err := s.Prepare(b.Context(), "bench"); err != nil {
		b.Fatal(err)
	}
	a := hands{c}.admin(b, 0)
	const rows = 10_000_000
	exec(b, a, fmt.Sprintf(`insert into %s select i %% 8, i / 8, i, '172.18.0.3'::inet, 1 from generate_series(0, %d) i`, table("bench"), rows-1))
	exec(b, a, "vacuum analyze "+table("bench"))
	exec(b, a, "set enable_seqscan = off", "set enable_bitmapscan = off")
	bestAudit, bestCount := time.Hour, time.Hour
	b.ResetTimer()
	for b.Loop() {
		began := time.Now()
		exec(b, a, "select count(*) from "+table("bench"))
		bestCount = min(bestCount, time.Since(began))
		began = time.Now()
		d, err := s.Digests(b.Context(), nil, "bench")
		if err != nil {
			b.Fatal(err)
		}
		bestAudit = min(bestAudit, time.Since(began))
		var n uint64
		for _, x := range d {
			n += x.Count
		}
		if n != rows {
			b.Fatalf("%d rows in %d digests", n, len(d))
		}
	}
	b.ReportMetric(bestCount.Seconds()*1000, "count-ms")
	b.ReportMetric(bestAudit.Seconds()*1000, "audit-ms")
	b.ReportMetric(bestAudit.Seconds()/bestCount.Seconds(), "x-count")
}

func BenchmarkPut(b *testing.B) {
	c := postgrestest.Start(b, postgrestest.Options{Conf: []string{"synchronous_commit=off"}})
	s := open(b, c)
	if err := s.Prepare(b.Context(), "put"); err != nil {
		b.Fatal(err)
	}
	x, refused := s.Open(b.Context(), probes.Where{})
	if refused != nil {
		b.Fatalf("%+v", *refused)
	}
	defer x.Close()
	b.ReportAllocs()
	var seq uint64
	for b.Loop() {
		if a := x.Put(b.Context(), probes.Write{Run: "put", Seq: seq}); a.Class != probes.Acked {
			b.Fatalf("%+v", a)
		}
		seq++
	}
}

func BenchmarkRole(b *testing.B) {
	c := postgrestest.Start(b, postgrestest.Options{})
	s := open(b, c)
	b.ReportAllocs()
	for b.Loop() {
		if got := s.Role(b.Context(), c.Servers[0]); got.Role != probes.Primary {
			b.Fatalf("%+v", got)
		}
	}
}

// A full disk refuses rows, and no row is there that was refused.
func TestAFullDiskRefusesWritesDefinitely(t *testing.T) {
	testenv.NeedRoot(t)
	dir := tmpfs(t, "192m")
	c := postgrestest.Start(t, postgrestest.Options{Dir: dir, Conf: []string{"min_wal_size=32MB", "max_wal_size=32MB", "autovacuum=off"}})
	s := open(t, c)
	if err := s.Prepare(t.Context(), "full"); err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(10) {
		if a := write(t, s, c.Servers[0], probes.Write{Run: "full", Seq: seq}); a.Class != probes.Acked {
			t.Fatalf("%+v", a)
		}
	}
	fill(t, dir)
	x, refused := s.Open(t.Context(), probes.Where{Node: c.Servers[0]})
	if refused != nil {
		t.Fatalf("%+v", *refused)
	}
	defer x.Close()
	acked := uint64(10)
	for seq := acked; seq < 20_000; seq++ {
		a := x.Put(t.Context(), probes.Write{Run: "full", Seq: seq})
		if a.Class == probes.Acked {
			acked++
			continue
		}
		if a.Class != probes.Failed || a.Reply[:6] != "53100 " {
			t.Fatalf("write %d: %+v", seq, a)
		}
		if x.Broken() {
			t.Error("a refusal broke the session")
		}
		d, err := s.Digests(t.Context(), nil, "full")
		if err != nil || len(d) != 1 || d[0].Count != acked {
			t.Errorf("%d acknowledged, %+v, %v", acked, d, err)
		}
		return
	}
	t.Errorf("the disk is full, and %d writes were acknowledged", acked)
}

// Rows of clients beyond what fits an int4, and ids beyond int8, are bugs of
// ours; ids up to 2^62 are not.
func TestLargeIDsAreHeld(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{})
	s := open(t, c)
	if err := s.Prepare(t.Context(), "large"); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		seq := r.Uint64() >> 2
		k := probes.Chunk{Client: int(r.Int32()), No: seq >> probes.ChunkBits}
		if a := write(t, s, c.Servers[0], probes.Write{Run: "large", Client: k.Client, Seq: seq}); a.Class != probes.Acked {
			t.Fatalf("%+v", a)
		}
		var got []uint64
		if err := s.IDs(t.Context(), nil, "large", k, func(id uint64) { got = append(got, id) }); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0] != seq {
			t.Errorf("%v, want %d", got, seq)
		}
	}
	d, err := s.Digests(t.Context(), nil, "large")
	if err != nil || len(d) != 20 {
		t.Errorf("%d digests, %v", len(d), err)
	}
}
