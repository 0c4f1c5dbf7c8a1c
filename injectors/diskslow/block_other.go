//go:build !linux

package diskslow

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

// kernelDisk needs control groups.
type kernelDisk struct{}

var errNoThrottle = fmt.Errorf("slowing disks down needs Linux, this is %s: %w", runtime.GOOS, targets.ErrUnsupported)

func (kernelDisk) find(context.Context, targets.Node, string) (cgroups.Group, volumes.Disk, error) {
	return cgroups.Group{}, volumes.Disk{}, errNoThrottle
}

func (kernelDisk) get(context.Context, targets.Node, state, limit) (uint64, error) {
	return 0, errNoThrottle
}

func (kernelDisk) set(context.Context, targets.Node, state, limit, uint64) error {
	return errNoThrottle
}

func (kernelDisk) try(context.Context, targets.Node, state, change) (in, out, least time.Duration, err error) {
	return 0, 0, 0, errNoThrottle
}

func here(context.Context) error { return errNoThrottle }
