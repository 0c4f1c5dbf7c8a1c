//go:build !unix

package host

import "syscall"

func ownSession() *syscall.SysProcAttr { return nil }
