package clockskew

import (
	"context"
	"errors"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// Watch has programs be skewed that are executed while the fault is held: as soon as
// the kernel tells of them, or, where it does not, as soon as a search finds them.
// What is missed is seen by Effect.
func (x *skewer) Watch(ctx context.Context, n targets.Node, _ state, _ func(injectors.Sighting)) error {
	h := x.hold(n)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	execs, told, deaf := make(chan int, 1024), make(chan struct{}), make(chan error, 1)
	go func() {
		deaf <- x.ground.Execs(ctx, func() { close(told) }, func(pid int) {
			select {
			case execs <- pid:
			default: // the next sweep finds it
			}
		})
	}()
	every := time.NewTicker(x.poll)
	defer every.Stop()
	for {
		var err error
		select {
		case <-told:
			every.Reset(x.sweep)
			told = nil
		case <-deaf:
			every.Reset(x.poll)
			deaf = nil
		case pid := <-execs:
			err = h.catch(ctx, pid)
		case <-every.C:
			err = h.catchAll(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_ = err // a process that cannot be skewed is a hole, and Effect says which
	}
}

// catch skews a process that has just executed a program, if it is the node's.
func (h *hold) catch(ctx context.Context, pid int) error {
	if !h.isLive() {
		return nil
	}
	if pid == 0 {
		return h.catchAll(ctx)
	}
	if !h.ground.Near(pid, h.known()) {
		return nil
	}
	ps, err := procs.Of(h.n)
	if err != nil {
		return err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.PID == pid {
			return h.bringAlone(ctx, p.ProcID)
		}
	}
	return nil
}

// catchAll searches the node for processes that are not skewed.
func (h *hold) catchAll(ctx context.Context) error {
	if !h.isLive() {
		return nil
	}
	ps, err := procs.Of(h.n)
	if err != nil {
		return err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range all {
		errs = append(errs, h.bringAlone(ctx, p.ProcID))
	}
	return errors.Join(errs...)
}

// bringAlone brings a process unless the fault is being made or taken back.
func (h *hold) bringAlone(ctx context.Context, id targets.ProcID) error {
	if err := h.lock(ctx); err != nil {
		return err
	}
	defer h.unlock()
	if !h.isLive() {
		return nil
	}
	_, err := h.bring(ctx, id)
	return err
}
