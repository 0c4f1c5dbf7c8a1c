package roles

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type node string

func (n node) Name() string                                    { return string(n) }
func (n node) Exec(context.Context, ...string) ([]byte, error) { return nil, targets.ErrUnsupported }

// A system answers each node's question as its script says at that time.
type system struct {
	probes.System
	latency time.Duration
	began   time.Time
	script  map[string]func(at time.Duration) probes.Claim
	mu      sync.Mutex
	asked   map[string]int
}

func (s *system) Role(ctx context.Context, n targets.Node) probes.Claim {
	s.mu.Lock()
	s.asked[n.Name()]++
	s.mu.Unlock()
	c := s.script[n.Name()](time.Since(s.began))
	if c.Role == probes.Silent && c.Detail == "hangs" {
		<-ctx.Done()
		return probes.Claim{Role: probes.Silent, Detail: "no answer in time"}
	}
	<-time.After(s.latency)
	return c
}

func always(c probes.Claim) func(time.Duration) probes.Claim {
	return func(time.Duration) probes.Claim { return c }
}

// watch runs the probe for d, and returns what each node's stream said.
func watch(t *testing.T, sys *system, d time.Duration, names ...string) map[string][]timeline.Event {
	t.Helper()
	sys.began, sys.asked = time.Now(), map[string]int{}
	rec := timeline.NewRecorder(sys.began, 1, 0, nil)
	var nodes []targets.Node
	for _, n := range names {
		nodes = append(nodes, node(n))
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := New(sys, nodes).Watch(ctx, rec.Emit); err != nil {
		t.Fatal(err)
	}
	out := map[string][]timeline.Event{}
	for _, e := range rec.Timeline() {
		if e.Kind != timeline.Role || e.By != "role/"+e.Node {
			t.Errorf("unexpected event %+v", e)
		}
		out[e.Node] = append(out[e.Node], e)
	}
	return out
}

func values(all []timeline.Event) (out []string) {
	for _, e := range all {
		out = append(out, strings.TrimSpace(fmt.Sprint(e.At.Lo, " ", e.Value, " ", e.Epoch, " ", e.Evidence)))
	}
	return out
}

func TestAChangeOfRoleIsSeenAtTheNextLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := &system{latency: 2 * time.Millisecond, script: map[string]func(time.Duration) probes.Claim{
			"pg1": func(at time.Duration) probes.Claim {
				if at < 1010*time.Millisecond {
					return probes.Claim{Role: probes.Replica, Epoch: "1", Detail: fmt.Sprint("lsn ", at)}
				}
				return probes.Claim{Role: probes.Primary, Epoch: "2", Detail: fmt.Sprint("lsn ", at)}
			},
		}}
		got := values(watch(t, sys, 2010*time.Millisecond, "pg1")["pg1"])
		want := []string{
			"0s replica 1 lsn 0s", "1s replica 1 lsn 0s",
			"1.05s primary 2 lsn 1.05s", "2s primary 2 lsn 1.05s",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

func TestASilentNodeDelaysNoOtherAndIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := &system{latency: time.Millisecond, script: map[string]func(time.Duration) probes.Claim{
			"pg1": func(at time.Duration) probes.Claim {
				if at < 5*time.Second {
					return probes.Claim{Role: probes.Silent, Detail: "hangs"}
				}
				return probes.Claim{Role: probes.Replica, Epoch: "1"}
			},
			"pg2": always(probes.Claim{Role: probes.Primary, Epoch: "1"}),
		}}
		got := watch(t, sys, 10*time.Second, "pg1", "pg2")
		if n := sys.asked["pg2"]; n < 199 || n > 201 {
			t.Errorf("pg2 was asked %d times in 10s", n)
		}
		var back timeline.Event
		for _, e := range got["pg1"] {
			if e.Value == "unreachable" && e.At.Width() != Deadline {
				t.Errorf("silence was told as %v, want the whole deadline", e.At)
			}
			if e.Value == "replica" && back.Kind == "" {
				back = e
			}
		}
		if lo := back.At.Lo; lo < 5*time.Second || lo > 5*time.Second+Deadline+Period {
			t.Errorf("pg1 answered again from 5s on and was heard at %v", lo)
		}
	})
}

func TestWhyANodeIsSilentIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := &system{latency: time.Millisecond, script: map[string]func(time.Duration) probes.Claim{
			"pg1": func(at time.Duration) probes.Claim {
				if at < time.Second {
					return probes.Claim{Role: probes.Silent, Detail: "connection refused"}
				}
				return probes.Claim{Role: probes.Silent, Detail: "no route to host"}
			},
		}}
		var reasons []string
		for _, e := range watch(t, sys, 2*time.Second, "pg1")["pg1"] {
			if len(reasons) == 0 || reasons[len(reasons)-1] != e.Evidence {
				reasons = append(reasons, e.Evidence)
			}
		}
		if d := cmp.Diff([]string{"connection refused", "no route to host"}, reasons); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

func TestTheEndOfTheWatchIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := &system{script: map[string]func(time.Duration) probes.Claim{"pg1": always(probes.Claim{Role: probes.Silent, Detail: "hangs"})}}
		if got := watch(t, sys, 500*time.Millisecond, "pg1"); len(got["pg1"]) != 0 {
			t.Errorf("a question that the end of the watch cut off was told as %v", values(got["pg1"]))
		}
	})
}
