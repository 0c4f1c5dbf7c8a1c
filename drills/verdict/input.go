package verdict

import (
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/scenarios"
)

// Input is everything on which the verdict of a trial rests, besides nothing:
// Judge is a pure function of it.
type Input struct {
	N          int
	Timeline   timeline.Timeline
	Objectives scenarios.Objectives // the system's, tightened by the scenario's
	Failover   *bool                // the scenario's expect.failover
	Phase      Phase
	Window     Window
	// Now is the trial's time if it still goes on, and 0 once it is over and all
	// streams are flushed. The last run of each stream then lasts until Now: the
	// engine asks so whether the system is itself again. It is no final verdict.
	Now time.Duration
	// Expectation is what the effective settings predict, per metric. A Range of
	// a phase is of its own duration, not of its distance from the effect.
	Expectation map[string]Expected
	// Bent are the settings whose declared value is not the one in effect.
	Bent []Bent
	// AppReconnect is the longest that the app class waits before it tries
	// again by its own declaration: connect + statement + back-off.
	AppReconnect time.Duration
	// FreshPeriod is the period of the class fresh.
	FreshPeriod time.Duration
	// ClockEps bounds the clocks of runner and agents.
	ClockEps time.Duration
	// MultiPrimary systems have no one primary: lineage is the component.
	MultiPrimary bool
	// AnyNodeTakesWrites: nodes that are no primary take writes too and pass
	// them on (etcd), so who took a write says nothing; its epoch does. Dual
	// writable is then an ack on an older epoch sent after an ack on a newer one
	// returned, and promotion is the first ack on a newer epoch.
	AnyNodeTakesWrites bool
	// Untold is what the system cannot tell, with the reasons: by the name of the
	// metric in JSON, or "roles" (see probes.Reticent).
	Untold map[string]string
	// NodeDead says of a fault kind and its parameters that its effect is the
	// death of all server processes of the node, so that it is fenced at the
	// effect; the keys are the fault keys of FaultPlanned's Data.
	NodeDead map[string]bool
	// Training says that a person faced the fault.
	Training bool
}

// Window is how long the scenario looks and what it calls stable and full.
type Window struct {
	Settle    time.Duration
	StableFor time.Duration
	FullFor   time.Duration
}
