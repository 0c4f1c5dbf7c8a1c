package host

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// killGrace is how long a SIGKILL may take: a process in an uninterruptible wait
// (state D) dies only when that ends.
const killGrace = 10 * time.Second

// killAll kills all at once and waits until they are dead. A number that is
// another process's by now is not touched.
func killAll(ctx context.Context, procs []targets.Proc) (err error) {
	ctx, cancel := context.WithTimeout(ctx, killGrace)
	defer cancel()
	var held []targets.Handle
	defer func() {
		for _, h := range held {
			err = errors.Join(err, h.Close())
		}
	}()
	for _, p := range procs {
		h, err := kernel.Hold(ctx, p.ProcID)
		if errors.Is(err, targets.ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		held = append(held, h)
	}
	for _, h := range held {
		if err := h.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, targets.ErrGone) {
			return err
		}
	}
	for _, h := range held {
		if err := h.Exited(ctx); err != nil {
			return fmt.Errorf("a process did not die within %v of SIGKILL: %w", killGrace, err)
		}
	}
	return nil
}

// poll asks again and again until is says yes.
func poll(ctx context.Context, is func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := is()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
