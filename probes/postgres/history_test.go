package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/postgres"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
)

type emitted struct {
	lo, hi time.Time
	timeline.Event
}

func collect(events *[]emitted) timeline.Emit {
	return func(lo, hi time.Time, e timeline.Event) int {
		*events = append(*events, emitted{lo, hi, e})
		return len(*events)
	}
}

// forks calls Fork.
func forks(t *testing.T, s *postgres.System) []emitted {
	t.Helper()
	var events []emitted
	if err := s.Fork(t.Context(), collect(&events)); err != nil {
		t.Fatal(err)
	}
	return events
}

func write(t *testing.T, s *postgres.System, n *postgrestest.Server, w probes.Write) probes.Ack {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	x, refused := s.Open(ctx, probes.Where{Node: n})
	if refused != nil {
		t.Fatalf("%+v", *refused)
	}
	defer x.Close()
	return x.Put(ctx, w)
}

func TestTwoHistoriesAreProvenByARowThatOthersCanRead(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Standbys: 1})
	s := open(t, c)
	old, young := c.Servers[0], c.Servers[1]
	if err := s.Prepare(t.Context(), "fork"); err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(3) {
		if a := write(t, s, old, probes.Write{Run: "fork", Client: 1, Seq: seq}); a.Class != probes.Acked {
			t.Fatalf("%+v", a)
		}
	}
	until(t, "the standby to have the rows", func() bool {
		d, err := s.Digests(t.Context(), young, "fork")
		return err == nil && len(d) == 1 && d[0].Count == 3
	})
	if got := forks(t, s); len(got) > 0 {
		t.Errorf("one primary, and %v", got)
	}
	if err := young.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := forks(t, s); len(got) > 0 {
		t.Errorf("two primaries with the same rows, and %v", got)
	}

	// A commit that waits for a standby is in the old primary's WAL, and nobody
	// was told of it: no fork.
	a := hands{c}.admin(t, 0)
	exec(t, a, "set synchronous_commit = local", "alter system set synchronous_standby_names = 'ghost'", "select pg_reload_conf()")
	settled(t, a, "ghost")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	x, refused := s.Open(ctx, probes.Where{Node: old})
	if refused != nil {
		t.Fatalf("%+v", *refused)
	}
	if ack := x.Put(ctx, probes.Write{Run: "fork", Client: 2, Seq: 0}); ack.Class != probes.Unknown {
		t.Fatalf("%+v", ack)
	}
	if got := forks(t, s); len(got) > 0 {
		t.Errorf("a commit that still waits, and %v", got)
	}

	exec(t, a, "alter system reset synchronous_standby_names", "select pg_reload_conf()")
	if a := write(t, s, old, probes.Write{Run: "fork", Client: 1, Seq: 3}); a.Class != probes.Acked || a.Epoch != "1" {
		t.Fatalf("%+v", a)
	}
	got := forks(t, s)
	if len(got) != 1 || got[0].Kind != timeline.Forked || got[0].Node != old.Name() || got[0].Epoch != "1" {
		t.Fatalf("%+v", got)
	}
	for _, part := range []string{"can be read on pg1 and not on pg2", "pg1 writes timeline 1 at 0/", "timeline 2 branched off it at 0/"} {
		if !strings.Contains(got[0].Evidence, part) {
			t.Errorf("the evidence %q lacks %q", got[0].Evidence, part)
		}
	}
	if got[0].hi.Before(got[0].lo) {
		t.Errorf("it ends before it begins: %+v", got[0])
	}
}

func TestAPromotionIsDatedByTheServersOwnFile(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Standbys: 1})
	s := open(t, c)
	dated := func(since time.Time) []emitted {
		t.Helper()
		var events []emitted
		if err := s.Promotions(t.Context(), since, collect(&events)); err != nil {
			t.Fatal(err)
		}
		return events
	}
	if got := dated(time.Time{}); len(got) > 0 {
		t.Errorf("nobody was promoted, and %+v", got)
	}
	c.Servers[0].Kill()
	before := time.Now()
	if err := c.Servers[1].Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	got := dated(before)
	if len(got) != 1 || got[0].Kind != timeline.Promoted || got[0].Node != "pg2" || got[0].Epoch != "2" || got[0].Evidence == "" {
		t.Fatalf("%+v", got)
	}
	if got[0].hi.Before(before) || got[0].lo.After(after) {
		t.Errorf("[%v, %v] does not hold the promotion within [%v, %v]", got[0].lo, got[0].hi, before, after)
	}
	if got := dated(got[0].hi.Add(time.Second)); len(got) > 0 {
		t.Errorf("a promotion of before the trial is told: %+v", got)
	}
}

func TestAWriteThatReachedNoStandbyIsDegradedWhereThatIsDeclared(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Standbys: 1})
	declared := open(t, c, func(b *probes.Binding) { b.Extra["synchronous"] = "on" })
	undeclared := open(t, c)
	if err := declared.Prepare(t.Context(), "sync"); err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	put := func(s *postgres.System) probes.Ack {
		seq++
		return write(t, s, c.Servers[0], probes.Write{Run: "sync", Seq: seq})
	}
	want := func(got probes.Ack, class probes.Class, reply string) {
		t.Helper()
		if got.Class != class || got.Reply != reply || got.Node != c.Servers[0].Addr {
			t.Errorf("%+v, want %s %q", got, class, reply)
		}
	}
	want(put(undeclared), probes.Acked, "INSERT 0 1")
	want(put(declared), probes.Degraded, "INSERT 0 1, no synchronous standby")
	a := hands{c}.admin(t, 0)
	exec(t, a, "set synchronous_commit = local", "alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
	settled(t, a, "*")
	want(put(declared), probes.Acked, "INSERT 0 1")
	for _, weak := range []string{"local", "off"} {
		exec(t, a, "alter role postgres set synchronous_commit = "+weak)
		want(put(declared), probes.Degraded, "INSERT 0 1, synchronous_commit "+weak)
		want(put(undeclared), probes.Acked, "INSERT 0 1")
	}
}
