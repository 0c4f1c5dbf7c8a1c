package patroni_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/patroni"
	"github.com/dapple-drills/dapple/targets"
)

// A watcher is an observer at work.
type watcher struct {
	*patroni.System
	mu     sync.Mutex
	events []timeline.Event
	widths []time.Duration
}

// watch opens b and observes it until the test ends.
func (b *bench) watch(t *testing.T, binding probes.Binding) *watcher {
	t.Helper()
	s, err := patroni.Open(t.Context(), binding)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{System: s}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Observe(ctx, w.emit, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	<-ready
	return w
}

func (w *watcher) emit(lo, hi time.Time, e timeline.Event) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events, w.widths = append(w.events, e), append(w.widths, hi.Sub(lo))
	return len(w.events)
}

// leaders are whom the control plane was seen to have, in order.
func (w *watcher) leaders(by string) (names []string, widest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range w.events {
		if e.Kind == timeline.Leader && e.By == by {
			names, widest = append(names, e.Node), max(widest, w.widths[i])
		}
	}
	return names, widest
}

// signal sends sig to the Patroni daemon of a node: the processes that run it,
// but for pid 1, which reaps.
func (b *bench) signal(ctx context.Context, n targets.Node, sig syscall.Signal) error {
	procs, err := n.(targets.Processes).Processes(ctx)
	if err != nil {
		return err
	}
	sent := 0
	for _, p := range procs {
		if p.Main || p.Name == "postgres" || !slices.ContainsFunc(p.Args, func(a string) bool { return strings.HasSuffix(a, "/patroni") }) {
			continue
		}
		h, err := n.(targets.Processes).Hold(ctx, p.ProcID)
		if err != nil {
			return err
		}
		if err := errors.Join(h.Signal(sig), h.Close()); err != nil {
			return err
		}
		sent++
	}
	if sent == 0 {
		return fmt.Errorf("no Patroni daemon among %+v", procs)
	}
	return nil
}

// The known-bad case: without a watchdog, an agent that is frozen leaves its
// server writable beside the new primary.
func TestAFrozenAgentsServerIsSeenToWriteOnBesideTheNewPrimary(t *testing.T) {
	b := start(t, "patroni-async")
	w := b.watch(t, b.binding)
	plain := b.binding // without etcd, as where it cannot be reached
	plain.Extra = maps.Clone(plain.Extra)
	delete(plain.Extra, "etcd")
	coarse := b.watch(t, plain)
	if err := w.Prepare(t.Context(), "freeze"); err != nil {
		t.Fatal(err)
	}
	old := b.primary(t, w, nil)
	put := func(n targets.Node, seq uint64) probes.Ack {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		x, refused := w.Open(ctx, probes.Where{Node: n, Inside: true})
		if refused != nil {
			return *refused
		}
		defer x.Close()
		return x.Put(ctx, probes.Write{Run: "freeze", Seq: seq})
	}
	if a := put(old, 0); a.Class != probes.Acked {
		t.Fatalf("before: %+v", a)
	}
	frozen := time.Now()
	if err := b.signal(t.Context(), old, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			if err := b.signal(context.WithoutCancel(t.Context()), old, syscall.SIGCONT); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(thaw)
	young := b.primary(t, w, old)
	before, after := put(young, 1), put(old, 2)
	if before.Class != probes.Acked || after.Class != probes.Acked || before.Epoch == after.Epoch {
		t.Errorf("the new primary: %+v; then the old one: %+v; want both acked, in two epochs", before, after)
	}
	var proof []timeline.Event
	collect := func(lo, hi time.Time, e timeline.Event) int {
		proof = append(proof, e)
		if hi.Before(frozen) {
			t.Errorf("%+v is from before the freeze", e)
		}
		return len(proof)
	}
	if err := w.Fork(t.Context(), collect); err != nil {
		t.Error(err)
	}
	if err := w.Promotions(t.Context(), frozen, collect); err != nil {
		t.Error(err)
	}
	if len(proof) != 2 || proof[0].Kind != timeline.Forked || proof[0].Node != old.Name() || proof[1].Kind != timeline.Promoted || proof[1].Node != young.Name() {
		t.Errorf("proofs: %+v", proof)
	}
	thaw()
	b.whole(t, w)
	b.saw(t, w, "patroni/etcd", "", young.Name())
	b.saw(t, coarse, "patroni/rest", young.Name())
	if err := w.Clean(t.Context(), "freeze"); err != nil {
		t.Error(err)
	}
}

// saw checks that an observer saw these leaders last, and how sharply.
func (b *bench) saw(t *testing.T, w *watcher, by string, want ...string) {
	t.Helper()
	got, widest := w.leaders(by)
	if n := len(got) - len(want); n < 0 || !slices.Equal(got[n:], want) {
		t.Errorf("%s saw the leaders %q, want %q last", by, got, want)
	}
	t.Logf("%s saw %q, each within %v", by, got, widest)
}

// primary waits for a primary other than old.
func (b *bench) primary(t *testing.T, s probes.System, old targets.Node) (found targets.Node) {
	t.Helper()
	b.until(t, "a primary", func(ctx context.Context) bool {
		for _, n := range b.Nodes {
			if n != old && s.Role(ctx, n).Role == probes.Primary {
				found = n
			}
		}
		return found != nil
	})
	return found
}

// whole waits until one is primary and all others follow.
func (b *bench) whole(t *testing.T, w *watcher) {
	t.Helper()
	b.until(t, "all to follow one", func(context.Context) bool {
		members, err := w.Members(t.Context())
		count := map[string]int{}
		for _, m := range members {
			count[m.State]++
		}
		return err == nil && count["primary"] == 1 && count["following"] == 2
	})
}

func (b *bench) until(t *testing.T, what string, done func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		one, end := context.WithTimeout(ctx, time.Second)
		ok := done(one)
		end()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
