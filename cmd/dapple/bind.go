package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os/user"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/alerts"
	allprobes "github.com/dapple-drills/dapple/probes/all"
	"github.com/dapple-drills/dapple/probes/ledger"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

// leaseTime is how long a fault outlives a runner that hangs.
const leaseTime = agent.Lease

// A bound drill is a plan with what has to be ended after it.
type bound struct {
	g    *globals
	io   stdio
	plan *drills.Plan
	home string // where dapple keeps its state on this machine
	at   post   // where agents run
	// extra is what a built-in cluster tells of itself besides its settings, and dial
	// how its clients connect.
	extra map[string]string
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	// thrownAway says that the system was started for this drill alone.
	thrownAway bool
	ends       []func(context.Context) error // newest last
	lesson     *lesson                       // if a person is trained
	// tune says how a built-in cluster is started anew; nil: as it is.
	tune func(*testcluster.Options) error
}

// bind makes things of names: nodes, system, injectors, probes, and the places
// where the run is kept. A throw-away cluster is started for it.
func bind(ctx context.Context, g *globals, io stdio, f drillFlags, files drillFiles) (*bound, error) {
	b, err := bindForPlan(ctx, g, io, f, files)
	if err != nil {
		return nil, err
	}
	b.plan.Dir = f.out
	return b, nil
}

// bindForPlan is bind without a run directory.
func bindForPlan(ctx context.Context, g *globals, io stdio, f drillFlags, files drillFiles) (*bound, error) {
	b := &bound{g: g, io: io, tune: f.tune}
	if err := b.bind(ctx, f, files); err != nil {
		return nil, errors.Join(err, b.end(ctx))
	}
	return b, nil
}

func (b *bound) bind(ctx context.Context, f drillFlags, files drillFiles) error {
	log, err := newLog(b.g, b.io)
	if err != nil {
		return err
	}
	if err := files.commands(f.commands); err != nil {
		return refuse(err)
	}
	system, data, nodes, err := b.system(ctx, files)
	if err != nil {
		return err
	}
	files.scenario, system = files.scenario.WithDefaults(), system.WithDefaults()
	if err := scenarios.CheckPair(files.scenario, system); err != nil {
		return usage(err)
	}
	p := &drills.Plan{
		Run: f.run, Scenario: files.scenario, Target: system,
		Files:      drills.Files{ScenarioName: files.scenarioName, Scenario: files.scenarioData, System: data},
		Nodes:      nodes,
		Objectives: scenarios.Tighten(system.Objectives, files.scenario.Objectives),
		Phase:      scenarios.Phase(f.phase), Seed: f.seed, Operator: operator(), Version: buildVersion(),
		ThrownAway: b.thrownAway, Commands: f.commands, HostClock: f.clock, FreshPeriod: cmp.Or(files.scenario.Workload.Fresh.D(), ledger.DefaultFreshPeriod), Log: log,
	}
	b.plan = p
	if p.Seed == 0 {
		p.Seed = rand.Int64()
	}
	if err := b.steps(); err != nil {
		return usage(err)
	}
	if err := b.choose(ctx, nodes); err != nil {
		return refuse(err)
	}
	for i := range p.Steps {
		if err := b.at.plans(ctx, &p.Steps[i]); err != nil {
			return refuse(err)
		}
	}
	if err := b.open(ctx); err != nil {
		return err
	}
	if err := b.places(); err != nil {
		return err
	}
	b.guard(scenarios.Environment(f.pinned))
	return nil
}

// system opens the nodes of the system file, or has the built-in cluster.
func (b *bound) system(ctx context.Context, files drillFiles) (*scenarios.System, []byte, []targets.Node, error) {
	if files.cluster != "" {
		c, err := b.cluster(ctx, files.cluster)
		if err != nil {
			return nil, nil, nil, refuse(err)
		}
		data, err := c.System.Format()
		b.extra, b.dial = c.Extra, c.Dial
		return &c.System, data, c.Nodes, err
	}
	nodes, err := b.openNodes(ctx, files.system.Nodes)
	if err != nil {
		return nil, nil, nil, refuse(err)
	}
	return files.system, files.systemData, nodes, nil
}

// choose finds the place of the agents, unless it is where the nodes are, and has
// the nodes use it.
func (b *bound) choose(ctx context.Context, nodes []targets.Node) (err error) {
	if b.home, err = homeDir(); err != nil {
		return err
	}
	if b.at == nil {
		at, err := choose(ctx, b.g, b.io, specsOf(nodes))
		if err != nil {
			return err
		}
		b.at = at
		b.ends = append(b.ends, b.at.end)
	}
	return b.at.lend(ctx, nodes)
}

func (b *bound) openNodes(ctx context.Context, n scenarios.Nodes) ([]targets.Node, error) {
	if len(n.Hosts) > 0 {
		return hostNodes(ctx, n.Hosts)
	}
	if len(n.SSH) > 0 {
		f, err := newFleet(b.g, n.SSH)
		if err != nil {
			return nil, err
		}
		b.at = f
		b.ends = append(b.ends, f.end)
		return f.open(ctx, n.SSH)
	}
	engine, err := docker.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return engine.Find(ctx, docker.Query{Labels: n.Docker.Label, Compose: n.Docker.Compose, Names: n.Docker.Names})
}

// cluster uses the built-in cluster that is up, or starts one that is gone when
// the drill ends.
func (b *bound) cluster(ctx context.Context, name string) (*testcluster.Cluster, error) {
	o, err := clusterOptions(b.g, b.io)
	if err != nil {
		return nil, err
	}
	if b.tune == nil {
		c, err := testcluster.Find(ctx, name, o)
		if err == nil {
			o.Progress("using cluster " + name + ", which is up")
			return c, nil
		}
		if !errors.Is(err, testcluster.ErrNotUp) {
			return nil, err
		}
	} else if err := b.tune(&o); err != nil {
		return nil, err
	}
	c, err := testcluster.Start(ctx, name, o)
	if err != nil {
		return nil, err
	}
	b.ends, b.thrownAway = append(b.ends, c.Stop), true
	return c, nil
}

func (b *bound) steps() error {
	var errs []error
	for _, s := range b.plan.Scenario.Steps {
		kind, err := injectorOf(s.Inject)
		if err != nil {
			return err
		}
		inj, err := kind.New(s.With.Decode)
		if err != nil {
			errs = append(errs, err)
		}
		b.plan.Steps = append(b.plan.Steps, drills.Step{Step: s, Injector: inj, Params: s.With.Map()})
	}
	return errors.Join(errs...)
}

// open makes the system and its probes.
func (b *bound) open(ctx context.Context) error {
	p := b.plan
	kind, err := kindOf(p.Target.Kind)
	if err != nil {
		return usage(err)
	}
	c := p.Target.Clients
	binding := probes.Binding{
		Nodes: p.Nodes, URLs: urlsOf(p.Target.Nodes.Hosts), Health: healthOf(p.Target.Health), Extra: b.settings(), Dial: b.dial,
		Clients: probes.Clients{DSN: firstOf(c.DSN, c.URL), Connect: c.Connect.D(), Statement: c.Statement.D()},
	}
	if c.Password.Declared() {
		binding.Clients.Password = c.Password.Resolve
	}
	if kind.Section != nil {
		binding.Section = p.Target.HTTP.Decode
	}
	if p.Kind = kind; p.System == nil {
		if p.System, err = kind.Open(ctx, binding); err != nil {
			return refuse(fmt.Errorf("open system %s: %w", p.Target.Name, err))
		}
	}
	b.ends = append(b.ends, func(context.Context) error { return p.System.Close() })
	if err := capable(p); err != nil {
		return err
	}
	return b.probes(ctx)
}

// capable refuses a system that cannot what the scenario requires; who only looks at a
// system has none.
func capable(p *drills.Plan) error {
	if p.Scenario == nil {
		return nil
	}
	for _, c := range probes.Capabilities() {
		if !slices.Contains(p.Scenario.Requires.Capability, c.Name) {
			continue
		}
		if why := c.Lacks(p.System); why != "" {
			return refuse(&unfitError{fmt.Sprintf("it requires the capability %s of the system %s: %s", c.Name, p.Target.Name, why)})
		}
	}
	return nil
}

// unfitError says that a scenario is not for the system: of several, it is left out.
type unfitError struct{ why string }

func (e *unfitError) Error() string { return e.why }

// settings are those of the system file, and what a built-in cluster adds.
func (b *bound) settings() map[string]string {
	all := maps.Clone(b.extra)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b.plan.Target.Settings.Map())
	return all
}

func (b *bound) probes(ctx context.Context) (err error) {
	p := b.plan
	if p.Probes, err = allprobes.Probes(p.System, p.Nodes, healthOf(p.Target.Health)); err != nil {
		return usage(fmt.Errorf("health: %w", err))
	}
	if m := p.Target.Monitoring; m.Listen != "" {
		r, err := alerts.Listen(ctx, m.Listen, m.Match)
		if err != nil {
			return refuse(err)
		}
		p.Probes = append(p.Probes, r)
		b.ends = append(b.ends, func(context.Context) error { return r.Close() })
	}
	return nil
}

// healthOf is the check as package health reads it.
func healthOf(h scenarios.Health) string {
	if h.TCP != "" {
		return "tcp://" + h.TCP
	}
	return h.HTTP
}

// places says where the run, its ledger and its faults are kept.
func (b *bound) places() (err error) {
	p, home := b.plan, b.home
	if p.PrevSHA256, err = history.Previous(home); err != nil {
		say(b.io, fmt.Errorf("this record will not name the one before: %w", err)) // no reason not to drill
	}
	p.NewWorkload = func(trial int, base time.Time) (drills.Workload, error) {
		return ledger.New(b.ledger(trial, base)), nil
	}
	p.Ready = func(ctx context.Context) (func() error, error) { return b.at.ready(ctx, p.Target.Name, p.Run) }
	p.Surroundings = func(ctx context.Context) (agent.Traces, error) { return b.at.look(ctx, p.Nodes) }
	p.Hold = func(ctx context.Context) (drills.Holder, error) { return b.at.hold(ctx, p.Run, p.Target.Name) }
	return nil
}

func (b *bound) ledger(trial int, base time.Time) ledger.Config {
	p := b.plan
	c := p.Target.Clients
	return ledger.Config{
		Run: fmt.Sprintf("%s_%d", p.Run, trial), Base: base, System: p.System, Nodes: p.Nodes,
		Apps: p.Scenario.Workload.Clients, Rate: float64(p.Scenario.Workload.Rate), FreshPeriod: p.FreshPeriod,
		DirectPeriod: p.Scenario.Workload.Direct.D(),
		Reconnect: ledger.Reconnect{
			Connect: c.Connect.D(), Statement: c.Statement.D(), BackoffFrom: c.Backoff.From.D(), BackoffTo: c.Backoff.To.D(),
		},
		Seed: p.Seed, Dir: filepath.Join(p.Dir, "ledger", fmt.Sprintf("trial-%d", trial)), Shown: fmt.Sprintf("ledger/trial-%d", trial),
	}
}

// run does the drill, with what is to be seen of it meanwhile, and ends what was
// started for it.
func (b *bound) run(ctx context.Context) (rec drills.Record, err error) {
	stop, err := b.watch(ctx)
	if err != nil {
		return rec, errors.Join(err, b.end(ctx))
	}
	guarded, over := b.at.guard(ctx)
	rec, err = drills.Run(guarded, b.plan)
	over()
	stop()
	return rec, errors.Join(err, b.end(ctx))
}

// end ends what was started, newest first, all of it.
func (b *bound) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	for len(b.ends) > 0 {
		last := b.ends[len(b.ends)-1]
		b.ends = b.ends[:len(b.ends)-1]
		errs = append(errs, last(ctx))
	}
	return errors.Join(errs...)
}

func newLog(g *globals, io stdio) (*zap.Logger, error) {
	if g.logLevel == "" {
		return zap.NewNop(), nil
	}
	level, err := zap.ParseAtomicLevel(g.logLevel)
	if err != nil {
		return nil, usage(fmt.Errorf("--log-level: %w", err))
	}
	cfg := zap.NewDevelopmentConfig()
	cfg.Level = level
	return cfg.Build()
}

func operator() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

func firstOf(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}
