//go:build !unix

package postgres

import "syscall"

// peek sees nothing here: then the fate of a statement that was sent to a
// server which had hung up is unknown, not failed.
func peek(syscall.RawConn) (first byte, n int, err error) { return 0, -1, nil }
