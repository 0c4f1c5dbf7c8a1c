package drills

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
)

// A Plan is a scenario bound to a system: every name in it has become a thing.
// Making one changes nothing; Preflight and Run take it from there.
type Plan struct {
	Run      string // the run's id, unique, sortable by time
	Scenario *scenarios.Scenario
	Target   *scenarios.System // the system file
	Files    Files

	Nodes  []targets.Node
	Kind   probes.Kind
	System probes.System
	Steps  []Step
	// Probes run beside the workload for the length of each trial.
	Probes []probes.Probe
	// NewWorkload makes the clients and the ledger of one trial, whose clock
	// began at base.
	NewWorkload func(trial int, base time.Time) (Workload, error)

	// Hold starts what holds the faults. It is called after preflight.
	Hold func(ctx context.Context) (Holder, error)
	// Surroundings lists what a fault could leave behind, for the comparison of
	// before and after.
	Surroundings func(ctx context.Context) (agent.Traces, error)
	// Ready says why no drill may begin now (an earlier drill left something, or
	// another one runs on the system), and holds that off until release.
	Ready func(ctx context.Context) (release func() error, err error)

	// ThrownAway says that the whole system is removed after the drill, with all that
	// dapple put into it.
	ThrownAway bool
	// Guards are asked before the drill, and some of them during it.
	Guards []Guard

	// Training says who faces the fault without knowing it; nil: nobody.
	Training *Training

	// Commands allows commands that the scenario or the system file names to be run.
	Commands bool
	// HostClock allows the clock of a whole machine to be set wrong.
	HostClock bool

	Objectives scenarios.Objectives
	Phase      scenarios.Phase
	Seed       int64
	Operator   string
	Version    string
	PrevSHA256 string
	Dir        string // the run directory; it exists

	FreshPeriod time.Duration
	Watch       func(timeline.Event) // live view; must be quick; may be nil
	Log         *zap.Logger
}

// Files are the files from which a plan was made, as they are kept with the run.
type Files struct {
	ScenarioName string
	Scenario     []byte
	System       []byte
}

// A Step is a step of the scenario with its injector.
type Step struct {
	scenarios.Step
	Injector injectors.Injector
	Params   map[string]string
}

// A Workload is the clients of a system, and the ledger of what they were
// promised. Its methods are called in the order in which they stand here.
type Workload interface {
	// Prepare makes what the ledger writes to.
	Prepare(ctx context.Context) error
	// Start opens all sessions, and returns when those that must exist before
	// the fault do. The clients then write until StopClients.
	Start(ctx context.Context, emit timeline.Emit) error
	// AtRisk emits how many writes were acknowledged in the last second before
	// the effect.
	AtRisk(effect time.Time, emit timeline.Emit)
	// StopClients ends the writing of app, fresh and direct, and returns when
	// every write has an outcome. StopOld does the same for the old sessions.
	StopClients(ctx context.Context) error
	StopOld(ctx context.Context) error
	// Audit looks for every write at the node, or at the present primary (nil).
	Audit(ctx context.Context, name string, n targets.Node, emit timeline.Emit) (timeline.Audited, error)
	// Close ends all sessions. Clean removes what Prepare made.
	Close(ctx context.Context) error
	Clean(ctx context.Context) error
}

// A Holder holds faults on a lease; see package agent.
type Holder interface {
	Inject(ctx context.Context, key string, node targets.Spec, f injectors.Fault) (agent.Held, error)
	Revert(ctx context.Context, key string) (agent.Span, error)
	Sightings() <-chan agent.Sighted
	Epsilon() time.Duration
	Close(ctx context.Context) error
}

// A Refusal is why a drill may not begin: nothing was touched.
type Refusal struct{ Problems []error }

func (r *Refusal) Error() string {
	msg := "preflight refused; nothing was touched"
	for _, p := range r.Problems {
		msg += "\n  " + p.Error()
	}
	return msg
}

// Unwrap gives the reasons to errors.Is and errors.As.
func (r *Refusal) Unwrap() []error { return r.Problems }

// Untold is what the system cannot tell, with the reasons; see probes.Reticent.
// What a health check of the system file tells is not among it.
func (p *Plan) Untold() map[string]string {
	r, ok := p.System.(probes.Reticent)
	if !ok {
		return nil
	}
	return r.Untold()
}

func (p *Plan) node(name string) targets.Node {
	for _, n := range p.Nodes {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// appReconnect is the longest that the app class waits before it tries again.
func (p *Plan) appReconnect() time.Duration {
	c := p.Target.Clients
	return c.Connect.D() + c.Statement.D() + c.Backoff.To.D()
}
