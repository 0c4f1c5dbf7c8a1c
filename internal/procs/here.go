package procs

import (
	"context"
	"errors"
	"fmt"

	"github.com/dapple-drills/dapple/internal/kernel"
)

// Here tries on this very process whether processes can be held by descriptor,
// signalled through it, and seen thread by thread. What belongs to other users
// takes more: Reachable says so of one certain process.
func Here(ctx context.Context) error {
	me, err := kernel.Self()
	if err != nil {
		return err
	}
	h, err := kernel.Hold(ctx, me)
	if err != nil {
		return err
	}
	if err := errors.Join(h.Signal(0), h.Close()); err != nil {
		return fmt.Errorf("sending a signal through a descriptor: %w", err)
	}
	_, err = kernel.Threads(me)
	return err
}
