package selftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/probes/all"
	"github.com/dapple-drills/dapple/probes/ledger"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
)

// How a run is watched. The sessions are those of every drill; what they wait for
// at most is short, since a run is.
const (
	apps      = 4
	steady    = 500 * time.Millisecond
	settle    = 2 * time.Second
	stableFor = 250 * time.Millisecond
	connect   = 300 * time.Millisecond
	statement = 400 * time.Millisecond
	backFrom  = 10 * time.Millisecond
	backTo    = 40 * time.Millisecond
)

// reconnect is the longest that an app client may be without service after the
// system serves again: it waits, connects, waits for what is due.
const reconnect = backTo + statement

// A trialRun is one case while it is run.
type trialRun struct {
	c      Case
	w      *world
	srv    *server
	sys    *system
	nodes  []targets.Node
	dir    string
	agent  []string            // starts AgentMain
	stop   func(time.Duration) // has this process held up
	base   time.Time           // of the trial's clock
	tamper tamper
}

// An outcome is what came of a run: the record of the drill, and the truth.
type outcome struct {
	c     Case
	rec   drills.Record
	tl    timeline.Timeline
	truth truth
}

// do runs the drill of a case.
func do(ctx context.Context, r *trialRun) (out outcome, err error) {
	r.w = newWorld(r.c)
	if r.srv, err = serve(ctx, r.w); err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, r.srv.close()) }()
	r.srv.onEffect = r.holdUp
	r.sys = &system{addrs: map[string]string{}, told: r.w.told, asked: r.w.ask, acked: r.w.acked}
	for name, g := range r.srv.gates {
		r.sys.addrs[name] = g.addr
	}
	for _, name := range []string{nodeA, nodeB, nodeC} {
		r.nodes = append(r.nodes, node{name, r.sys.addrs[plane]})
	}
	plan, err := r.plan()
	if err != nil {
		return out, err
	}
	out.c = r.c
	if out.rec, err = drills.Run(ctx, plan); err != nil {
		return out, err
	}
	out.tl, err = readTimeline(r.dir)
	out.truth = r.w.truth()
	return out, err
}

func readTimeline(dir string) (t timeline.Timeline, err error) {
	f, err := os.Open(filepath.Join(dir, "timeline.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("read the timeline: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return timeline.Read(f)
}

// holdUp has this process held up when the script says so.
func (r *trialRun) holdUp(effect time.Time) {
	if at := r.c.Stop; at != nil && r.stop != nil {
		r.srv.after(effect.Add(at.At), func() { r.stop(at.For) })
	}
}

// scenario is that of the case: the script on the primary.
func (r *trialRun) scenario() *scenarios.Scenario {
	failover := scenarios.YesNo(r.c.Script.Failover)
	return (&scenarios.Scenario{
		Name:     "selftest",
		Workload: scenarios.Workload{Rate: scenarios.Rate(r.c.Rate), Clients: apps, Fresh: scenarios.Duration(r.c.Fresh)},
		Steady:   scenarios.Duration(steady), Settle: scenarios.Duration(settle),
		StableFor: scenarios.Duration(stableFor), FullFor: scenarios.Duration(stableFor),
		Steps:  []scenarios.Step{{Inject: kind.Name, On: scenarios.Strings{"primary"}, For: scenarios.Duration(r.c.Script.Hold)}},
		Expect: scenarios.Expect{Failover: &failover},
	}).WithDefaults()
}

// target is the system file of a world.
func (r *trialRun) target() *scenarios.System {
	none, never := int64(0), scenarios.Never(true)
	rto := scenarios.Duration(r.c.RTO)
	return (&scenarios.System{
		Name: "selftest", Kind: kind.Name, Environment: scenarios.CI,
		Clients: scenarios.Clients{
			Connect: scenarios.Duration(connect), Statement: scenarios.Duration(statement),
			Backoff: scenarios.Backoff{From: scenarios.Duration(backFrom), To: scenarios.Duration(backTo)},
		},
		Objectives: scenarios.Objectives{RTO: &rto, RPO: &scenarios.RPO{Writes: &none}, SplitBrain: &never, LateWrites: &never},
	}).WithDefaults()
}

func (r *trialRun) plan() (*drills.Plan, error) {
	sc, sys := r.scenario(), r.target()
	inj, err := script().New(nil)
	if err != nil {
		return nil, err
	}
	watch, err := all.Probes(r.sys, r.nodes, "http://"+r.srv.health.Addr().String()+"/{node}")
	if err != nil {
		return nil, err
	}
	for i := range watch {
		watch[i] = tamperedProbe{watch[i], r.tamper}
	}
	p := &drills.Plan{
		Run: fmt.Sprintf("selftest-%d", r.c.Seed), Scenario: sc, Target: sys, Nodes: r.nodes, Kind: kind, System: r.sys,
		Steps:  []drills.Step{{Step: sc.Steps[0], Injector: inj}},
		Probes: watch, Objectives: sys.Objectives, Seed: int64(r.c.Seed), Version: version, Dir: r.dir,
		FreshPeriod: r.c.Fresh, Log: zap.NewNop(),
		Ready: func(context.Context) (func() error, error) { return func() error { return nil }, nil },
		// Whatever else goes on on this machine is not this run's.
		Surroundings: func(context.Context) (agent.Traces, error) { return agent.Traces{}, nil },
	}
	p.Hold = func(ctx context.Context) (drills.Holder, error) { return r.hold(ctx, p.Run) }
	p.NewWorkload = func(trial int, base time.Time) (drills.Workload, error) {
		r.base = base
		return tamperedWorkload{r.workload(p, trial), r.tamper}, nil
	}
	return p, nil
}

// hold starts the agent.
func (r *trialRun) hold(ctx context.Context, run string) (drills.Holder, error) {
	c, err := agent.Start(ctx, agent.Options{
		Argv: append(r.agent, r.c.Clock.args()...), Drill: run, System: kind.Name, Config: agentConfig(filepath.Join(r.dir, "home")),
	})
	if err != nil || r.tamper.holder == nil {
		return c, err
	}
	return r.tamper.holder(c), nil
}

func (r *trialRun) workload(p *drills.Plan, trial int) drills.Workload {
	c := p.Target.Clients
	cfg := ledger.Config{
		Run: p.Run, Base: r.base, System: r.sys, Ledger: r.sys, Nodes: r.nodes,
		Apps: apps, Rate: r.c.Rate, FreshPeriod: p.FreshPeriod,
		Reconnect: ledger.Reconnect{
			Connect: c.Connect.D(), Statement: c.Statement.D(), BackoffFrom: c.Backoff.From.D(), BackoffTo: c.Backoff.To.D(),
		},
		Seed: p.Seed, Dir: filepath.Join(p.Dir, "ledger", fmt.Sprint(trial)),
	}
	if r.tamper.ledger != nil {
		cfg.Ledger = r.tamper.ledger(r.sys)
	}
	return ledger.New(cfg)
}
