package clockskew

import (
	"context"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// either is the fault on the processes of a node, or on the clock of its machine, as
// the state says.
type either struct {
	*skewer
	machine *setter
}

func newEither(p Params) either {
	return either{newSkewer(p, kernelGround{}), &setter{machineWall{}, systemdKeepers{}}}
}

// Plan plans for processes, or for the machine.
func (x either) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if x.p.Of == Host {
		return x.machine.plan(ctx, aim, time.Duration(x.p.Offset))
	}
	return x.skewer.Plan(ctx, aim)
}

// Inject makes the one or the other.
func (x either) Inject(ctx context.Context, n targets.Node, s state) error {
	if s.Machine != nil {
		return x.machine.inject(ctx, n, s)
	}
	return x.skewer.Inject(ctx, n, s)
}

// Effect looks at the one or the other.
func (x either) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	if s.Machine != nil {
		return x.machine.effect(ctx, n, s)
	}
	return x.skewer.Effect(ctx, n, s)
}

// Revert takes back the one or the other.
func (x either) Revert(ctx context.Context, n targets.Node, s state) error {
	if s.Machine != nil {
		return x.machine.revert(ctx, n, s)
	}
	return x.skewer.Revert(ctx, n, s)
}

// Reverted looks whether it is taken back.
func (x either) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	if s.Machine != nil {
		return x.machine.reverted(ctx, n, s)
	}
	return x.skewer.Reverted(ctx, n, s)
}

// Renew is for processes: nothing in a kernel ends the fault of a machine's clock.
func (x either) Renew(ctx context.Context, n targets.Node, s state, lease time.Duration) error {
	if s.Machine != nil {
		return nil
	}
	return x.skewer.Renew(ctx, n, s, lease)
}

// Watch is for processes: whoever comes has the machine's clock.
func (x either) Watch(ctx context.Context, n targets.Node, s state, see func(injectors.Sighting)) error {
	if s.Machine != nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return x.skewer.Watch(ctx, n, s, see)
}
