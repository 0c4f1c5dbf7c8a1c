package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// inSession lists the live processes of the session that main leads or led, the
// main one first. A member is started as the leader of a session, so these are
// it and its descendants, but for those that began a session of their own.
func inSession(main targets.ProcID) ([]targets.Proc, error) {
	if main.PID == 0 {
		return nil, nil
	}
	// The number of a dead leader is not given to another process while its
	// session has members; once it has none, the number may be a stranger's.
	if now, err := kernel.Identity(main.PID); err == nil && now != main {
		return nil, nil
	}
	all, err := kernel.Procs(kernel.Filter{Keep: func(p kernel.Proc) bool {
		if p.State == "Z" || p.State == "X" {
			return false
		}
		session, err := unix.Getsid(p.PID)
		return err == nil && session == main.PID // an error: it ended while we looked
	}})
	if err != nil {
		return nil, err
	}
	procs := make([]targets.Proc, len(all))
	for i, p := range all {
		procs[i] = p.Proc
		procs[i].Main = p.ProcID == main
	}
	if i := slices.IndexFunc(procs, func(p targets.Proc) bool { return p.Main }); i > 0 {
		first := procs[i]
		procs = slices.Insert(slices.Delete(procs, i, i+1), 0, first)
	}
	return procs, nil
}

// killSession kills what is left of the session that main led: children that
// outlived it. New ones may be forked meanwhile, so it looks until there is
// nothing left.
func killSession(ctx context.Context, main targets.ProcID) error {
	for {
		procs, err := inSession(main)
		if err != nil || len(procs) == 0 {
			return err
		}
		for _, p := range procs {
			if err := killOne(ctx, p.ProcID); err != nil {
				return fmt.Errorf("killing what %v left behind: %w", main, err)
			}
		}
	}
}

// killOne kills the process only if it still is who it was, and waits for its
// death.
func killOne(ctx context.Context, id targets.ProcID) error {
	h, err := kernel.Hold(ctx, id)
	if errors.Is(err, targets.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, targets.ErrGone) {
		return err
	}
	if err := h.Exited(ctx); err != nil {
		return fmt.Errorf("%v did not die within %v of SIGKILL: %w", id, killGrace, err)
	}
	return nil
}

// killGrace is how long a SIGKILL may take: a process in an uninterruptible
// wait (state D) dies only when that ends.
const killGrace = 10 * time.Second
