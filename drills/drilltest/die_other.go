//go:build !linux

package drilltest

import "syscall"

// dieWith is nothing here: when the test is killed, the drill goes on to its end,
// and takes its faults back then.
func dieWith() *syscall.SysProcAttr { return nil }
