//go:build !linux

package peers

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/dapple-drills/dapple/targets"
)

func unsupported() error {
	return fmt.Errorf("network namespaces need Linux: %w", targets.ErrUnsupported)
}

// Stand needs Linux.
func Stand(context.Context, targets.Node) (Site, error) { return Site{}, unsupported() }

// OnLinks needs Linux.
func OnLinks(Site) ([]netip.Addr, error) { return nil, unsupported() }

// Devices needs Linux.
func Devices(Site) ([]net.Interface, error) { return nil, unsupported() }
