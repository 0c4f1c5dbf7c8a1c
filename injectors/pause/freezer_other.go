//go:build !linux

package pause

import (
	"context"
	"fmt"
	"runtime"

	"github.com/dapple-drills/dapple/targets"
)

// kernelFreezer needs cgroups(7).
type kernelFreezer struct{}

var errNoFreezer = fmt.Errorf("how: freezer needs Linux, this is %s: use how: stop: %w", runtime.GOOS, targets.ErrUnsupported)

func (kernelFreezer) find(context.Context, targets.Node) (group, error) {
	return group{}, errNoFreezer
}

func (kernelFreezer) set(context.Context, targets.Node, group, string) error { return errNoFreezer }

func (kernelFreezer) frozen(context.Context, targets.Node, group) (all, half bool, words string, err error) {
	return false, false, "", errNoFreezer
}
