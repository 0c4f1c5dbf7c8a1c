// Package noop is the fault "noop": nothing is done to the node. It is the null
// control of a drill: whatever is measured while it is held comes from the system
// itself, from the load or from dapple, and from no fault.
//
// It goes through everything that a real fault goes through: it is planned, aimed,
// written to the journal, held by an agent and taken back. Its effect is proven by
// definition: nothing was to change, and nothing did.
//
// The package does not look at the node; what happens to it meanwhile is for the
// probes to see.
package noop

import (
	"context"
	"errors"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "noop"

// Params is what may stand under "with": nothing.
type Params struct{}

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "nothing at all: the null control, to learn what is measured without a fault",
		Layers:  "none is needed: nothing is changed",
		Params:  &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			var p Params
			if err := decode(&p); err != nil {
				return nil, err
			}
			return injectors.Of(kind, nothing{}), nil
		},
		Excludes: func(string) string { return "" },
		Reopen:   func() injectors.Injector { return injectors.Of(kind, nothing{}) },
	}
}

// state is empty: there is nothing to take back.
type state struct{}

// nothing is an injectors.Typed[state].
type nothing struct{}

// Plan makes one fault per node.
func (nothing) Plan(_ context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if len(aim.On) == 0 {
		return nil, errors.New("it is aimed at no node")
	}
	steps := make([]injectors.Step[state], len(aim.On))
	for i, n := range aim.On {
		steps[i] = injectors.Step[state]{Node: n, Does: "nothing: the null control", Undo: "true # there is nothing to take back"}
	}
	return steps, nil
}

// Inject changes nothing.
func (nothing) Inject(ctx context.Context, _ targets.Node, _ state) error { return ctx.Err() }

// Effect holds by definition.
func (nothing) Effect(context.Context, targets.Node, state) (held bool, proof string, err error) {
	return true, "nothing was to change, and nothing did", nil
}

// Revert changes nothing.
func (nothing) Revert(context.Context, targets.Node, state) error { return nil }

// Reverted is true by definition, as Effect is.
func (nothing) Reverted(context.Context, targets.Node, state) (ok bool, proof string, err error) {
	return true, "nothing was changed, so nothing is left", nil
}
