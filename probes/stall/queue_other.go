//go:build !linux

package stall

import (
	"errors"
	"time"
)

// A queue tells nothing here: only Linux counts what threads wait for a processor.
type queue struct{}

func openQueue() (*queue, error) { return nil, errors.ErrUnsupported }

func (*queue) look() (time.Duration, error) { return 0, errors.ErrUnsupported }

// Close has nothing to close.
func (*queue) Close() error { return nil }
