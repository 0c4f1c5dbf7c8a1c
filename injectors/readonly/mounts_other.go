//go:build !linux

package readonly

import (
	"context"
	"fmt"
	"runtime"

	"github.com/dapple-drills/dapple/targets"
)

// kernelMounts needs mount namespaces.
type kernelMounts struct{}

var errNoMounts = fmt.Errorf("readonly needs the mounts of Linux, this is %s: %w", runtime.GOOS, targets.ErrUnsupported)

func (kernelMounts) look(context.Context, targets.Node, string) (seen, error) {
	return seen{}, errNoMounts
}

func (kernelMounts) cover(context.Context, targets.Node, state) error { return errNoMounts }

func (kernelMounts) uncover(context.Context, targets.Node, state) error { return errNoMounts }

func (kernelMounts) covered(context.Context, targets.Node, state) (bool, error) {
	return false, errNoMounts
}

func here(context.Context) error { return errNoMounts }
