//go:build !linux

package process

import "syscall"

// memberAttr: without PDEATHSIG only the lifeline ends a member whose keeper
// was killed.
func memberAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
