//go:build !linux

package diskfill

import (
	"context"
	"fmt"
	"runtime"

	"github.com/dapple-drills/dapple/targets"
)

// kernelDisk needs openat2(2) and O_TMPFILE.
type kernelDisk struct{}

var errNoDisk = fmt.Errorf("filling disks needs Linux, this is %s: %w", runtime.GOOS, targets.ErrUnsupported)

func here(context.Context) error { return errNoDisk }

func (kernelDisk) look(context.Context, targets.Node, string) (space, error) {
	return space{}, errNoDisk
}

func (kernelDisk) allowed(context.Context, targets.Node, state, uint64) error { return errNoDisk }

func (kernelDisk) hold(context.Context, targets.Node, state) (holder, error) { return nil, errNoDisk }

func (kernelDisk) refuses(context.Context, targets.Node, state) (full bool, words string, err error) {
	return false, "", errNoDisk
}
