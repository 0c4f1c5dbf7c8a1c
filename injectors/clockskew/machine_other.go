//go:build !linux

package clockskew

import (
	"context"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// machineWall needs Linux.
type machineWall struct{}

var errNoWall = fmt.Errorf("the clock of a machine can be set on Linux alone: %w", targets.ErrUnsupported)

func (machineWall) Able(context.Context, targets.Node) error { return errNoWall }

func (machineWall) Offset(context.Context, targets.Node) (offset, slack time.Duration, err error) {
	return 0, 0, errNoWall
}

func (machineWall) Step(context.Context, targets.Node, time.Duration) error { return errNoWall }

// systemdKeepers need Linux.
type systemdKeepers struct{}

func (systemdKeepers) Keeping(context.Context, targets.Node) ([]string, error) { return nil, errNoWall }

func (systemdKeepers) Stop(context.Context, targets.Node, string) error { return errNoWall }

func (systemdKeepers) Start(context.Context, targets.Node, string) error { return errNoWall }
