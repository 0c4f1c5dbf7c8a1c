package drills

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
)

// world is a scripted system of three nodes, with its clients and what holds its
// faults. Everything that the engine does to it is written down in order.
type world struct {
	mu      sync.Mutex
	did     []string
	roles   map[string]probes.Role
	down    bool // clients fail
	noProof bool // faults have no effect
	stuck   bool // faults cannot be reverted
	slow    bool // the system lets whoever asks for forks wait
	unclean int  // so many times the ledger's rows cannot be removed
	saw     chan agent.Sighted
	refuse  error
}

func newWorld() *world {
	return &world{
		roles: map[string]probes.Role{"a": probes.Primary, "b": probes.Replica, "c": probes.Replica},
		saw:   make(chan agent.Sighted),
	}
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did = append(w.did, fmt.Sprintf(format, args...))
}

func (w *world) log() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.did...)
}

func (w *world) set(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

type node string

func (n node) Name() string { return string(n) }
func (n node) Exec(context.Context, ...string) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
func (n node) Spec() targets.Spec { return targets.Spec{Kind: "fake", Name: string(n)} }

// The system.

func (w *world) Role(_ context.Context, n targets.Node) probes.Claim {
	w.mu.Lock()
	defer w.mu.Unlock()
	return probes.Claim{Role: w.roles[n.Name()], Detail: "scripted"}
}
func (w *world) Open(context.Context, probes.Where) (probes.Session, *probes.Ack) {
	return session{}, nil
}
func (w *world) Fork(ctx context.Context, _ timeline.Emit) error {
	w.note("ask for forks")
	if w.slow {
		<-ctx.Done()
	}
	return ctx.Err()
}
func (w *world) NodeName(taker string) string { return taker }
func (w *world) Close() error                 { return nil }

// leased is a world whose primary renews a lease every 4 s from the begin on, and
// tells of it.
type leased struct {
	*world
	early time.Duration // so much sooner comes each renewal
}

const leaseEvery = 4 * time.Second

func (l leased) RenewedEvery(context.Context) (time.Duration, error) { return leaseEvery, nil }
func (l leased) Renewals(ctx context.Context, seen func(lo, hi time.Time)) error {
	for wait(ctx, leaseEvery-l.early) == nil {
		now := time.Now()
		seen(now.Add(-10*time.Millisecond), now)
	}
	return nil
}

type session struct{}

func (session) Put(context.Context, probes.Write) probes.Ack { return probes.Ack{Class: probes.Acked} }
func (session) Broken() bool                                 { return false }
func (session) Close() error                                 { return nil }

// The injector.

type breaker struct{ w *world }

func (b breaker) Plan(_ context.Context, aim injectors.Aim) ([]injectors.Fault, error) {
	if b.w.refuse != nil {
		return nil, b.w.refuse
	}
	var all []injectors.Fault
	for _, n := range aim.On {
		all = append(all, injectors.Fault{Kind: "break", Node: n.Name(), Does: "break " + n.Name(), Undo: "mend " + n.Name(), Momentary: true})
	}
	return all, nil
}
func (b breaker) Inject(context.Context, targets.Node, injectors.Fault) error { return nil }
func (b breaker) Effect(context.Context, targets.Node, injectors.Fault) (bool, string, error) {
	return true, "", nil
}
func (b breaker) Revert(context.Context, targets.Node, injectors.Fault) error { return nil }

// What holds the faults.

type holder struct{ w *world }

func (h holder) Inject(_ context.Context, key string, n targets.Spec, f injectors.Fault) (agent.Held, error) {
	h.w.note("inject %s", n.Name)
	now := time.Now()
	span := agent.Span{Lo: now, Hi: now.Add(time.Millisecond)}
	return agent.Held{Inject: span, Effect: span, Proof: "scripted", OK: !h.w.noProof}, nil
}
func (h holder) Revert(_ context.Context, key string) (agent.Span, error) {
	h.w.note("revert")
	now := time.Now()
	if h.w.stuck {
		return agent.Span{Lo: now, Hi: now}, errors.New("it will not go away")
	}
	return agent.Span{Lo: now, Hi: now}, nil
}
func (h holder) Sightings() <-chan agent.Sighted { return h.w.saw }
func (h holder) Epsilon() time.Duration          { return 0 }
func (h holder) Close(context.Context) error     { h.w.note("agent closed"); return nil }

// The clients.

type clients struct {
	w    *world
	quit context.CancelFunc
	done chan struct{}
}

func (c *clients) Prepare(context.Context) error { c.w.note("prepare"); return nil }
func (c *clients) Start(_ context.Context, emit timeline.Emit) error {
	ctx, quit := context.WithCancel(context.Background())
	c.quit, c.done = quit, make(chan struct{})
	line := map[string]*timeline.Stream{"app/0": timeline.NewStream(emit), "fresh": timeline.NewStream(emit)}
	go func() {
		defer close(c.done)
		for wait(ctx, 10*time.Millisecond) == nil {
			c.write(line)
		}
		for _, l := range line {
			l.Flush()
		}
	}()
	return nil
}

func (c *clients) write(line map[string]*timeline.Stream) {
	c.w.mu.Lock()
	class := probes.Acked
	if c.w.down {
		class = probes.Failed
	}
	c.w.mu.Unlock()
	now := time.Now()
	for by, l := range line {
		l.Add(now, now.Add(time.Microsecond), timeline.Event{Kind: timeline.Write, By: by, Value: string(class), Evidence: "scripted"})
	}
}

func (c *clients) AtRisk(effect time.Time, emit timeline.Emit) {
	emit(effect.Add(-time.Second), effect, timeline.Event{Kind: timeline.AtRisk, By: "ledger", N: 200})
}
func (c *clients) StopClients(context.Context) error {
	c.w.note("stop clients")
	c.quit()
	<-c.done
	return nil
}
func (c *clients) StopOld(context.Context) error { return nil }
func (c *clients) Audit(_ context.Context, name string, n targets.Node, emit timeline.Emit) (timeline.Audited, error) {
	c.w.note("audit %s", name)
	return timeline.Audited{}, nil
}
func (c *clients) Close(context.Context) error {
	c.quit()
	<-c.done
	return nil
}
func (c *clients) Clean(context.Context) error {
	if c.w.unclean > 0 {
		c.w.unclean--
		return errors.New("no primary")
	}
	c.w.note("clean")
	return nil
}

// roleProbe says what each node claims, as the real one does.
type roleProbe struct{ w *world }

func (r roleProbe) Watch(ctx context.Context, emit timeline.Emit) error {
	lines := map[string]*timeline.Stream{}
	for wait(ctx, 20*time.Millisecond) == nil {
		for _, name := range []string{"a", "b", "c"} {
			if lines[name] == nil {
				lines[name] = timeline.NewStream(emit)
			}
			c := r.w.Role(ctx, node(name))
			now := time.Now()
			lines[name].Add(now, now, timeline.Event{Kind: timeline.Role, By: "role/" + name, Node: name, Value: string(c.Role)})
		}
	}
	return nil
}

// plan is a drill of the world: break the primary for 2 s.
func (w *world) plan(t *testing.T) *Plan {
	sc := (&scenarios.Scenario{
		Name: "test", Workload: scenarios.Workload{Rate: 200, Clients: 1},
		Steady: scenarios.Duration(time.Second), Settle: scenarios.Duration(3 * time.Second),
		StableFor: scenarios.Duration(time.Second), FullFor: scenarios.Duration(time.Second),
		Steps: []scenarios.Step{{Inject: "break", On: scenarios.Strings{"primary"}, For: scenarios.Duration(2 * time.Second)}},
	}).WithDefaults()
	p := &Plan{
		Run: "run", Scenario: sc, Target: (&scenarios.System{Name: "world", Kind: "fake"}).WithDefaults(),
		Nodes: []targets.Node{node("a"), node("b"), node("c")}, Kind: probes.Kind{Name: "fake"}, System: w,
		Probes:       []probes.Probe{roleProbe{w}},
		NewWorkload:  func(int, time.Time) (Workload, error) { return &clients{w: w}, nil },
		Hold:         func(context.Context) (Holder, error) { return holder{w}, nil },
		Surroundings: func(context.Context) (agent.Traces, error) { return agent.Traces{}, nil },
		Ready:        func(context.Context) (func() error, error) { return func() error { return nil }, nil },
		Dir:          t.TempDir(), Log: zap.NewNop(), FreshPeriod: 10 * time.Millisecond,
	}
	for _, s := range sc.Steps {
		p.Steps = append(p.Steps, Step{Step: s, Injector: breaker{w}})
	}
	return p
}
