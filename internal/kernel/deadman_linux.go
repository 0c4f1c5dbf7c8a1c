package kernel

import (
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Deadman kills this process unless it is put off in time: a timer of the kernel
// that sends SIGKILL (timer_create(2)), which also ends a process that is stopped,
// or whose threads all hang. It is for what is only released by the death of whoever
// holds it.
type Deadman struct{ id int32 }

// sigevent is struct sigevent of 64 bytes (asm-generic/siginfo.h), as far as it is
// used.
type sigevent struct {
	value  uint64
	signal int32
	notify int32 // 0 is SIGEV_SIGNAL
	_      [48]byte
}

// NewDeadman makes one that is not set.
func NewDeadman() (*Deadman, error) {
	d, e := &Deadman{}, sigevent{signal: int32(unix.SIGKILL)}
	_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&e)), uintptr(unsafe.Pointer(&d.id)))
	runtime.KeepAlive(&e)
	if errno != 0 {
		return nil, os.NewSyscallError("timer_create", errno)
	}
	return d, nil
}

// Set has the process killed after that time, unless Set or Close is called before.
func (d *Deadman) Set(after time.Duration) error {
	if after <= 0 {
		return fmt.Errorf("a deadline of %v would kill at once or never", after)
	}
	// struct itimerspec: interval (none), value
	at := [2]unix.Timespec{1: unix.NsecToTimespec(int64(after))}
	_, _, errno := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(d.id), 0, uintptr(unsafe.Pointer(&at)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("timer_settime", errno)
	}
	return nil
}

// Close ends it: nothing is killed any more. It is not to be called twice.
func (d *Deadman) Close() error {
	_, _, errno := unix.Syscall(unix.SYS_TIMER_DELETE, uintptr(d.id), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("timer_delete", errno)
	}
	return nil
}
