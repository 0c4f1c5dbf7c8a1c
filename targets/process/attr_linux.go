package process

import "syscall"

// memberAttr: a session of its own, so that its descendants can be told, and
// death with the thread that starts it.
func memberAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}
