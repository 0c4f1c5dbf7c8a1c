package agent_test

import (
	"context"
	"errors"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// stuck is a fault of tests, made of misbehaviour: what its state says hangs,
// whatever its context says, or never works.
type stuck struct{}

type stuckState struct {
	HangInject bool // Inject never returns
	NoEffect   bool // it never holds
	FailRevert bool // Revert fails always
}

func stuckKind() injectors.Kind {
	return injectors.Kind{Name: "stuck", Summary: "tests", Reopen: func() injectors.Injector { return injectors.Of("stuck", &stuck{}) }}
}

func (*stuck) Plan(context.Context, injectors.Aim) ([]injectors.Step[stuckState], error) {
	return nil, errors.New("not planned")
}

func (*stuck) Inject(_ context.Context, _ targets.Node, s stuckState) error {
	if s.HangInject {
		never := make(chan struct{})
		<-never
	}
	return nil
}

func (*stuck) Effect(_ context.Context, _ targets.Node, s stuckState) (bool, string, error) {
	return !s.NoEffect, "looked", nil
}

func (*stuck) Revert(_ context.Context, _ targets.Node, s stuckState) error {
	if s.FailRevert {
		return errors.New("it does not come off")
	}
	return nil
}

func (*stuck) Reverted(context.Context, targets.Node, stuckState) (bool, string, error) {
	return true, "off", nil
}
