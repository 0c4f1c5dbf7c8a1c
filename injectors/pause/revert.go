package pause

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// SIGSTOP and SIGCONT by their numbers on Linux on x86 and ARM (signal(7)): the
// nodes run there, wherever the runner does.
const (
	sigSTOP = syscall.Signal(19)
	sigCONT = syscall.Signal(18)
)

// Revert continues the processes, or thaws the group.
func (x *pauser) Revert(ctx context.Context, n targets.Node, s state) error {
	if s.Group != nil {
		_, half, _, err := x.freezer.frozen(ctx, n, *s.Group)
		if err == nil && half {
			_, _, thawed := s.Group.file()
			err = x.freezer.set(ctx, n, *s.Group, thawed)
		}
		return orGone(err)
	}
	ps, err := procs.Of(n)
	if err != nil {
		return err
	}
	return orGone(resume(ctx, ps, s))
}

// orGone: what is not there any more has nothing to revert.
func orGone(err error) error {
	if errors.Is(err, targets.ErrGone) {
		return nil
	}
	return err
}

// resume continues what is stopped, children first, so that a parent finds them
// as they were.
func resume(ctx context.Context, ps targets.Processes, s state) error {
	now, err := lookFor(ctx, ps, s)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range slices.Backward(now) {
		needs, err := p.needsCONT()
		if err == nil && needs {
			err = signal(ctx, ps, p.ProcID, sigCONT)
		}
		errs = append(errs, orGone(err))
	}
	return errors.Join(errs...)
}

// lookFor looks, also for those that the node does not show any more: it may have
// lost its main process, and they not their lives.
func lookFor(ctx context.Context, ps targets.Processes, s state) ([]seen, error) {
	now, err := look(ctx, ps, s)
	if err != nil {
		return nil, err
	}
	for _, r := range s.Procs {
		if slices.ContainsFunc(now, func(p seen) bool { return p.ProcID == r.ProcID }) {
			continue
		}
		p := targets.Proc{ProcID: r.ProcID, Name: r.Name}
		states, err := procs.Threads(p)
		if err != nil {
			return nil, err
		}
		now = append(now, seen{p, states})
	}
	return now, nil
}

// needsCONT says whether the process is stopped, or about to be. One that runs is
// spared the signal: it may have a handler for it.
func (p seen) needsCONT() (bool, error) {
	if slices.Contains([]byte(p.threads), 'T') {
		return true, nil
	}
	now, err := kernel.Identity(p.PID)
	if err != nil || now != p.ProcID {
		return false, nil // gone, or of another machine, which shows its state by now
	}
	d, err := kernel.Signals(p.ProcID)
	return kernel.Has(d.Pending, int(sigSTOP)), orGone(err)
}

// signal holds the process, so that no other gets it.
func signal(ctx context.Context, ps targets.Processes, id targets.ProcID, sig syscall.Signal) error {
	h, err := ps.Hold(ctx, id)
	if err != nil {
		return err
	}
	if err := errors.Join(h.Signal(sig), h.Close()); err != nil {
		return fmt.Errorf("signal %d to %v: %w", sig, id, err)
	}
	return nil
}

// Reverted looks whether nothing is stopped any more.
func (x *pauser) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	if s.Group != nil {
		_, half, words, err := x.freezer.frozen(ctx, n, *s.Group)
		if errors.Is(err, targets.ErrGone) {
			return true, "its control group is not there any more", nil
		}
		return !half && err == nil, words, err
	}
	ps, err := procs.Of(n)
	if err != nil {
		return false, "", err
	}
	now, err := lookFor(ctx, ps, s)
	if err != nil {
		return false, "", err
	}
	for _, p := range now {
		if slices.Contains([]byte(p.threads), 'T') {
			return false, fmt.Sprintf("pid %d (%s) is stopped: its threads are %q", p.PID, p.Name, p.threads), nil
		}
	}
	return true, fmt.Sprintf("not stopped: %s", procs.Names(s.Procs)), nil
}
