package clockskew

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/internal/vdso"
	"github.com/dapple-drills/dapple/targets"
)

// Revert has every process see the truth at once, and then be as it was. It finds
// them by what is in them, not by what was written down.
func (x *skewer) Revert(ctx context.Context, n targets.Node, s state) error {
	h := x.hold(n)
	h.end()
	if err := h.lock(ctx); err != nil {
		return err
	}
	defer h.unlock()
	ps, err := procs.Of(n)
	if err != nil {
		return err
	}
	done := map[targets.ProcID]bool{}
	for {
		ids, err := with(ctx, ps, s)
		if err != nil {
			return err
		}
		// Those that were forked meanwhile are found by the next look.
		found, err := x.disarmAll(ctx, n, ids, done)
		if err != nil {
			return err
		}
		if found == 0 {
			return h.letGo()
		}
	}
}

// with are the processes of the node, and those that it had when it was planned.
func with(ctx context.Context, ps targets.Processes, s state) (ids []targets.ProcID, err error) {
	all, err := ps.Processes(ctx)
	if err != nil && !errors.Is(err, targets.ErrGone) {
		return nil, err
	}
	seen := map[targets.ProcID]bool{}
	for _, p := range all {
		seen[p.ProcID], ids = true, append(ids, p.ProcID)
	}
	for _, r := range s.Procs {
		if !seen[r.ProcID] {
			ids = append(ids, r.ProcID)
		}
	}
	return ids, nil
}

// disarmAll takes back what was done to those that are not done yet, and counts them:
// first it ends all leases, so that all see the truth from one moment on.
func (x *skewer) disarmAll(ctx context.Context, n targets.Node, ids []targets.ProcID, done map[targets.ProcID]bool) (found int, err error) {
	armed := map[targets.ProcID]clock{}
	var errs []error
	for _, id := range ids {
		if done[id] {
			continue
		}
		c, err := x.openArmed(ctx, n, id)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%v: %w", id, err))
		case c == nil:
			done[id] = true
		default:
			armed[id] = c
			errs = append(errs, orGone(c.Renew(ctx, vdso.Lease{})))
		}
	}
	for id, c := range armed {
		err := orGone(insist(ctx, func() error { return c.Disarm(ctx) }))
		if err == nil {
			done[id] = true
		} else {
			err = fmt.Errorf("%v sees the true time, and still has the code of the skew: %w", id, err)
		}
		errs = append(errs, err, c.Close())
	}
	return len(armed), errors.Join(errs...)
}

// openArmed opens a process, or returns nil if there is nothing to take back in it.
func (x *skewer) openArmed(ctx context.Context, n targets.Node, id targets.ProcID) (clock, error) {
	c, err := x.ground.Open(ctx, n, id)
	if err != nil {
		if errors.Is(err, vdso.ErrNone) {
			return nil, nil
		}
		return nil, orGone(err)
	}
	s, err := c.Look(ctx)
	if err == nil && (s.State == vdso.Armed || s.State == vdso.Partial) {
		return c, nil
	}
	return nil, errors.Join(orGone(err), c.Close())
}

// insist tries again while the threads of a process are busy.
func insist(ctx context.Context, do func() error) error {
	for begin := time.Now(); ; {
		err := do()
		if !errors.Is(err, vdso.ErrBusy) || time.Since(begin) > busy {
			return err
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// orGone: what is not there any more has nothing to revert.
func orGone(err error) error {
	if errors.Is(err, targets.ErrGone) {
		return nil
	}
	return err
}

// Reverted looks whether no process is led to the code of a skew.
func (x *skewer) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	ps, err := procs.Of(n)
	if err != nil {
		return false, "", err
	}
	ids, err := with(ctx, ps, s)
	if err != nil {
		return false, "", err
	}
	looked := 0
	for _, id := range ids {
		c, err := x.openArmed(ctx, n, id)
		if err != nil {
			return false, "", fmt.Errorf("%v: %w", id, err)
		}
		if c != nil {
			return false, fmt.Sprintf("%v still has the code of the skew", id), c.Close()
		}
		looked++
	}
	return true, fmt.Sprintf("none of %d processes has its clock changed", looked), nil
}

// wait waits for d, or returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
