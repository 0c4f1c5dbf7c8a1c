package kill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// Revert continues what was stopped, or starts the node if it does not run. A
// single process that was killed is brought back by whoever supervises it, not by
// us.
func (k *killer) Revert(ctx context.Context, n targets.Node, s state) error {
	ps, err := procs.Of(n)
	if err != nil {
		return err
	}
	if s.stops() {
		return orGone(resume(ctx, ps, s))
	}
	st, ok := n.(targets.Starter)
	if !ok {
		return fmt.Errorf("starting it: %w", targets.ErrUnsupported)
	}
	// A signal that is on its way must have done its work first: a node that runs
	// now and dies in a millisecond is not reverted.
	if err := k.outlast(ctx, ps, s); err != nil {
		return orGone(err)
	}
	return orGone(k.run(ctx, n, ps, st, s))
}

// orGone: what is not there any more has nothing to revert.
func orGone(err error) error {
	if errors.Is(err, targets.ErrGone) {
		return nil
	}
	return err
}

// resume continues the processes, newest first, so that a parent finds its
// children as they were.
func resume(ctx context.Context, ps targets.Processes, s state) error {
	ids := make([]targets.ProcID, 0, len(s.Procs))
	for _, p := range s.Procs {
		ids = append(ids, p.ProcID)
	}
	if s.whole() {
		extra, err := stoppedByUs(ctx, ps, s)
		if err != nil {
			return err
		}
		ids = append(ids, extra...)
	}
	var errs []error
	for _, id := range slices.Backward(ids) {
		errs = append(errs, resumeOne(ctx, ps, id))
	}
	return errors.Join(errs...)
}

func resumeOne(ctx context.Context, ps targets.Processes, id targets.ProcID) error {
	h, err := ps.Hold(ctx, id)
	if errors.Is(err, targets.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := h.Signal(sigCONT); err != nil && !errors.Is(err, targets.ErrGone) {
		return errors.Join(fmt.Errorf("continuing %v: %w", id, err), h.Close())
	}
	return h.Close()
}

// stoppedByUs are the stopped processes of the node that were not stopped before:
// some may have been forked while all were being stopped.
func stoppedByUs(ctx context.Context, ps targets.Processes, s state) (ids []targets.ProcID, err error) {
	all, err := ps.Processes(ctx)
	for _, p := range all {
		if p.State == "T" && !slices.Contains(s.Stopped, p.ProcID) && !s.aimsAt(p.ProcID) {
			ids = append(ids, p.ProcID)
		}
	}
	return ids, err
}

// outlast waits for the processes that are to die of a signal that may have been
// sent: for those which SIGKILL already has, and, because nobody can know whether
// it will heed it, a while for the others.
func (k *killer) outlast(ctx context.Context, ps targets.Processes, s state) error {
	patient, cancel := context.WithTimeout(ctx, k.obey)
	defer cancel()
	for _, p := range s.Procs {
		dead, err := procs.Dead(ctx, ps, p.ProcID)
		if err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
		if dead {
			continue
		}
		if s.Signal == "KILL" {
			if dying, err := isDying(p.ProcID); err != nil || !dying {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := untilDead(patient, ps, p.ProcID); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%v: %w", p, err)
		}
	}
	return nil
}

// isDying says whether a SIGKILL is on its way to the process. Of a process that
// is none of this machine's it cannot be known.
func isDying(id targets.ProcID) (bool, error) {
	if now, err := kernel.Identity(id.PID); err != nil || now != id {
		return false, nil
	}
	return kernel.Dying(id)
}

func untilDead(ctx context.Context, ps targets.Processes, id targets.ProcID) error {
	h, err := ps.Hold(ctx, id)
	if errors.Is(err, targets.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(h.Exited(ctx), h.Close())
}

const (
	// notice is how long an engine may take to see that a main process died
	// (Docker: 20 to 60 ms, dependencies §4); then it is asked to start it all
	// the same.
	notice = 5 * time.Second
	// recheck is how often it is asked meanwhile.
	recheck = 20 * time.Millisecond
)

// run sees to it that the node runs.
func (k *killer) run(ctx context.Context, n targets.Node, ps targets.Processes, st targets.Starter, s state) error {
	begin := time.Now()
	for {
		now, err := st.State(ctx)
		if err != nil {
			return err
		}
		lives := false
		if now.Running {
			if lives, err = k.mainLives(ctx, ps, now, s); err != nil {
				return err
			}
		}
		switch {
		case lives:
			return nil
		case !now.Running || time.Since(begin) > notice:
			k.mark(n)
			if err := st.Start(ctx); err != nil {
				return fmt.Errorf("starting it: %w", err)
			}
		}
		if err := wait(ctx, recheck); err != nil {
			return fmt.Errorf("starting it: the engine says that it is %s: %w", now.Detail, err)
		}
	}
}

// mainLives says whether the main process that the engine speaks of is alive, and
// will be: it may end because the process that was killed has.
func (k *killer) mainLives(ctx context.Context, ps targets.Processes, now targets.State, s state) (bool, error) {
	if now.Main.Start == 0 { // it cannot be seen from here
		return now.Main.PID != s.Main.PID, nil
	}
	h, err := ps.Hold(ctx, now.Main)
	if errors.Is(err, targets.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	patience := time.Duration(0)
	if now.Main == s.Main && !s.aimsAt(s.Main) {
		// The process that was killed, if it was, may take it along.
		for _, p := range s.Procs {
			dead, err := procs.Dead(ctx, ps, p.ProcID)
			if err != nil {
				return false, errors.Join(err, h.Close())
			}
			if dead {
				patience = k.linger
			}
		}
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = h.Exited(short)
	if errors.Is(err, context.DeadlineExceeded) {
		return ctx.Err() == nil, errors.Join(ctx.Err(), h.Close())
	}
	return false, errors.Join(err, h.Close())
}

// Reverted looks whether nothing is stopped, or whether the node runs.
func (k *killer) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	ps, err := procs.Of(n)
	if err != nil {
		return false, "", err
	}
	if s.stops() {
		return resumed(ctx, ps, s)
	}
	st, is := n.(targets.Starter)
	if !is {
		return false, "", fmt.Errorf("asking whether it runs: %w", targets.ErrUnsupported)
	}
	now, err := st.State(ctx)
	if err != nil {
		return false, "", err
	}
	if !now.Running {
		return false, "the node does not run: " + now.Detail, nil
	}
	if now.Main.Start != 0 {
		dead, err := procs.Dead(ctx, ps, now.Main)
		if err != nil || dead {
			return false, fmt.Sprintf("its main process, %v, is dead", now.Main), err
		}
	}
	return true, fmt.Sprintf("the node runs: main process %v", now.Main), nil
}

func resumed(ctx context.Context, ps targets.Processes, s state) (bool, string, error) {
	all, err := ps.Processes(ctx)
	if err != nil {
		return false, "", err
	}
	for _, p := range all {
		if p.State == "T" && (s.aimsAt(p.ProcID) || s.whole() && !slices.Contains(s.Stopped, p.ProcID)) {
			return false, fmt.Sprintf("pid %d (%s) is stopped", p.PID, p.Name), nil
		}
	}
	return true, fmt.Sprintf("not stopped: %s", procs.Names(s.Procs)), nil
}

// mark notes for Watch that a start that is seen from now on is ours.
func (k *killer) mark(n targets.Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.started[n.Name()] = time.Now()
}

func (k *killer) ours(n targets.Node) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, is := k.started[n.Name()]
	return is
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
