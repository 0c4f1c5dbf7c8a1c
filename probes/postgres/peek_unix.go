//go:build unix

package postgres

import (
	"errors"
	"syscall"
)

// peek returns the first byte that waits and 1, 0 at the end of the stream, or
// -1 if nothing waits.
func peek(rc syscall.RawConn) (first byte, n int, err error) {
	var b [1]byte
	cerr := rc.Control(func(fd uintptr) {
		n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	switch {
	case cerr != nil:
		return 0, -1, cerr
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return 0, -1, nil
	}
	return b[0], n, err
}
