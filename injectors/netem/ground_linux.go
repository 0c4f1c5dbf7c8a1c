package netem

import (
	"context"
	"net/netip"

	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

// kernelGround is the real one.
type kernelGround struct{}

// engines are those of this system.
func engines() map[EngineName]engine {
	return map[EngineName]engine{userEngine: queueEngine{}, kernelEngine: schEngine{}, bucketEngine: schEngine{bucket: true}}
}

// Stand finds the namespace by its number.
func (kernelGround) Stand(ctx context.Context, n targets.Node) (peers.Site, error) {
	return peers.Stand(ctx, n)
}

// Addresses asks the kernel from inside.
func (kernelGround) Addresses(_ context.Context, at peers.Site) ([]netip.Addr, error) {
	return peers.OnLinks(at)
}

// Devices asks the kernel from inside.
func (kernelGround) Devices(_ context.Context, at peers.Site) (names []string, err error) {
	list, err := peers.Devices(at)
	for _, d := range list {
		names = append(names, d.Name)
	}
	return names, err
}
