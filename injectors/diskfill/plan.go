package diskfill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// fillable are the file systems on which blocks can be reserved in a file without
// a name. overlay passes both on to the one below it.
var fillable = []string{"btrfs", "ext4", "f2fs", "overlay", "tmpfs", "xfs"}

// Plan finds the file systems, and every reason not to fill them.
func (x *filler) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if len(aim.On) == 0 {
		return nil, errors.New("it is aimed at no node")
	}
	var steps []injectors.Step[state]
	var errs []error
	devices := map[string]string{} // to the node whose it is
	for _, n := range aim.On {
		step, err := x.planOne(ctx, n)
		if other := devices[step.State.Device]; err == nil && other != "" {
			err = fmt.Errorf("%s is the same file system (device %s) as on node %s: filling it once fills both; aim at one of them", x.p.Path, step.State.Device, other)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name(), err))
			continue
		}
		devices[step.State.Device] = n.Name()
		steps = append(steps, step)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return steps, nil
}

func (x *filler) planOne(ctx context.Context, n targets.Node) (injectors.Step[state], error) {
	none := injectors.Step[state]{}
	now, err := x.disk.look(ctx, n, x.p.Path)
	if err != nil {
		return none, err
	}
	s := state{Path: x.p.Path, Device: now.Device, Inodes: x.p.Inodes, Root: x.p.Root, Limit: x.p.Limit.n}
	s.Free = x.p.Free.of(now.total(s))
	if err := now.usable(s); err != nil {
		return none, err
	}
	left := now.left(s)
	if left <= s.Free {
		return none, fmt.Errorf("%s is full already: %s of %s are free, and %s are to be left", s.Path, s.amount(left), s.amount(now.total(s)), s.amount(s.Free))
	}
	need := left - s.Free
	if s.Limit > 0 && need > s.Limit {
		return none, fmt.Errorf("%s has %s free: to leave %s, %s must be taken, which is more than the limit of %s; leave more, or raise the limit", s.Path, s.amount(left), s.amount(s.Free), s.amount(need), s.amount(s.Limit))
	}
	if err := x.disk.allowed(ctx, n, s, need); err != nil {
		return none, err
	}
	return injectors.Step[state]{
		Node:  n,
		Does:  fmt.Sprintf("takes %s of %s (%s on device %s, mounted at %s) with files that have no name, so that %s are left", s.amount(need), s.Path, now.Type, now.Device, now.Mount, s.amount(s.Free)),
		Undo:  "dapple revert # or end the agent of the drill: the space is held by its open descriptors alone",
		State: s,
	}, nil
}

// usable refuses file systems that cannot be filled in this way.
func (p space) usable(s state) error {
	switch {
	case p.ReadOnly:
		return fmt.Errorf("%s is mounted read-only: nothing can be written there anyway", s.Path)
	case !slices.Contains(fillable, p.Type):
		return fmt.Errorf("%s is on %s, on which space cannot be taken by a file without a name; possible: %s: %w", s.Path, p.Type, strings.Join(fillable, ", "), targets.ErrUnsupported)
	case s.Inodes && p.Inodes == 0:
		return fmt.Errorf("%s is on %s, which makes inodes as they are needed and cannot run out of them: fill its bytes: %w", s.Path, p.Type, targets.ErrUnsupported)
	}
	return nil
}
