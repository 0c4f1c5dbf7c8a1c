//go:build !unix

package mysql

import "syscall"

// hungUp sees nothing here: then the fate of a write that was sent to a server
// which had hung up is unknown, not failed.
func hungUp(syscall.Conn) error { return nil }
