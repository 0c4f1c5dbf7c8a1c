//go:build !linux

package netns

import (
	"context"
	"fmt"

	"github.com/dapple-drills/dapple/targets"
)

// Exec needs network namespaces.
func (n *Node) Exec(context.Context, ...string) ([]byte, error) {
	return nil, fmt.Errorf("node %s: network namespaces need Linux: %w", n.name, targets.ErrUnsupported)
}
