package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// A leased is a fault that lives as long as it is renewed.
type leased struct {
	mu     sync.Mutex
	calls  []string
	lapsed bool
	slow   chan struct{} // a look hangs until it is closed
}

func (l *leased) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, what)
}

func (l *leased) said(what string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.calls {
		if c == what {
			n++
		}
	}
	return n
}

func (l *leased) Plan(_ context.Context, aim injectors.Aim) ([]injectors.Step[string], error) {
	return []injectors.Step[string]{{Node: aim.On[0], Does: "something", Undo: "nothing"}}, nil
}
func (l *leased) Inject(context.Context, targets.Node, string) error { l.note("inject"); return nil }
func (l *leased) Effect(ctx context.Context, _ targets.Node, _ string) (bool, string, error) {
	l.note("look")
	if l.said("look") > 1 && l.slow != nil {
		select {
		case <-l.slow:
		case <-ctx.Done():
		}
	}
	return true, "it holds", nil
}
func (l *leased) Revert(context.Context, targets.Node, string) error { return nil }
func (l *leased) Reverted(context.Context, targets.Node, string) (bool, string, error) {
	return true, "gone", nil
}
func (l *leased) Renew(_ context.Context, _ targets.Node, _ string, lease time.Duration) error {
	l.note("renew " + lease.String())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lapsed {
		return errors.New("packets passed")
	}
	return nil
}

// holding is an agent with a lease of an hour that holds the fault.
func (l *leased) holding(t *testing.T) *talk {
	t.Helper()
	n := faketarget.Patroni("a")
	kind := injectors.Kind{Name: "leased", Reopen: func() injectors.Injector { return injectors.Of("leased", l) }}
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	k := &talk{t: t, in: inW, out: json.NewDecoder(outR), done: make(chan error, 1)}
	cfg := Config{Kinds: []injectors.Kind{kind}, Openers: []targets.Opener{faketarget.Opener(n)}, Version: "v1"}
	go func() { k.done <- Serve(t.Context(), inR, outW, cfg); _ = outW.Close() }()
	t.Cleanup(func() { _ = inW.Close() })
	if w := k.ask(request{Op: opHello, Hello: &hello{Protocol: protocol, Version: "v1", Drill: "d", Home: t.TempDir(), Lease: time.Hour}}); w.err() != nil {
		t.Fatal(w.err())
	}
	faults, err := injectors.Of("leased", l).Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	if r := k.inject("1", n, faults[0]); r.err() != nil || !r.Held.OK {
		t.Fatalf("%+v", r)
	}
	return k
}

// renewed asks for renewals until is says so.
func (k *talk) renewed(what string, is func() bool) {
	k.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !is(); <-tick.C {
		if time.Since(begin) > 20*time.Second {
			k.t.Fatalf("%s: not within 20 s", what)
		}
		if r := k.ask(request{Op: opRenew}); r.err() != nil {
			k.t.Fatal(r.err())
		}
	}
}

func TestAFaultIsBornWithTheLeaseAndRenewedWithIt(t *testing.T) {
	l := &leased{}
	k := l.holding(t)
	l.mu.Lock()
	if len(l.calls) < 2 || l.calls[0] != "renew 1h0m0s" || l.calls[1] != "inject" {
		t.Errorf("it began with %q, want the lease before the fault", l.calls)
	}
	l.mu.Unlock()
	k.renewed("three more renewals", func() bool { return l.said("renew 1h0m0s") >= 4 })
}

func TestALookThatTakesLongKeepsNoFaultFromBeingRenewed(t *testing.T) {
	l := &leased{slow: make(chan struct{})}
	defer close(l.slow)
	k := l.holding(t)
	k.renewed("ten renewals beside one look", func() bool { return l.said("renew 1h0m0s") >= 11 })
	if n := l.said("look"); n > 2 {
		t.Errorf("%d looks: the test has not kept one busy", n)
	}
}

func TestAFaultThatCouldNotBeRenewedIsAHole(t *testing.T) {
	l := &leased{}
	k := l.holding(t)
	l.mu.Lock()
	l.lapsed = true
	l.mu.Unlock()
	for begin := time.Now(); ; {
		k.id++
		if err := json.NewEncoder(k.in).Encode(request{ID: k.id, Op: opRenew}); err != nil {
			t.Fatal(err)
		}
		var a reply
		if err := k.out.Decode(&a); err != nil {
			t.Fatal(err)
		}
		if a.Saw != nil {
			if a.Saw.What != whatHole || !strings.Contains(a.Saw.Evidence, "packets passed") {
				t.Errorf("%+v, want a hole with the reason", a.Saw)
			}
			return
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatal("no hole was reported within 20 s")
		}
	}
}
