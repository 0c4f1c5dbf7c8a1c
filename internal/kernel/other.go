//go:build !linux

package kernel

import (
	"context"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// Hold needs pidfd_open(2).
func Hold(context.Context, targets.ProcID) (targets.Handle, error) {
	return nil, unsupported("holding a process")
}

// ReadStat needs /proc.
func ReadStat(int) (Stat, error) { return Stat{}, unsupported("reading a process") }

// Identity needs /proc.
func Identity(int) (targets.ProcID, error) { return targets.ProcID{}, unsupported("reading a process") }

// Self needs /proc.
func Self() (targets.ProcID, error) { return targets.ProcID{}, unsupported("reading a process") }

// Procs needs /proc.
func Procs(Filter) ([]Proc, error) { return nil, unsupported("listing processes") }

// ReadProc needs /proc.
func ReadProc(int) (Proc, error) { return Proc{}, unsupported("reading a process") }

// Signals needs /proc.
func Signals(targets.ProcID) (Dispositions, error) {
	return Dispositions{}, unsupported("reading signal masks")
}

// Dying needs /proc.
func Dying(targets.ProcID) (bool, error) { return false, unsupported("reading a process") }

// Threads needs /proc.
func Threads(targets.ProcID) (string, error) { return "", unsupported("reading threads") }

// Environ needs /proc.
func Environ(targets.ProcID) ([]string, error) { return nil, unsupported("reading an environment") }

// Frozen needs control groups.
func Frozen(int) (bool, error) { return false, unsupported("reading control groups") }

// BootID needs /proc.
func BootID() (string, error) { return "", unsupported("reading the boot id") }

// Monotonic needs CLOCK_MONOTONIC.
func Monotonic() (time.Duration, error) { return 0, unsupported("reading the monotonic clock") }

// Began needs /proc.
func Began(targets.ProcID) (lo, hi time.Time, err error) {
	return lo, hi, unsupported("dating the start of a process")
}

// Missing needs capabilities(7).
func Missing(caps ...Cap) ([]Cap, error) { return caps, unsupported("reading capabilities") }

// RSS needs /proc.
func RSS() (int64, error) { return 0, unsupported("reading own memory") }
