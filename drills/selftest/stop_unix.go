//go:build unix

package selftest

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// canStop says that a process can be held up.
const canStop = true

// ownGroup: a stopped process whose group is orphaned is continued by the kernel
// (setpgid(2)), so that it does not stay behind if we die while it is stopped.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// hold stops a process for d.
func hold(ctx context.Context, p *os.Process, d time.Duration) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	sleep(ctx, d)
	if err := p.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
