// Package scenarios is the language in which a drill is declared: the scenario
// file (what is broken, and what must hold), the system file (where the system is,
// and what its owners promised), and the schedule (when that is done by itself).
//
// Reading has three steps that never mix: decode (strict, with positions),
// validate (all problems at once), and compile, which is not here: binding names
// to injectors, probes and nodes is cmd/dapple's business. What names there are
// is told to this package by a Vocabulary. Besides the files that it is asked to
// load and the secrets that it is asked to resolve it touches nothing, so
// "dapple check" works anywhere.
//
// Every problem is a diag.Problem: file, line, column, what was found and how to
// mend it. One reading reports all of them.
package scenarios

import "time"

// A Scenario declares a drill.
type Scenario struct {
	// What the drill is called in reports and in the history.
	Name string `yaml:"name" jsonschema:"minLength=1"`
	// Why the drill is worth doing: the promise that it puts to the test.
	Why string `yaml:"why,omitempty"`
	// The systems on which the scenario makes sense.
	Requires Requires `yaml:"requires,omitempty"`
	// The load of the client class app.
	Workload Workload `yaml:"workload,omitempty"`
	// How long the system must be healthy before the first fault. Default 15s.
	Steady Duration `yaml:"steady,omitempty"`
	// The faults, in the order in which they are made.
	Steps []Step `yaml:"steps" jsonschema:"minItems=1"`
	// How long the system is watched after the last fault is taken back; ends
	// sooner once it is stable, rejoined, redundant and full. Default 120s.
	Settle Duration `yaml:"settle,omitempty"`
	// How long at least 99 % of the writes must succeed to count as stable.
	// Default 10s.
	StableFor Duration `yaml:"stable_for,omitempty"`
	// How long the goodput must be back at 95 % of what it was to count as
	// full. Default 30s.
	FullFor Duration `yaml:"full_for,omitempty"`
	// The most that the planned faults may touch.
	BlastRadius Radius `yaml:"blast_radius,omitempty"`
	// Nodes that are down on purpose, as for patching: the drill is one of reduced
	// redundancy, and is refused if they are up.
	Maintenance Strings `yaml:"maintenance,omitempty"`
	// Conditions that end the drill; everything is then reverted.
	Abort []Abort `yaml:"abort,omitempty"`
	// What the author expects of the system.
	Expect Expect `yaml:"expect,omitempty"`
	// May tighten, never loosen, the objectives of the system.
	Objectives Objectives `yaml:"objectives,omitempty"`
	// How often the cycle of fault and recovery is done. Default 1.
	Trials int `yaml:"trials,omitempty" jsonschema:"minimum=1"`
	// What the drill is to a person who faces it without knowing the fault: see dapple
	// train.
	Training Training `yaml:"training,omitempty"`

	src *source // where it was read; nil if it was made in Go
}

// Requires says on which systems the scenario makes sense.
type Requires struct {
	// One kind of system, or a list of them.
	Kind Strings `yaml:"kind,omitempty"`
	// What the system must be able to do, whatever its kind.
	Capability Strings `yaml:"capability,omitempty"`
}

// Workload is the load of the client class app, and how often the probes connect
// anew: a server that starts a process per connection may not bear the defaults
// (docs/adr/0050-periods-of-new-connections.md).
type Workload struct {
	// Writes per second of all clients together, with the unit. Default 200/s.
	Rate Rate `yaml:"rate,omitempty"`
	// How many clients share the rate. Default 4.
	Clients int `yaml:"clients,omitempty" jsonschema:"minimum=1"`
	// How often a new connection makes a write at the clients' endpoint. An
	// outage is measured within twice that. Default 20ms.
	Fresh Duration `yaml:"fresh,omitempty"`
	// How often a new connection makes a write at each node. Default 50ms.
	Direct Duration `yaml:"direct,omitempty"`
}

// Training is what a person who faces the fault is told, and what it costs.
type Training struct {
	// What the trainee is told before: which service it is, and what he or she may do.
	Task string `yaml:"task,omitempty"`
	// The first fault comes at a random moment, at most this long after the steady
	// time. Default 0s.
	Within Duration `yaml:"within,omitempty"`
	// What helps, in the order in which it is shown.
	Hints []Hint `yaml:"hints,omitempty"`
}

// A Hint helps a trainee, at a price in time or in points.
type Hint struct {
	// What is shown.
	Text string `yaml:"text" jsonschema:"minLength=1"`
	// What it costs in time: told beside what was measured, never added to it.
	Price Duration `yaml:"price,omitempty"`
	// What it costs in points.
	Points int `yaml:"points,omitempty" jsonschema:"minimum=1"`
}

// A Step is one fault.
type Step struct {
	// The name of the injector: what is done.
	Inject string `yaml:"inject" jsonschema:"minLength=1"`
	// Where: a role (primary, replica, any replica, all replicas, sync replica,
	// majority, minority, all, leader), a node's name, or a list of them.
	On Strings `yaml:"on"`
	// The parameters of the injector.
	With Params `yaml:"with,omitempty"`
	// How long the fault is held; for a kill, how long until the node is started
	// again. Default 60s.
	For Duration `yaml:"for,omitempty"`
	// When, counted from the first step.
	At Duration `yaml:"at,omitempty"`
	// Where in the system's heartbeat or lease cycle the fault is to land.
	// Default random.
	Phase Phase `yaml:"phase,omitempty"`
	// Whether the step only makes the state in which the drill's fault is made, such
	// as a node that is down for maintenance. Detection and all other times count
	// from the first step that does more. Default no.
	Prepares YesNo `yaml:"prepares,omitempty"`
	// Pos is where the step stands in its file.
	Pos Pos `yaml:"-"`
}

// Radius bounds what the planned faults may touch.
type Radius struct {
	// How many nodes. Default 1.
	Nodes int `yaml:"nodes,omitempty" jsonschema:"minimum=1"`
}

// Abort is a condition that ends the drill; everything is then reverted.
type Abort struct {
	// The longest that clients may be without service.
	Outage Duration `yaml:"outage,omitempty"`
}

// Expect is what the author expects of the system; nil is undeclared.
type Expect struct {
	// Whether the primary role moves to another node.
	Failover *YesNo `yaml:"failover,omitempty"`
}

// Objectives are what the owners of a system promised. A nil one is undeclared:
// reported, not judged.
type Objectives struct {
	// From the fault until the system shows that it knows.
	Detection *Duration `yaml:"detection,omitempty"`
	// The outage that clients may see.
	RTO *Duration `yaml:"rto,omitempty"`
	// The acknowledged writes that may be missing, as a number ("0 writes") or
	// by the age of the oldest ("5s").
	RPO *RPO `yaml:"rpo,omitempty"`
	// Whether two nodes may take writes at once: never.
	SplitBrain *Never `yaml:"split_brain,omitempty"`
	// Until the old node follows the new primary again.
	Rejoin *Duration `yaml:"rejoin,omitempty"`
	// Until there are as many replicas as before.
	Redundancy *Duration `yaml:"redundancy,omitempty"`
	// How long the health check may say healthy while clients fail.
	FalseGreen *Duration `yaml:"false_green,omitempty"`
	// From the fault until the monitoring of the system has told of it; see monitoring
	// in the system file.
	Alert *Duration `yaml:"alert,omitempty"`
	// Whether a read may return less than what was acknowledged before: never.
	StaleReads *Never `yaml:"stale_reads,omitempty"`
	// Whether a write that was missing may appear later: never.
	LateWrites *Never `yaml:"late_writes,omitempty"`
}

// RPO is the most loss that is tolerated, in writes ("0 writes") or as an age
// ("5s"): exactly one is set.
type RPO struct {
	Writes *int64
	Age    *time.Duration
}

// Phase is where in the system's heartbeat cycle the fault is to land.
type Phase string

// The phases. Random is anywhere in the cycle; the others lock on the renewal of
// the lease, just after it (the longest detection) and just before the next (the
// shortest).
const (
	Random Phase = "random"
	Worst  Phase = "worst"
	Best   Phase = "best"
)

// Never is an objective whose only value is "never".
type Never bool

// YesNo is written yes or no.
type YesNo bool
