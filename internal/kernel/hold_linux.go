package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/targets"
)

// Hold opens the process and then checks that it still is who it was: the
// descriptor first, so that what was checked is what is held, also if the number
// is used again in between.
//
// The error wraps targets.ErrGone if the process is not there any more, or if
// its number belongs to another one by now. A process that is dead and not yet
// waited for can be held; Exited then returns at once.
func Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if id.PID <= 0 {
		return nil, fmt.Errorf("holding %v: not a process: %w", id, targets.ErrGone)
	}
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("holding %v: %w", id, targets.ErrGone)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL): // Linux < 5.3, < 5.10
		return nil, fmt.Errorf("holding %v: pidfd_open: %w (needs Linux 5.10 or later): %w", id, err, targets.ErrUnsupported)
	case err != nil:
		return nil, fmt.Errorf("holding %v: pidfd_open: %w", id, err)
	}
	h := &handle{id: id, file: os.NewFile(uintptr(fd), "pidfd")}
	if err := h.check(); err != nil {
		return nil, errors.Join(err, h.file.Close())
	}
	return h, nil
}

// A handle is a pidfd whose process was checked to be id.
type handle struct {
	id    targets.ProcID
	file  *os.File
	over  atomic.Bool // Close was called
	watch sync.Once
	dead  chan struct{} // closed once the process is dead
	lost  chan struct{} // closed if it cannot be watched any more; then why says why
	why   error
}

func (h *handle) check() error {
	s, err := ReadStat(h.id.PID)
	if gone(err) {
		sent := h.Signal(0)
		dead, err := h.isDead()
		if hidden := err == nil && !dead && (sent == nil || errors.Is(sent, unix.EPERM)); hidden {
			return fmt.Errorf("holding %v: it lives, but /proc does not show it (mounted with hidepid?): %w", h.id, targets.ErrUnsupported)
		}
		return fmt.Errorf("holding %v: %w", h.id, targets.ErrGone)
	}
	if err != nil {
		return fmt.Errorf("holding %v: %w", h.id, err)
	}
	if s.Start != h.id.Start {
		return fmt.Errorf("holding %v: the number now belongs to another process (%s, started at tick %d, not %d): %w", h.id, s.Name, s.Start, h.id.Start, targets.ErrGone)
	}
	return nil
}

// Signal sends sig; 0 only asks whether it could be sent.
func (h *handle) Signal(sig syscall.Signal) error {
	var sent error
	err := h.control(func(fd int) { sent = unix.PidfdSendSignal(fd, sig, nil, 0) })
	switch {
	case err != nil:
		return fmt.Errorf("signalling %v: %w", h.id, err)
	case errors.Is(sent, unix.ESRCH):
		return fmt.Errorf("signalling %v: %w", h.id, targets.ErrGone)
	case sent != nil:
		return fmt.Errorf("signalling %v: %w", h.id, sent)
	}
	return nil
}

// Exited waits in the network poller: no thread and no loop is spent on it. A
// process that is dead already wins over a context that has ended already.
func (h *handle) Exited(ctx context.Context) error {
	dead, err := h.isDead()
	if err != nil {
		return fmt.Errorf("waiting for the end of %v: %w", h.id, err)
	}
	if dead {
		return nil
	}
	h.watch.Do(h.start)
	select {
	case <-h.dead:
		return nil
	case <-h.lost:
		return fmt.Errorf("waiting for the end of %v: %w", h.id, h.why)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isDead looks, without waiting.
func (h *handle) isDead() (dead bool, err error) {
	err = h.control(func(fd int) { dead = readable(uintptr(fd)) })
	return dead, err
}

// start makes a goroutine that lives until the process is dead or h is closed.
func (h *handle) start() {
	h.dead, h.lost = make(chan struct{}), make(chan struct{})
	go func() {
		conn, err := h.file.SyscallConn()
		if err == nil {
			err = conn.Read(readable)
		}
		if err != nil {
			h.why = h.closed(err)
			close(h.lost)
			return
		}
		close(h.dead)
	}()
}

func (h *handle) control(do func(fd int)) error {
	conn, err := h.file.SyscallConn()
	if err != nil {
		return h.closed(err)
	}
	return h.closed(conn.Control(func(fd uintptr) { do(int(fd)) }))
}

// closed names the error of a use after Close, which a raw connection of package
// os leaves without a name to test for.
func (h *handle) closed(err error) error {
	if err != nil && h.over.Load() {
		return os.ErrClosed
	}
	return err
}

func (h *handle) Close() error {
	h.over.Store(true)
	return h.file.Close()
}

// readable says whether a pidfd is: once all threads are dead (pidfd_open(2)).
func readable(fd uintptr) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 1
		}
	}
}
