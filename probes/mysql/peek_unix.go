//go:build unix

package mysql

import (
	"errors"
	"syscall"
)

// hungUp says whether the other side has ended the connection, without reading
// from it.
func hungUp(c syscall.Conn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var b [1]byte
	n := -1
	cerr := rc.Control(func(fd uintptr) {
		n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	switch {
	case cerr != nil:
		return cerr
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return nil
	case err == nil && n == 0:
		return errHungUp
	}
	return err
}
