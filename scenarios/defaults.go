package scenarios

import (
	"slices"
	"time"
)

// The defaults of a scenario and of a system's clients; README and JSON Schema
// say the same.
const (
	DefaultRate      Rate = 200
	DefaultClients        = 4
	DefaultSteady         = Duration(15 * time.Second)
	DefaultSettle         = Duration(120 * time.Second)
	DefaultStableFor      = Duration(10 * time.Second)
	DefaultFullFor        = Duration(30 * time.Second)
	DefaultTrials         = 1
	DefaultRadius         = 1
	// DefaultFor is how long a fault is held when nothing is said: every fault
	// has a maximum time (safety, Bounds).
	DefaultFor       = Duration(60 * time.Second)
	DefaultConnect   = Duration(time.Second)
	DefaultStatement = Duration(2 * time.Second)
	DefaultFrom      = Duration(50 * time.Millisecond)
	DefaultTo        = Duration(500 * time.Millisecond)
)

// WithDefaults is a copy of the scenario in which everything that was left out
// has its default.
func (s *Scenario) WithDefaults() *Scenario {
	c := *s
	orElse(&c.Workload.Rate, DefaultRate)
	orElse(&c.Workload.Clients, DefaultClients)
	orElse(&c.Steady, DefaultSteady)
	orElse(&c.Settle, DefaultSettle)
	orElse(&c.StableFor, DefaultStableFor)
	orElse(&c.FullFor, DefaultFullFor)
	orElse(&c.Trials, DefaultTrials)
	orElse(&c.BlastRadius.Nodes, DefaultRadius)
	c.Steps = slices.Clone(s.Steps)
	for i := range c.Steps {
		orElse(&c.Steps[i].For, DefaultFor)
		orElse(&c.Steps[i].Phase, Random)
	}
	return &c
}

// WithDefaults is a copy of the system in which everything that was left out of
// its clients has its default.
func (s *System) WithDefaults() *System {
	c := *s
	orElse(&c.Clients.Connect, DefaultConnect)
	orElse(&c.Clients.Statement, DefaultStatement)
	orElse(&c.Clients.Backoff.From, DefaultFrom)
	orElse(&c.Clients.Backoff.To, DefaultTo)
	return &c
}

func orElse[T comparable](v *T, other T) {
	var zero T
	if *v == zero {
		*v = other
	}
}
