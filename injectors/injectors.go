// Package injectors says what a fault is, and how it is made, proven and taken
// back.
//
// The order of the verbs is the safety argument of the whole program:
//
//	Plan    reads, changes nothing, and returns everything that Revert will need;
//	        then the agent writes the faults to disk.
//	Inject  makes the change.
//	Effect  looks, independently of Inject, whether the fault holds.
//	Revert  takes it back: also if Inject never ran, ran halfway, or ran twice.
//
// An injector knows machines (package targets) and nothing of scenarios, probes
// or verdicts. It has no duration: holding a fault is the engine's business, so
// that faults can overlap. It never logs; it returns errors.
package injectors

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// A Fault is the durable record of one change to one node: what was done, in
// words, and the typed data from which it can be undone. It holds data, never
// code.
type Fault struct {
	Kind      string          `json:"kind"`                // the injector's name in the catalogue
	Node      string          `json:"node"`                // where it lands
	Does      string          `json:"does"`                // for people: "SIGKILL to pid 4711 (patroni), the whole container"
	Momentary bool            `json:"momentary,omitempty"` // it held once it took effect: its being over is no hole
	NodeDead  bool            `json:"node_dead,omitempty"` // its effect is the death of every process of the node
	Undo      string          `json:"undo"`                // the command by which a person could take it back
	State     json.RawMessage `json:"state"`               // for the injector alone
}

// An Aim is where a fault is pointed.
type Aim struct {
	On    []targets.Node // the fault lands on each of these
	Peers []targets.Node // all other nodes of the system
	// Processes says by which names the parts of a node are known: "server" and
	// "manager" to the words that mark their processes. The engine fills it from
	// the kind of system.
	Processes map[string][]string
	// Drill is the id of the run, for the names of what is made on the nodes; ""
	// outside of a drill.
	Drill string
	// Commands says that commands which a file of the operator's names may be run:
	// only he can say so (--allow-commands).
	Commands bool
	// HostClock says that the clock of a whole machine may be set wrong: likewise
	// (--allow-host-clock).
	HostClock bool
}

// An Injector makes one kind of fault, and takes it back.
//
// The methods are called from one goroutine per fault. Every error names the
// mechanism and what to do about it; the caller adds kind and node.
type Injector interface {
	// Plan reads only. It doubles as preflight: what it cannot do or must not
	// do is an error, which wraps targets.ErrUnsupported where the node, the
	// kernel or a permission cannot carry the fault.
	Plan(ctx context.Context, aim Aim) ([]Fault, error)
	Inject(ctx context.Context, n targets.Node, f Fault) error
	// Effect says whether the fault holds at the moment of the look, with the
	// proof in words. It must not rest on what Inject returned.
	Effect(ctx context.Context, n targets.Node, f Fault) (held bool, proof string, err error)
	// Revert is idempotent and works from any state. A node that is gone has
	// nothing to revert: nil.
	Revert(ctx context.Context, n targets.Node, f Fault) error
}

// A Sighting is what a watched fault was seen to do while it was held.
type Sighting struct {
	Lo, Hi   time.Time // on the clock of the process that saw it
	What     string    // "restart"
	By       string    // "engine", "manager" or "dapple"
	Evidence string
}

// Watcher is an Injector whose fault may be ended by others (a supervisor that
// restarts what was killed). Watch runs until ctx ends; the agent calls it while
// the fault is held and until it is reverted.
type Watcher interface {
	Watch(ctx context.Context, n targets.Node, f Fault, see func(Sighting)) error
}

// Reverted is an Injector for which "reverted" is not just "not in effect": a
// killed process stays dead, and its node is to run again.
type Reverted interface {
	// Reverted says whether the fault is taken back, with the proof in words.
	Reverted(ctx context.Context, n targets.Node, f Fault) (ok bool, proof string, err error)
}

// Lasting is an Injector some of whose faults outlive a reboot of the machine:
// a stopped process does not, a node that was killed and has nobody to start it
// does. Without it, the record of a fault made before a reboot is void.
type Lasting interface {
	Lasting(f Fault) bool
}

// Patient is an Injector some of whose faults take their time to show: a server
// that is asked to end first finishes what it does. Without it the agent looks
// for the effect for 5 s.
type Patient interface {
	Patience(f Fault) time.Duration
}

// Renewer is an Injector whose fault ends by itself, in the kernel, unless it is
// renewed: whoever holds it may hang, and the fault ends all the same.
type Renewer interface {
	// Renew has the fault live for lease from now on. It is called once before
	// Inject, so that the fault is born with that lease, and again while it is
	// held; then also while another method runs. An error says that the fault
	// ended in between, or that this is not known.
	Renew(ctx context.Context, n targets.Node, f Fault, lease time.Duration) error
}

// A Kind is one entry of the catalogue: what a scenario may name under
// "inject".
type Kind struct {
	Name    string
	Summary string // one line, for "dapple doctor" and the reference
	Layers  string // which layers of ending hold it, see docs (safety): "3 guard, 4 journal"
	// Commands says that it runs commands which the scenario names: see
	// Aim.Commands.
	Commands bool
	// Params is a pointer to the zero value of what may stand under "with", for
	// the JSON Schema.
	Params any
	// New makes an injector from the parameters. decode fills a struct strictly
	// and reports every problem with its position.
	New func(decode func(into any) error) (Injector, error)
	// Excludes says why this kind cannot be on one node together with another
	// kind, or "".
	Excludes func(other string) string
	// Reopen makes an injector that can Effect and Revert any Fault of this
	// kind: all that it needs is in the Fault.
	Reopen func() Injector
	// Needs are what a node must let be done to it; none are met by every node.
	Needs []Need
	// Here tries, in a place of its own that nobody else sees, whether this kernel
	// and the rights of this process can carry the fault in its usual form: with
	// the very calls that Inject will use, so that it cannot say yes where Inject
	// fails. nil is yes. An error that wraps targets.ErrUnsupported is no, with
	// what was tried, what came of it, and the way to get it (diag.Hint); any other
	// means that it could not be told. It leaves nothing behind and takes at most
	// a second. "dapple doctor" asks it, Plan should refuse with it, and tests may
	// skip by it (testenv.Need). It may be missing where there is nothing to try.
	Here func(ctx context.Context) error
}

// Typed is what an injector's author writes: an Injector whose state is a Go
// type S that survives JSON.
type Typed[S any] interface {
	Plan(ctx context.Context, aim Aim) ([]Step[S], error)
	Inject(ctx context.Context, n targets.Node, s S) error
	Effect(ctx context.Context, n targets.Node, s S) (held bool, proof string, err error)
	Revert(ctx context.Context, n targets.Node, s S) error
}

// TypedWatcher is a Typed injector that is also a Watcher.
type TypedWatcher[S any] interface {
	Watch(ctx context.Context, n targets.Node, s S, see func(Sighting)) error
}

// TypedReverted is a Typed injector that is also Reverted.
type TypedReverted[S any] interface {
	Reverted(ctx context.Context, n targets.Node, s S) (ok bool, proof string, err error)
}

// TypedLasting is a Typed injector that is also Lasting.
type TypedLasting[S any] interface{ Lasting(s S) bool }

// TypedPatient is a Typed injector that is also Patient.
type TypedPatient[S any] interface {
	Patience(s S) time.Duration
}

// TypedRenewer is a Typed injector that is also a Renewer.
type TypedRenewer[S any] interface {
	Renew(ctx context.Context, n targets.Node, s S, lease time.Duration) error
}

// A Step is one planned change to one node.
type Step[S any] struct {
	Node      targets.Node
	Does      string
	Undo      string
	Momentary bool
	NodeDead  bool
	State     S
}

// Of makes an Injector of t, keeping S as JSON between Plan and Revert.
func Of[S any](kind string, t Typed[S]) Injector {
	x := typed[S]{kind, t}
	if w, ok := t.(TypedWatcher[S]); ok {
		return typedWatcher[S]{x, w}
	}
	return x
}

type typed[S any] struct {
	kind string
	t    Typed[S]
}

type typedWatcher[S any] struct {
	typed[S]
	w TypedWatcher[S]
}

func (x typed[S]) Plan(ctx context.Context, aim Aim) ([]Fault, error) {
	steps, err := x.t.Plan(ctx, aim)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.kind, err)
	}
	faults := make([]Fault, len(steps))
	for i, s := range steps {
		state, err := json.Marshal(s.State)
		if err != nil {
			return nil, fmt.Errorf("%s on %s: state: %w", x.kind, s.Node.Name(), err)
		}
		faults[i] = Fault{Kind: x.kind, Node: s.Node.Name(), Does: s.Does, Undo: s.Undo, Momentary: s.Momentary, NodeDead: s.NodeDead, State: state}
	}
	return faults, nil
}

func (x typed[S]) Inject(ctx context.Context, n targets.Node, f Fault) error {
	return x.with(f, func(s S) error { return x.t.Inject(ctx, n, s) })
}

func (x typed[S]) Effect(ctx context.Context, n targets.Node, f Fault) (held bool, proof string, err error) {
	err = x.with(f, func(s S) error {
		var err error
		held, proof, err = x.t.Effect(ctx, n, s)
		return err
	})
	return held, proof, err
}

func (x typed[S]) Revert(ctx context.Context, n targets.Node, f Fault) error {
	return x.with(f, func(s S) error { return x.t.Revert(ctx, n, s) })
}

// Reverted asks t, or else looks whether the effect is gone.
func (x typed[S]) Reverted(ctx context.Context, n targets.Node, f Fault) (ok bool, proof string, err error) {
	err = x.with(f, func(s S) error {
		var err error
		if r, is := x.t.(TypedReverted[S]); is {
			ok, proof, err = r.Reverted(ctx, n, s)
			return err
		}
		held, seen, err := x.t.Effect(ctx, n, s)
		ok, proof = err == nil && !held, seen
		return err
	})
	return ok, proof, err
}

// Lasting asks t; without an answer a fault ends with the boot.
func (x typed[S]) Lasting(f Fault) bool {
	lasting := false
	if l, is := x.t.(TypedLasting[S]); is {
		err := x.with(f, func(s S) error { lasting = l.Lasting(s); return nil })
		return lasting || err != nil // what cannot be read must not be thought to be over
	}
	return false
}

// Patience asks t; 0 leaves it to the agent.
func (x typed[S]) Patience(f Fault) (d time.Duration) {
	if p, is := x.t.(TypedPatient[S]); is {
		if x.with(f, func(s S) error { d = p.Patience(s); return nil }) != nil {
			return 0
		}
	}
	return d
}

// Renew asks t; a fault without a lease of its own has nothing to renew.
func (x typed[S]) Renew(ctx context.Context, n targets.Node, f Fault, lease time.Duration) error {
	if r, is := x.t.(TypedRenewer[S]); is {
		return x.with(f, func(s S) error { return r.Renew(ctx, n, s, lease) })
	}
	return nil
}

func (x typedWatcher[S]) Watch(ctx context.Context, n targets.Node, f Fault, see func(Sighting)) error {
	return x.with(f, func(s S) error { return x.w.Watch(ctx, n, s, see) })
}

// with decodes the state of f for do, and adds kind and node to its error.
func (x typed[S]) with(f Fault, do func(S) error) error {
	var s S
	if err := json.Unmarshal(f.State, &s); err != nil {
		return fmt.Errorf("%s on %s: state: %w", f.Kind, f.Node, err)
	}
	if err := do(s); err != nil {
		return fmt.Errorf("%s on %s: %w", f.Kind, f.Node, err)
	}
	return nil
}
