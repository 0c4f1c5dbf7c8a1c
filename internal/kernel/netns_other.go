//go:build !linux

package kernel

import (
	"context"
	"net"
	"os"
)

// DialNetNS needs setns(2).
func DialNetNS(context.Context, string, string, string) (net.Conn, error) {
	return nil, unsupported("dialling inside a network namespace")
}

// DialFrom needs setns(2).
func DialFrom(context.Context, Sockets, string, string, string) (net.Conn, error) {
	return nil, unsupported("dialling inside a network namespace")
}

// NetNSSocket needs setns(2).
func NetNSSocket(context.Context, string, bool) (int, error) {
	return -1, unsupported("making a socket inside a network namespace")
}

// InNetNS needs setns(2).
func InNetNS(string, func() error) error { return unsupported("entering a network namespace") }

// NewNetNS needs unshare(2).
func NewNetNS() (*os.File, error) { return nil, unsupported("making a network namespace") }

// NetNSID needs namespaces(7).
func NetNSID(string) (uint64, error) { return 0, unsupported("telling network namespaces apart") }

// NetNSOf needs namespaces(7).
func NetNSOf(string) (NetNS, error) { return NetNS{}, unsupported("telling network namespaces apart") }

// Thread has nothing to change here.
func Thread(do func()) { do() }
