//go:build !linux

package agent

import (
	"context"
	"fmt"

	"github.com/dapple-drills/dapple/targets"
)

// A counter needs network namespaces.
type counter struct{ name string }

type order struct {
	Path string
	V6   bool
}

func openCounter() (*counter, error) { return nil, errNoSockets() }

func (*counter) meet(targets.ProcID) error { return errNoSockets() }

func (*counter) close() {}

func (*counter) order(context.Context, order) (int, error) { return -1, errNoSockets() }

func serveSockets(context.Context, string, targets.ProcID) error { return errNoSockets() }

func errNoSockets() error {
	return fmt.Errorf("sockets from inside a node need Linux: %w", targets.ErrUnsupported)
}
