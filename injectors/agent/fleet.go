package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// A Fleet holds faults on several machines, by an agent on each of them. It is one
// Client to whoever injects.
type Fleet struct {
	agents map[string]*Client // by machine
	place  Place
	saw    *feed
	relays sync.WaitGroup

	mu   sync.Mutex
	keys map[string]*Client
}

// A Place says on which machine a node is, and what its agent is to open.
type Place func(node targets.Spec) (machine string, there targets.Spec, err error)

// NewFleet makes one of agents that were started. It ends them in Close.
func NewFleet(agents map[string]*Client, place Place) *Fleet {
	f := &Fleet{agents: maps.Clone(agents), place: place, saw: newFeed(), keys: map[string]*Client{}}
	for _, c := range agents {
		f.relays.Go(func() {
			for s := range c.Sightings() {
				f.saw.put(s)
			}
		})
	}
	return f
}

// Inject is Client.Inject on the node's machine.
func (f *Fleet) Inject(ctx context.Context, key string, node targets.Spec, x injectors.Fault) (Held, error) {
	machine, there, err := f.place(node)
	if err != nil {
		return Held{}, err
	}
	c := f.agents[machine]
	if c == nil {
		return Held{}, fmt.Errorf("injecting %s on %s: there is no agent on %s", x.Kind, node.Name, machine)
	}
	f.mu.Lock()
	f.keys[key] = c
	f.mu.Unlock()
	h, err := c.Inject(ctx, key, there, x)
	if err != nil {
		err = fmt.Errorf("on %s: %w", machine, err)
	}
	return h, err
}

// Revert is Client.Revert by the agent that was asked to inject.
func (f *Fleet) Revert(ctx context.Context, key string) (Span, error) {
	f.mu.Lock()
	c := f.keys[key]
	f.mu.Unlock()
	if c == nil { // it was never asked for: nothing to revert
		now := time.Now()
		return Span{now, now}, nil
	}
	return c.Revert(ctx, key)
}

// Sightings are those of all agents. Close closes it.
func (f *Fleet) Sightings() <-chan Sighted { return f.saw.out }

// Epsilon is that of the machine whose clock is known worst.
func (f *Fleet) Epsilon() (worst time.Duration) {
	for _, c := range f.agents {
		worst = max(worst, c.Epsilon())
	}
	return worst
}

// Close has all agents take back what they hold, all of them even if one fails.
func (f *Fleet) Close(ctx context.Context) error {
	machines := slices.Sorted(maps.Keys(f.agents))
	errs := make([]error, len(machines))
	var all sync.WaitGroup
	for i, m := range machines {
		all.Go(func() {
			if err := f.agents[m].Close(ctx); err != nil {
				errs[i] = fmt.Errorf("on %s: %w", m, err)
			}
		})
	}
	all.Wait()
	f.relays.Wait()
	f.saw.close()
	return errors.Join(errs...)
}

// Agents are the clients, by machine.
func (f *Fleet) Agents() map[string]*Client { return maps.Clone(f.agents) }
