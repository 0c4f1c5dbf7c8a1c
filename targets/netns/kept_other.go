//go:build !linux

package netns

import (
	"context"
	"fmt"
	"net"

	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/process"
)

// DiskPath is where a member's disk is.
const DiskPath = "/mnt"

func unsupported() error {
	return fmt.Errorf("network namespaces need Linux: %w", targets.ErrUnsupported)
}

// KeeperMain needs network namespaces.
func KeeperMain(context.Context, []string) error { return unsupported() }

// AddressOf needs network namespaces.
func AddressOf(int) (string, error) { return "", unsupported() }

// Nodes needs network namespaces.
func Nodes(context.Context, *process.Cluster) ([]targets.Node, error) { return nil, unsupported() }

// Try needs network namespaces.
func Try(context.Context) error { return unsupported() }

// KeeperOf is "": there is none.
func KeeperOf(targets.Spec) string { return "" }

// DialClients needs network namespaces.
func DialClients(context.Context, string, string, string) (net.Conn, error) {
	return nil, unsupported()
}
