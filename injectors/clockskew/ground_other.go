//go:build !(linux && amd64)

package clockskew

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// kernelGround needs Linux, and has code for x86-64 alone.
type kernelGround struct{}

var errNoGround = fmt.Errorf("the clock of a process can be skewed on Linux on x86-64, and this is %s on %s: %w", runtime.GOOS, runtime.GOARCH, targets.ErrUnsupported)

func (kernelGround) Able(context.Context, targets.Node) error { return errNoGround }

func (kernelGround) Open(context.Context, targets.Node, targets.ProcID) (clock, error) {
	return nil, errNoGround
}

func (kernelGround) Witness(context.Context, func(run runner) error) error {
	return errNoGround
}

func (kernelGround) Waits(targets.Proc) (map[string]int, int, error) { return nil, 0, errNoGround }

func (kernelGround) Execs(context.Context, func(), func(pid int)) error { return errNoGround }

func (kernelGround) Near(int, map[int]bool) bool { return false }

func (kernelGround) Now() (int64, time.Duration, error) { return 0, 0, errNoGround }

func here(context.Context) error { return errNoGround }
