//go:build !linux

package command

import (
	"context"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// machine is Linux only: elsewhere a command could outlive an agent that was
// killed, and make the fault after it was taken back.
type machine struct{}

func (machine) program(name string) (string, error) {
	return "", fmt.Errorf("running %s: Linux only: %w", name, targets.ErrUnsupported)
}

func (machine) run(context.Context, targets.Node, state, string, []string, time.Duration) (result, error) {
	return result{}, fmt.Errorf("running a command: Linux only: %w", targets.ErrUnsupported)
}

func (machine) sweep(context.Context, targets.Node, state) error { return nil }
