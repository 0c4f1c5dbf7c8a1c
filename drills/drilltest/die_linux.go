package drilltest

import "syscall"

// dieWith has a drill interrupted when the test is killed, or ended by its
// -timeout: it then takes its faults back.
func dieWith() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
