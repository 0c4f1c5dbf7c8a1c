//go:build !linux

package sock

import (
	"fmt"
	"net/netip"

	"github.com/dapple-drills/dapple/targets"
)

// Destroy needs Linux.
func Destroy(string, func(local, remote netip.AddrPort) bool) (int, error) {
	return 0, fmt.Errorf("ending TCP connections needs Linux: %w", targets.ErrUnsupported)
}
