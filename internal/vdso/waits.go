package vdso

import (
	"fmt"
	"strconv"
	"strings"
)

// statusField reads a number of /proc/PID/status or /proc/PID/fdinfo/FD.
func statusField(text, name string) (int, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strconv.Atoi(strings.TrimSpace(rest))
		}
	}
	return 0, fmt.Errorf("no %s in it", name)
}

// System calls of x86-64, and their operations and flags, by which a thread waits for
// an absolute time of CLOCK_REALTIME (futex(2), clock_nanosleep(2), mq_receive(3)).
const (
	sysFutex          = 202
	sysClockNanosleep = 230
	sysMqTimedsend    = 242
	sysMqTimedreceive = 243

	futexOp       = 127 // without flags
	futexLockPI   = 6   // its time is always absolute, and of this clock
	futexRealtime = 256
	futexWait     = 0 // its time is relative
	timerAbstime  = 1
)

// absolute says whether a thread's /proc/PID/task/TID/syscall shows such a wait, and
// which system call it is.
func absolute(syscall string) string {
	f := strings.Fields(syscall)
	if len(f) < 7 {
		return "" // it runs, or does not wait in a system call
	}
	arg := func(i int) uint64 {
		v, err := strconv.ParseUint(strings.TrimPrefix(f[1+i], "0x"), 16, 64)
		if err != nil {
			return 0
		}
		return v
	}
	switch f[0] {
	case strconv.Itoa(sysFutex):
		op := arg(1) & futexOp
		if arg(3) != 0 && op != futexWait && (arg(1)&futexRealtime != 0 || op == futexLockPI) {
			return "futex with FUTEX_CLOCK_REALTIME"
		}
	case strconv.Itoa(sysClockNanosleep):
		if arg(0) == 0 && arg(1)&timerAbstime != 0 {
			return "clock_nanosleep until a time of CLOCK_REALTIME"
		}
	case strconv.Itoa(sysMqTimedsend), strconv.Itoa(sysMqTimedreceive):
		if arg(4) != 0 {
			return "a message queue until a time of CLOCK_REALTIME"
		}
	}
	return ""
}

// timer says whether /proc/PID/fdinfo/FD shows a timerfd that is set to an absolute
// time of CLOCK_REALTIME.
func timer(fdinfo string) bool {
	if !strings.Contains(fdinfo, "clockid:") {
		return false
	}
	clock, err := statusField(fdinfo, "clockid:")
	if err != nil || clock != 0 {
		return false
	}
	flags, err := statusField(fdinfo, "settime flags:")
	return err == nil && flags&timerAbstime != 0 && !strings.Contains(fdinfo, "it_value: (0, 0)")
}
