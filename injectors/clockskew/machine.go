package clockskew

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/targets"
)

// A wall is the clock of the machine on which a node runs.
type wall interface {
	// Able refuses where the node runs on another machine, or where this process
	// may not set the clock. It changes nothing.
	Able(ctx context.Context, n targets.Node) error
	// Offset is how far CLOCK_REALTIME is before CLOCK_BOOTTIME, which nobody sets,
	// and how long it took to read both.
	Offset(ctx context.Context, n targets.Node) (offset, slack time.Duration, err error)
	// Step has CLOCK_REALTIME jump.
	Step(ctx context.Context, n targets.Node, by time.Duration) error
}

// keepers are the services that keep a machine's clock right.
type keepers interface {
	// Keeping are the units of those that run now. One that could not be stopped,
	// for it is nobody's unit, is an error.
	Keeping(ctx context.Context, n targets.Node) ([]string, error)
	Stop(ctx context.Context, n targets.Node, unit string) error
	Start(ctx context.Context, n targets.Node, unit string) error
}

// machineState is the fault on a machine's clock.
type machineState struct {
	// Base is the offset of the clock when it was planned: the truth, as far as
	// the machine knew it. What passes from then on is CLOCK_BOOTTIME's to tell, so
	// that none of it is lost by taking the fault back.
	Base  time.Duration `json:"base_ns"`
	Units []string      `json:"units,omitempty"` // that kept the clock then
}

// A setter makes the fault of a machine's clock.
type setter struct {
	wall    wall
	keepers keepers
}

const (
	// leastStep is more than a service that keeps a clock steps it by, when it is
	// started again.
	leastStep = time.Second
	// near is how far a clock may be from where it was set: what it takes to set it,
	// and what a kernel that is asked to slew does meanwhile.
	near = 50 * time.Millisecond
)

// checkMachine finds what a machine's clock cannot do.
func (p Params) checkMachine() error {
	switch {
	case p.Drift != 0 || p.Strobe != 0:
		return errors.New("of: host knows an offset alone: drift would bend the monotonic clock too, and a strobe cannot be taken back by one step")
	case time.Duration(p.Offset).Abs() < leastStep:
		return fmt.Errorf("of: host: the least offset is %v: what is less a time service may set by itself", leastStep)
	}
	return nil
}

// plan reads how the clock stands and who keeps it.
func (x *setter) plan(ctx context.Context, aim injectors.Aim, offset time.Duration) ([]injectors.Step[state], error) {
	if !aim.HostClock {
		return nil, diag.Hint(errors.New("it sets the clock of a whole machine wrong, for everybody on it"),
			"add --allow-host-clock if the machine is yours alone; of: processes changes what the node's processes believe")
	}
	if len(aim.On) != 1 {
		return nil, fmt.Errorf("it is aimed at %d nodes: a machine has one clock; aim at one node", len(aim.On))
	}
	n := aim.On[0]
	if err := x.wall.Able(ctx, n); err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name(), err)
	}
	for _, p := range aim.Peers {
		if x.wall.Able(ctx, p) == nil {
			return nil, diag.Hint(fmt.Errorf("node %s is on the same machine as node %s: its clock would be wrong too", p.Name(), n.Name()), "use of: processes")
		}
	}
	base, slack, err := x.wall.Offset(ctx, n)
	if err == nil && slack > near {
		err = fmt.Errorf("reading the clock took %v: the machine is too busy to say how it stands", slack)
	}
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name(), err)
	}
	units, err := x.keepers.Keeping(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("node %s: who keeps its clock: %w", n.Name(), err)
	}
	s := state{Offset: offset, Machine: &machineState{Base: base, Units: units}}
	does := fmt.Sprintf("the clock of the whole machine, and so of all that runs on it, is %s", ahead(offset))
	undo := "dapple revert # or: date --set='" + (-offset).String() + "'"
	if len(units) > 0 {
		does += "; meanwhile stopped, for it would set it right: " + strings.Join(units, ", ")
		undo += "; systemctl start " + strings.Join(units, " ")
	}
	return []injectors.Step[state]{{Node: n, Does: does, Undo: undo, State: s}}, nil
}

// inject stops who would set the clock right, and sets it wrong: to where it is to
// be, so that a second call changes nothing.
func (x *setter) inject(ctx context.Context, n targets.Node, s state) error {
	for _, unit := range s.Machine.Units {
		if err := x.keepers.Stop(ctx, n, unit); err != nil {
			return fmt.Errorf("stopping %s: %w", unit, err)
		}
	}
	return x.to(ctx, n, s.Machine.Base+s.Offset)
}

// to has the clock be at an offset, by one step.
func (x *setter) to(ctx context.Context, n targets.Node, offset time.Duration) error {
	now, _, err := x.wall.Offset(ctx, n)
	if err != nil {
		return err
	}
	if by := offset - now; by.Abs() > near {
		if err := ctx.Err(); err != nil {
			return err
		}
		return x.wall.Step(ctx, n, by)
	}
	return nil
}

// effect reads the clock back, and looks who keeps it.
func (x *setter) effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	by, err := x.by(ctx, n, s)
	if err != nil {
		return false, "", err
	}
	held = (by - s.Offset).Abs() <= near
	proof = fmt.Sprintf("CLOCK_REALTIME is %+.3fs from where CLOCK_BOOTTIME says that it would be, and should %+.3fs", by.Seconds(), s.Offset.Seconds())
	if len(s.Machine.Units) == 0 {
		return held, proof, nil
	}
	units, err := x.keepers.Keeping(ctx, n)
	if err != nil {
		return false, proof, err
	}
	if len(units) > 0 {
		return false, proof + "; it is kept again, by " + strings.Join(units, ", "), nil
	}
	return held, proof + "; stopped: " + strings.Join(s.Machine.Units, ", "), nil
}

// by is how far the clock is from what it would be without the fault.
func (x *setter) by(ctx context.Context, n targets.Node, s state) (time.Duration, error) {
	now, _, err := x.wall.Offset(ctx, n)
	return now - s.Machine.Base, err
}

// revert sets the clock to where it would be, whoever set it meanwhile, and starts
// who kept it: also if the clock could not be set, for then he does.
func (x *setter) revert(ctx context.Context, n targets.Node, s state) error {
	errs := []error{x.to(ctx, n, s.Machine.Base)}
	now, err := x.keepers.Keeping(ctx, n)
	if err != nil {
		now = nil // each is started; one that runs is no error
	}
	for _, unit := range s.Machine.Units {
		if slices.Contains(now, unit) {
			continue
		}
		if err := x.keepers.Start(ctx, n, unit); err != nil {
			errs = append(errs, fmt.Errorf("starting %s: %w", unit, err))
		}
	}
	return errors.Join(errs...)
}

// reverted says whether the clock is where it would be, and kept by who kept it.
func (x *setter) reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	by, err := x.by(ctx, n, s)
	if err != nil {
		return false, "", err
	}
	proof = fmt.Sprintf("CLOCK_REALTIME is %+.3fs from where CLOCK_BOOTTIME says that it would be", by.Seconds())
	if by.Abs() > near {
		return false, proof, nil
	}
	if len(s.Machine.Units) == 0 {
		return true, proof, nil
	}
	now, err := x.keepers.Keeping(ctx, n)
	if err != nil {
		return false, proof, err
	}
	for _, unit := range s.Machine.Units {
		if !slices.Contains(now, unit) {
			return false, proof + "; " + unit + ", which kept it, does not run", nil
		}
	}
	return true, proof + "; it is kept by " + strings.Join(now, ", "), nil
}
