//go:build !linux

package kernel

import (
	"context"
	"net"
)

// DialNetNS needs setns(2).
func DialNetNS(context.Context, string, string, string) (net.Conn, error) {
	return nil, unsupported("dialling inside a network namespace")
}
