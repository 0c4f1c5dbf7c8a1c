package redis_test

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// seen collects events.
type seen struct {
	mu  sync.Mutex
	all []timeline.Event
	lo  []time.Time
	hi  []time.Time
}

func (s *seen) emit(lo, hi time.Time, e timeline.Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.lo, s.hi = append(s.all, e), append(s.lo, lo), append(s.hi, hi)
	return len(s.all) - 1
}

// first returns the bounds of the first event of a kind.
func (s *seen) first(is func(timeline.Event) bool) (lo, hi time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range s.all {
		if is(e) && (!ok || s.hi[i].Before(hi)) {
			lo, hi, ok = s.lo[i], s.hi[i], true
		}
	}
	return lo, hi, ok
}

// observe runs the observer until the test ends.
func (b *bench) observe(t *testing.T) *seen {
	t.Helper()
	s := &seen{}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- b.sys.Observe(ctx, s.emit, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	return s
}

func TestTheDeathOfAPrimaryIsSeenInItsStepsAndClientsFindTheNextOne(t *testing.T) {
	b := setup{servers: 3, sentinels: true}.make(t)
	before := b.sys.Role(t.Context(), b.nodes[0])
	ranges, failover, ok, err := b.sys.Expect(t.Context(), probes.Cause{Injector: "kill", Params: map[string]string{"process": "main", "signal": "KILL"}, Roles: []string{"primary"}})
	if err != nil || !ok || !failover {
		t.Fatalf("expectation: %v %v %v", failover, ok, err)
	}
	events := b.observe(t)
	x := session(t, b.sys, probes.Where{})
	want(t, "before", put(t, x, time.Second, probes.Write{Run: "f"}), probes.Acked, "OK")

	lo := time.Now()
	signal(t, b.nodes[0], syscall.SIGKILL)
	signal(t, b.sentinels[0], syscall.SIGKILL)
	var ack probes.Ack
	seq := uint64(0)
	eventually(t, "a client to be served again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		y, refused := b.sys.Open(ctx, probes.Where{})
		if refused != nil {
			return false
		}
		defer y.Close()
		seq++
		ack = put(t, y, time.Second, probes.Write{Run: "f", Seq: seq})
		return ack.Class == probes.Acked
	})
	if ack.Node == "r1" || ack.Epoch == before.Epoch || ack.Epoch == "" {
		t.Errorf("taken by %+v, before it was %+v", ack, before)
	}

	down := func(e timeline.Event) bool {
		return e.Kind == timeline.Detected && e.Node == "r1" && e.Value == "+sdown"
	}
	chosen := func(e timeline.Event) bool { return e.Kind == timeline.Leader && e.Node == ack.Node }
	eventually(t, "the new primary to be told of", func() bool { _, _, ok := events.first(chosen); return ok })
	dLo, dHi, ok := events.first(down)
	if !ok {
		t.Fatalf("no Sentinel held r1 to be down: %+v", events.all)
	}
	cLo, cHi, _ := events.first(chosen)
	if detection := dHi.Sub(lo); detection < ranges["detection"].Min {
		t.Errorf("detected at most %v after the kill, earlier than %v can be: %s", detection, ranges["detection"].Min, ranges["detection"].Why)
	}
	if cHi.Before(dLo) {
		t.Errorf("chosen within [%v, %v], before it was detected within [%v, %v]", cLo.Sub(lo), cHi.Sub(lo), dLo.Sub(lo), dHi.Sub(lo))
	}
	if width := dHi.Sub(dLo); width > 2*time.Second {
		t.Errorf("the detection is bounded to %v only", width)
	}
	if _, _, ok := events.first(func(e timeline.Event) bool {
		return e.Kind == timeline.Note && strings.Contains(e.Value, "leads the failover")
	}); !ok {
		t.Error("who led the failover is not told")
	}
	t.Logf("detection [%v, %v], chosen [%v, %v]", dLo.Sub(lo), dHi.Sub(lo), cLo.Sub(lo), cHi.Sub(lo))
	b.comesBack(t, ack.Epoch)
}

// comesBack starts r1 and its Sentinel again.
func (b *bench) comesBack(t *testing.T, epoch string) {
	t.Helper()
	for _, n := range []targets.Node{b.nodes[0], b.sentinels[0]} {
		if err := n.(targets.Starter).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "r1 to follow", func() bool {
		members, err := b.sys.Members(t.Context())
		if err != nil {
			return false
		}
		for _, m := range members {
			if m.Node == "r1" {
				return m.State == "following" && m.Epoch == epoch
			}
		}
		return false
	})
}

func TestTwoHistoriesAreAForkOnlyIfTheyWereWrittenAtTheSameTime(t *testing.T) {
	b := setup{servers: 3, sentinels: true}.make(t)
	if err := b.sys.Prepare(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	at := func(i int, seq uint64, sent time.Duration) {
		t.Helper()
		x := session(t, b.sys, probes.Where{Node: b.nodes[i]})
		want(t, "a write", put(t, x, time.Second, probes.Write{Run: "k", Seq: seq, Sent: sent}), probes.Acked, "OK")
	}
	forks := func() int {
		t.Helper()
		s := &seen{}
		if err := b.sys.Fork(t.Context(), s.emit); err != nil {
			t.Fatal(err)
		}
		for _, e := range s.all {
			t.Logf("%s: %s", e.Value, e.Evidence)
			if e.Kind != timeline.Forked || e.Node != "r2" || !strings.Contains(e.Evidence, "write 0/3") {
				t.Errorf("%+v", e)
			}
		}
		return len(s.all)
	}
	at(0, 0, 10)
	if n := forks(); n != 0 {
		t.Errorf("one history is %d forks", n)
	}
	eventually(t, "the write to arrive", func() bool {
		n, err := b.raw(1, "LLEN", "dapple:k:0:0")
		return err == nil && n == int64(1)
	})
	b.must(t, 1, "REPLICAOF", "NO", "ONE") // for some seconds, until a Sentinel mends it
	at(1, 1, 20)
	if n := forks(); n != 0 {
		t.Errorf("what only one side has is %d forks", n)
	}
	at(0, 2, 30)
	if n := forks(); n != 0 {
		t.Errorf("one side after the other is %d forks", n)
	}
	at(1, 3, 40)
	if n := forks(); n != 1 {
		t.Errorf("two sides at the same time are %d forks", n)
	}
}

func TestClientsBelieveTheNewestConfigurationOfTheSentinels(t *testing.T) {
	b := setup{servers: 3, sentinels: true}.make(t)
	lost := b.open(t, func(x *probes.Binding) { x.Clients.DSN = strings.Replace(x.Clients.DSN, "#main", "#other", 1) })
	_, refused := lost.Open(t.Context(), probes.Where{})
	if refused == nil {
		t.Fatal("a client found what no Sentinel watches")
	}
	want(t, "a wrong name", *refused, probes.Failed, "not connected: no Sentinel names a primary: it watches nothing that is called other: say the name after # in clients.dsn")
	signal(t, b.sentinels[0], syscall.SIGSTOP) // it will go on naming r1
	defer signal(t, b.sentinels[0], syscall.SIGCONT)
	if _, err := call(b.sentinelAddr(1), "", "SENTINEL", "FAILOVER", "main"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "clients to find the new primary, though one Sentinel does not answer", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		x, refused := b.sys.Open(ctx, probes.Where{})
		if refused != nil {
			return false
		}
		defer x.Close()
		ack := put(t, x, time.Second, probes.Write{Run: "n"})
		return ack.Class == probes.Acked && ack.Node != "r1"
	})
}
