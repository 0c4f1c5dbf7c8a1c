package clockskew

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/internal/vdso"
	"github.com/dapple-drills/dapple/targets"
)

// kernelGround is this machine's kernel.
type kernelGround struct{}

// layout is that of this machine's vDSO, read once: no process of ours is skewed.
var layout = sync.OnceValues(vdso.Own)

func (kernelGround) Able(ctx context.Context, n targets.Node) error {
	l, err := layout()
	if err != nil {
		return fmt.Errorf("%w: %w", err, targets.ErrUnsupported)
	}
	ps, err := procs.Of(n)
	if err != nil {
		return err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		now, err := kernel.Identity(p.PID)
		if p.Main && (err != nil || now != p.ProcID) {
			if again, e := ps.Processes(ctx); e == nil && !slices.ContainsFunc(again, func(q targets.Proc) bool { return q.ProcID == p.ProcID }) {
				continue // it has just ended
			}
			return fmt.Errorf("its main process, pid %d, is none of this machine's: its clock can be skewed only where it runs: %w", p.PID, targets.ErrUnsupported)
		}
	}
	return l.Able()
}

func (kernelGround) Open(_ context.Context, _ targets.Node, id targets.ProcID) (clock, error) {
	l, err := layout()
	if err != nil {
		return nil, err
	}
	p, err := l.Open(id)
	if err != nil {
		return nil, err
	}
	return kernelClock{p}, nil
}

// A kernelClock is a process of this machine. Reading and writing its memory cannot
// hang, so only what stops it needs a context.
type kernelClock struct{ p *vdso.Process }

func (c kernelClock) Look(context.Context) (vdso.Sight, error)              { return c.p.Look() }
func (c kernelClock) Jumps(context.Context) (bool, error)                   { return c.p.Jumps() }
func (c kernelClock) Arm(ctx context.Context, s vdso.Skew) error            { return c.p.Arm(ctx, s) }
func (c kernelClock) Begin(_ context.Context, t0 int64, l vdso.Lease) error { return c.p.Begin(t0, l) }
func (c kernelClock) Renew(_ context.Context, l vdso.Lease) error           { return c.p.Renew(l) }
func (c kernelClock) Disarm(ctx context.Context) error                      { return c.p.Disarm(ctx) }
func (c kernelClock) Close() error                                          { return c.p.Close() }

func (kernelGround) Witness(ctx context.Context, ask func(run runner) error) error {
	l, err := layout()
	if err != nil {
		return err
	}
	return l.Witness(ctx, func(run func([]byte) ([]vdso.Reading, error)) error {
		return ask(func(s vdso.Sight, earlier time.Duration) ([]vdso.Reading, error) {
			return run(l.Shifted(s, int64(earlier)))
		})
	})
}

func (kernelGround) Waits(p targets.Proc) (map[string]int, int, error) {
	tracer, err := vdso.Tracer(p.PID)
	if err != nil {
		return nil, 0, err
	}
	found, err := vdso.Waits(p.PID)
	return found, tracer, err
}

func (kernelGround) Execs(ctx context.Context, first func(), see func(pid int)) error {
	return kernel.Execs(ctx, first, see)
}

// Near looks for what the processes of one node have in common: an ancestor among
// them, or a control group or a network namespace that is not dapple's own.
func (kernelGround) Near(pid int, known map[int]bool) bool {
	for at, steps := pid, 0; at > 1 && steps < 32; steps++ {
		if known[at] {
			return true
		}
		s, err := kernel.ReadStat(at)
		if err != nil {
			break
		}
		at = s.Parent
	}
	for _, what := range []string{"cgroup", "ns/net"} {
		its, own := mark(pid, what), mark(os.Getpid(), what)
		if its == "" || its == own {
			continue
		}
		for other := range known {
			if mark(other, what) == its {
				return true
			}
		}
	}
	return false
}

func mark(pid int, what string) string {
	name := fmt.Sprintf("/proc/%d/%s", pid, what)
	if what == "cgroup" {
		text, err := os.ReadFile(name)
		if err != nil {
			return ""
		}
		return string(text)
	}
	text, err := os.Readlink(name)
	if err != nil {
		return ""
	}
	return text
}

func (kernelGround) Now() (now int64, tai time.Duration, err error) {
	now, err1 := vdso.Truth()
	tai, err2 := vdso.TAI()
	return now, tai, errors.Join(err1, err2)
}
