//go:build !linux

package dns

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

// kernelGround is the real one; here there is none.
type kernelGround struct{}

func unsupported() error {
	return fmt.Errorf("network namespaces and nf_tables need Linux: %w", targets.ErrUnsupported)
}

// Stand needs Linux.
func (kernelGround) Stand(context.Context, targets.Node) (peers.Site, error) {
	return peers.Site{}, unsupported()
}

// Addresses needs Linux.
func (kernelGround) Addresses(context.Context, peers.Site) ([]netip.Addr, error) {
	return nil, unsupported()
}

// Files needs Linux.
func (kernelGround) Files(context.Context, targets.Node) (resolv, hosts []byte, err error) {
	return nil, nil, unsupported()
}

// Able needs Linux.
func (kernelGround) Able(context.Context) error { return unsupported() }

// Obstacles needs Linux.
func (kernelGround) Obstacles(context.Context, peers.Site) error { return unsupported() }

// Raise needs Linux.
func (kernelGround) Raise(context.Context, peers.Site, state, time.Duration) (hold, error) {
	return nil, unsupported()
}

// Look needs Linux.
func (kernelGround) Look(context.Context, peers.Site, state) (sight, error) {
	return sight{}, unsupported()
}

// Raze needs Linux.
func (kernelGround) Raze(context.Context, peers.Site, state) error { return unsupported() }

// Ask needs Linux.
func (kernelGround) Ask(context.Context, peers.Site, []*question) error { return unsupported() }
