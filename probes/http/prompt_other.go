//go:build !linux

package http

import "net"

// prompt is Linux's.
func prompt(net.Conn) {}
