//go:build !unix

package ssh

import "syscall"

func ownSession() *syscall.SysProcAttr { return nil }
