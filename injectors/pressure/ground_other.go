//go:build !linux

package pressure

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/targets"
)

// kernelGround needs control groups.
type kernelGround struct{}

var errNoGroups = fmt.Errorf("pressure needs control groups of Linux, this is %s: %w", runtime.GOOS, targets.ErrUnsupported)

func (kernelGround) room(context.Context, targets.Node, Params) (room, error) {
	return room{}, errNoGroups
}

func (kernelGround) read(context.Context, targets.Node, cgroups.Group, string) (string, error) {
	return "", errNoGroups
}

func (kernelGround) write(context.Context, targets.Node, cgroups.Group, string, string) error {
	return errNoGroups
}

func (kernelGround) burn(context.Context, targets.Node, burner, time.Duration) (flame, error) {
	return nil, errNoGroups
}

func (kernelGround) burning(context.Context, targets.Node, burner) (burned, error) {
	return burned{}, errNoGroups
}

func (kernelGround) douse(context.Context, targets.Node, burner) error { return errNoGroups }

func here(context.Context) error { return errNoGroups }
