package systemtest

import (
	order "cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// run makes a ledger of its own for a law.
func (s *suite) run(t *testing.T) (string, probes.Ledger) {
	t.Helper()
	l, ok := s.sys.(probes.Ledger)
	if !ok {
		t.Skip("this kind holds no ledger")
	}
	run := "law" + strconv.FormatInt(time.Now().UnixNano(), 36)
	ctx, cancel := s.patient(t)
	defer cancel()
	for range 2 { // idempotent
		if err := l.Prepare(ctx, run); err != nil {
			t.Fatalf("prepare: %v", err)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := s.patient(t)
		defer cancel()
		for range 2 {
			if err := l.Clean(ctx, run); err != nil {
				t.Errorf("clean: %v", err)
			}
		}
	})
	return run, l
}

func (s *suite) writing(t *testing.T) {
	t.Run("WhatWasPutIsReadBack", s.readBack)
	t.Run("ADigestIsThatOfTheIDsWithGapsAndAcrossChunks", s.gaps)
	t.Run("AnIDWrittenTwiceIsSeenTwice", s.twice)
	t.Run("AWriteWhoseTimeIsUpIsNotAcknowledged", s.expired)
	t.Run("ABarrierIsAcknowledgedAndReadBack", s.ready)
	t.Run("OfTheNodesOnlyThePrimaryTakesWrites", s.direct)
	t.Run("ALedgerThatWasCleanedIsGone", s.cleaned)
}

// open connects and closes with the test.
func (s *suite) open(t *testing.T, from probes.Where) probes.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	x, refused := s.sys.Open(ctx, from)
	if refused != nil {
		t.Fatalf("open: %+v", *refused)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Errorf("close a session: %v", err)
		}
	})
	return x
}

func (s *suite) put(t *testing.T, x probes.Session, run string, id [2]uint64) probes.Ack {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	return x.Put(ctx, probes.Write{Run: run, Client: int(id[0]), Seq: id[1], Sent: time.Duration(id[1])})
}

// acked puts ids through the client endpoint, each of which must be taken.
func (s *suite) acked(t *testing.T, run string, ids ...[2]uint64) probes.Ack {
	t.Helper()
	x := s.open(t, probes.Where{})
	var last probes.Ack
	for _, id := range ids {
		if last = s.put(t, x, run, id); last.Class != probes.Acked {
			t.Fatalf("write %v: %+v", id, last)
		}
	}
	if x.Broken() {
		t.Error("the session is broken after acknowledged writes")
	}
	return last
}

func (s *suite) readBack(t *testing.T) {
	run, l := s.run(t)
	primary, claim := s.primary(t)
	var ids [][2]uint64
	for i := range uint64(150) {
		ids = append(ids, [2]uint64{i % 3, i / 3})
	}
	ack := s.acked(t, run, ids...)
	if got := s.sys.NodeName(ack.Node); got != primary.Name() {
		t.Errorf("the taker %q is node %q, the primary is %q", ack.Node, got, primary.Name())
	}
	if ack.Epoch != claim.Epoch {
		t.Errorf("taken in epoch %q, the primary claims %q", ack.Epoch, claim.Epoch)
	}
	s.holds(t, l, nil, run, ids)
	for _, n := range s.Binding.Nodes {
		s.wait(t, n.Name()+" to hold all rows", func(ctx context.Context) error {
			got, err := l.Digests(ctx, n, run)
			if err != nil {
				return err
			}
			sorted(got)
			if diff := cmp.Diff(s.digests(ids), got); diff != "" {
				return fmt.Errorf("digests (-want +got):\n%s", diff)
			}
			return nil
		})
	}
}

func (s *suite) gaps(t *testing.T) {
	run, l := s.run(t)
	const edge = 1 << probes.ChunkBits
	ids := [][2]uint64{{0, 0}, {0, 1}, {0, 3}, {0, edge - 1}, {0, edge}, {0, edge + 1}, {0, 5 * edge}, {7, 2}, {7, 3}, {7, 4}}
	s.acked(t, run, ids...)
	s.holds(t, l, nil, run, ids)
}

func (s *suite) twice(t *testing.T) {
	if s.Unique {
		t.Skip("this kind cannot hold an id twice")
	}
	run, l := s.run(t)
	// The sum, the ends and the count are those of 0 to 3, each once.
	ids := [][2]uint64{{0, 0}, {0, 0}, {0, 3}, {0, 3}}
	s.acked(t, run, ids...)
	s.holds(t, l, nil, run, ids)
}

func (s *suite) expired(t *testing.T) {
	run, l := s.run(t)
	x := s.open(t, probes.Where{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ack := x.Put(ctx, probes.Write{Run: run, Seq: 0})
	if ack.Class != probes.Failed && ack.Class != probes.Unknown {
		t.Fatalf("a write after its time: %+v", ack)
	}
	if ack.Class == probes.Failed {
		s.holds(t, l, nil, run, nil)
	}
}

func (s *suite) ready(t *testing.T) {
	run, l := s.run(t)
	ctx, cancel := s.patient(t)
	defer cancel()
	if err := l.Ready(ctx, probes.Write{Run: run, Client: 9, Seq: 4}); err != nil {
		t.Fatal(err)
	}
	s.holds(t, l, nil, run, [][2]uint64{{9, 4}})
}

func (s *suite) direct(t *testing.T) {
	run, _ := s.run(t)
	primary, _ := s.primary(t)
	for i, n := range s.Binding.Nodes {
		places := []probes.Where{{Node: n}}
		if _, ok := n.(targets.Dialer); ok {
			places = append(places, probes.Where{Node: n, Inside: true})
		}
		for j, from := range places {
			ack := s.put(t, s.open(t, from), run, [2]uint64{uint64(i), uint64(j)})
			want := probes.Failed
			if n == primary || s.Forwards {
				want = probes.Acked
			}
			if ack.Class != want {
				t.Errorf("directly to %s (inside: %v): %+v, want %s", n.Name(), from.Inside, ack, want)
			}
		}
	}
}

func (s *suite) cleaned(t *testing.T) {
	run, l := s.run(t)
	s.acked(t, run, [2]uint64{0, 0})
	if err := l.Clean(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if d, err := l.Digests(t.Context(), nil, run); err == nil && len(d) > 0 {
		t.Errorf("after Clean there are still %v", d)
	}
}

// holds checks digests and ids of all chunks at n.
func (s *suite) holds(t *testing.T, l probes.Ledger, n targets.Node, run string, ids [][2]uint64) {
	t.Helper()
	want := s.digests(ids)
	got, err := l.Digests(t.Context(), n, run)
	if err != nil {
		t.Fatalf("digests: %v", err)
	}
	sorted(got)
	if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
	times, seen := map[[2]uint64]int{}, map[[2]uint64]int{}
	for _, id := range ids {
		times[id]++
	}
	for _, d := range want {
		if err := l.IDs(t.Context(), n, run, d.Chunk, func(seq uint64) { seen[[2]uint64{uint64(d.Client), seq}]++ }); err != nil {
			t.Fatalf("ids of %+v: %v", d.Chunk, err)
		}
	}
	if diff := cmp.Diff(times, seen); diff != "" {
		t.Errorf("how often each id is there (-want +got):\n%s", diff)
	}
}

// sorted orders digests by client, then by chunk.
func sorted(d []probes.Digest) {
	slices.SortFunc(d, func(a, b probes.Digest) int {
		return order.Or(order.Compare(a.Client, b.Client), order.Compare(a.No, b.No))
	})
}

// digests is what ids come to, sorted.
func (s *suite) digests(ids [][2]uint64) []probes.Digest {
	var all []probes.Digest
	at := map[probes.Chunk]int{}
	for _, id := range ids {
		c := probes.Chunk{Client: int(id[0]), No: id[1] >> probes.ChunkBits}
		i, ok := at[c]
		if !ok {
			i = len(all)
			at[c] = i
			all = append(all, probes.Digest{Chunk: c, Min: id[1], Max: id[1]})
		}
		d := &all[i]
		d.Count++
		d.Min, d.Max = min(d.Min, id[1]), max(d.Max, id[1])
		if !s.Unique {
			d.Hash ^= probes.HashID(id[1])
		}
	}
	sorted(all)
	return all
}

func (s *suite) class(t *testing.T, c Case) {
	run, _ := s.run(t)
	ack := c.Provoke(t, s.sys, run)
	if ack.Class != c.Want || !strings.HasPrefix(ack.Reply, c.Reply) {
		t.Errorf("%+v, want class %s and a reply that begins with %q", ack, c.Want, c.Reply)
	}
	if strings.ContainsAny(ack.Reply, "\n\r") {
		t.Errorf("the reply %q is not one line", ack.Reply)
	}
}
