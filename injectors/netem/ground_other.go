//go:build !linux

package netem

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

// kernelGround is the real one; here there is none.
type kernelGround struct{}

// engines are those of this system: none.
func engines() map[EngineName]engine { return nil }

func unsupported() error {
	return fmt.Errorf("network namespaces and packet queues need Linux: %w", targets.ErrUnsupported)
}

// Stand needs Linux.
func (kernelGround) Stand(context.Context, targets.Node) (peers.Site, error) {
	return peers.Site{}, unsupported()
}

// Addresses needs Linux.
func (kernelGround) Addresses(context.Context, peers.Site) ([]netip.Addr, error) {
	return nil, unsupported()
}

// Devices needs Linux.
func (kernelGround) Devices(context.Context, peers.Site) ([]string, error) {
	return nil, unsupported()
}

// Travel needs Linux.
func (kernelGround) Travel(context.Context, peers.Site, state, []*trip) error { return unsupported() }
