//go:build !linux

package tc

import (
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

var errOther = fmt.Errorf("netem is a part of Linux: %w", targets.ErrUnsupported)

// A Hold is an impairment that this process keeps from ending.
type Hold struct{}

// Renew cannot be.
func (*Hold) Renew(time.Duration) error { return errOther }

// Close has nothing to let go of.
func (*Hold) Close() error { return nil }

// Able is never.
func Able(string, Spec) error { return errOther }

// Try fails.
func Try() error { return errOther }

// TryBucket fails.
func TryBucket() error { return errOther }

// Raise fails.
func Raise(string, Spec, time.Duration) (*Hold, error) { return nil, errOther }

// Look fails.
func Look(string, Spec) (Sight, error) { return Sight{}, errOther }

// Remove fails.
func Remove(string, Spec) error { return errOther }
