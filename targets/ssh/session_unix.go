//go:build unix

package ssh

import "syscall"

// ownSession keeps the Ctrl-C of our terminal from a service that we start.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
