package clockskew

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/internal/vdso"
	"github.com/dapple-drills/dapple/targets"
)

// Plan finds the processes that there are now, and every reason not to skew them.
func (x *skewer) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if len(aim.On) == 0 {
		return nil, errors.New("it is aimed at no node")
	}
	var steps []injectors.Step[state]
	var errs []error
	for _, n := range aim.On {
		step, err := x.planOne(ctx, n)
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name(), err))
			continue
		}
		steps = append(steps, step)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return steps, nil
}

func (x *skewer) planOne(ctx context.Context, n targets.Node) (injectors.Step[state], error) {
	none := injectors.Step[state]{}
	ps, err := procs.Of(n)
	if err != nil {
		return none, err
	}
	if err := x.ground.Able(ctx, n); err != nil {
		return none, err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return none, err
	}
	if len(all) == 0 {
		return none, errors.New("it does not run: start it first")
	}
	s := state{Offset: time.Duration(x.p.Offset), PPM: float64(x.p.Drift), Period: time.Duration(x.p.Strobe)}
	waits := map[string]int{}
	for _, p := range all {
		found, err := x.skewable(ctx, n, p)
		if errors.Is(err, targets.ErrGone) {
			continue // of many processes some come and go
		}
		if err != nil {
			return none, fmt.Errorf("pid %d (%s): %w", p.PID, p.Name, err)
		}
		s.Procs = append(s.Procs, procs.Ref{ProcID: p.ProcID, Name: p.Name})
		for what, count := range found {
			waits[what] += count
		}
	}
	if len(s.Procs) == 0 {
		return none, errors.New("its processes ended while they were looked at")
	}
	return injectors.Step[state]{
		Node:  n,
		Does:  fmt.Sprintf("the clock of its processes is %s: %s, and of those to come%s", s.words(), procs.Names(s.Procs), x.beware(waits)),
		Undo:  "dapple revert # the clock itself is right again when the lease is over",
		State: s,
	}, nil
}

// skewable finds out whether the clock of the process could be skewed, and how it
// waits for absolute times.
func (x *skewer) skewable(ctx context.Context, n targets.Node, p targets.Proc) (waits map[string]int, err error) {
	if p.PID == os.Getpid() || p.PID == os.Getppid() {
		return nil, errors.New("it is dapple itself, whose measurements would be wrong")
	}
	c, err := x.ground.Open(ctx, n, p.ProcID)
	if err != nil {
		return nil, err
	}
	now, err := c.Look(ctx)
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	waits, tracer, err := x.ground.Waits(p)
	switch {
	case err != nil:
		return nil, err
	case tracer != 0:
		return nil, fmt.Errorf("it is traced by pid %d (a debugger, strace): end that first: %w", tracer, targets.ErrUnsupported)
	}
	switch now.State {
	case vdso.Armed, vdso.Partial:
		return nil, errors.New("its clock is skewed already, not by this drill: end that first: dapple revert")
	case vdso.Foreign:
		return nil, fmt.Errorf("its vDSO was changed by somebody else (a debugger, another tool): restart it first: %w", targets.ErrUnsupported)
	}
	if now.Other {
		return nil, fmt.Errorf("another version of dapple skewed it before, and left its payload: restart it first: %w", targets.ErrUnsupported)
	}
	return waits, nil
}

// beware says what the kernel will judge by the true clock.
func (x *skewer) beware(waits map[string]int) string {
	if len(waits) == 0 {
		return ""
	}
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(waits)) {
		parts = append(parts, fmt.Sprintf("%d by %s", waits[what], what))
	}
	effect := "late"
	if x.p.Offset < 0 || x.p.Offset == 0 && x.p.Drift < 0 {
		effect = "at once"
	}
	return fmt.Sprintf(". Beware: threads of it wait for an absolute time (%s): the kernel judges these by the true clock, so that such waits end %s while the clock is skewed", strings.Join(parts, ", "), effect)
}
