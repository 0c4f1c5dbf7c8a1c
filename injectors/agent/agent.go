// Package agent holds faults near the nodes for a runner that may die, hang or
// lose its way to them.
//
// An agent is this same program, started as a child in a session of its own (or
// in a helper container, or over ssh's stdio), that is spoken to over its stdin
// and stdout alone. It writes each fault into the journal before it makes it,
// looks until the effect is proven, holds it while the runner renews the lease,
// and takes everything back when the pipe closes or the lease ends:
//
//	runner dies            the pipe closes      the agent reverts, exits
//	runner hangs           the lease ends       the agent reverts, exits
//	agent dies             the pipe closes      the runner reverts by itself
//	both die               the journal          RevertAll, "dapple revert"
//
// Serve is the agent's side, Start and Client the runner's, RevertAll is for
// whoever comes later. Snapshot and Diff find what was left all the same.
//
// The package knows no concrete injector and no concrete target; it is given
// both. It does not judge and does not log.
package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// Lease is how long a fault lives without being renewed, if nothing else is
// asked for (safety: "The life of a fault", 5).
const Lease = 5 * time.Second

const (
	// renewals per lease: three may be lost before the fault ends.
	renewals = 4
	// patience is how long an effect is looked for, unless the injector asks for
	// more (injectors.Patient).
	patience = 5 * time.Second
	// deadline bounds taking everything back. It starts anew for each attempt and
	// does not depend on any context of the drill.
	deadline = 30 * time.Second
)

// ErrLost is wrapped when the agent ended without having been asked to.
var ErrLost = errors.New("the agent is gone")

// A Span is an interval of time on the runner's clock within which something
// happened. Its ends carry monotonic readings.
type Span struct{ Lo, Hi time.Time }

// Held is what became of an injection.
type Held struct {
	Inject Span   // the call that makes the fault: its beginning and its end
	Effect Span   // the fault began to hold within it; if not OK, it was looked for within it
	Proof  string // in words; if not OK, what was seen instead
	OK     bool   // the effect was proven
}

// Sighted is what the agent saw of a fault by itself.
type Sighted struct {
	Key, Node string
	Lo, Hi    time.Time // on the runner's clock
	// What is "restart" (By says by whom: engine, manager or dapple) or "hole" (a
	// fault that should hold did not, or cannot be proven to).
	What, By string
	Evidence string
}

// Config is what an agent, or a revert, is made from.
type Config struct {
	Kinds   []injectors.Kind
	Openers []targets.Opener
	Version string // the program's; a runner of another version is refused
	Home    string // where the journal is, if the runner does not say; "" for journal.Home
	// Params reads the parameters of an injector that are sent as text to be
	// planned with (see Remote); nil refuses them.
	Params func(text string) (decode func(into any) error, err error)

	// Patience and Deadline are for tests; zero is the default.
	Patience, Deadline time.Duration
}

func (c Config) patience(inj injectors.Injector, f injectors.Fault) time.Duration {
	if c.Patience > 0 {
		return c.Patience
	}
	if p, ok := inj.(injectors.Patient); ok {
		return max(patience, p.Patience(f))
	}
	return patience
}

func (c Config) deadline() time.Duration {
	if c.Deadline > 0 {
		return c.Deadline
	}
	return deadline
}

// kind finds an injector.
func (c Config) kind(name string) (injectors.Kind, error) {
	k := slices.IndexFunc(c.Kinds, func(k injectors.Kind) bool { return k.Name == name })
	if k < 0 {
		return injectors.Kind{}, fmt.Errorf("no injector is called %q here: this dapple is of another version than the one that asks", name)
	}
	return c.Kinds[k], nil
}

// Open makes a node of its spec.
func (c Config) Open(ctx context.Context, spec targets.Spec) (targets.Node, error) {
	o := slices.IndexFunc(c.Openers, func(o targets.Opener) bool { return o.Kind == spec.Kind })
	if o < 0 {
		return nil, fmt.Errorf("no target is called %q here: this dapple is of another version than the one that asks", spec.Kind)
	}
	n, err := c.Openers[o].Open(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("opening node %s: %w", spec.Name, err)
	}
	return n, nil
}

// bind makes an injector and a node for f again.
func (c Config) bind(ctx context.Context, spec targets.Spec, f injectors.Fault) (injectors.Injector, targets.Node, error) {
	k, err := c.kind(f.Kind)
	if err != nil {
		return nil, nil, err
	}
	n, err := c.Open(ctx, spec)
	if err != nil {
		return nil, nil, err
	}
	return k.Reopen(), n, nil
}
