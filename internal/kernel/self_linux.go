package kernel

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/targets"
)

// BootID is random per boot (random(4)): with another one, no pid, no mount and
// no namespace is the one that was meant.
func BootID() (string, error) {
	data, err := read("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(data), nil
}

// Monotonic reads CLOCK_MONOTONIC, the clock that time.Now carries unseen, so
// that two processes of one machine can compare instants.
func Monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("reading the monotonic clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// tick is the unit of start times in /proc (USER_HZ, 100 on every Linux that Go
// runs on; proc(5), sysconf(_SC_CLK_TCK)).
const tick = 10 * time.Millisecond

// Began is the interval on our clock within which the process was started: the
// kernel keeps that to one tick.
func Began(id targets.ProcID) (lo, hi time.Time, err error) {
	var up unix.Timespec
	before := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return lo, hi, fmt.Errorf("reading the time since boot: %w", err)
	}
	after := time.Now()
	age := time.Duration(up.Nano()) - time.Duration(id.Start)*tick
	return before.Add(-age), after.Add(tick - age), nil
}

// Missing returns those of caps that this process does not have in effect.
func Missing(caps ...Cap) ([]Cap, error) {
	data, err := read("/proc/self/status")
	if err != nil {
		return nil, fmt.Errorf("reading own capabilities: %w", err)
	}
	have, err := parseCapEff(data)
	if err != nil {
		return nil, fmt.Errorf("reading own capabilities: %w", err)
	}
	var missing []Cap
	for _, c := range caps {
		if have&(1<<c) == 0 {
			missing = append(missing, c)
		}
	}
	return missing, nil
}

func parseCapEff(status string) (uint64, error) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	return 0, fmt.Errorf("no CapEff in /proc/self/status")
}

// RSS is the resident memory of this process in bytes (proc(5), statm).
func RSS() (int64, error) {
	data, err := read("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("reading own memory: %w", err)
	}
	fields := strings.Fields(data)
	if len(fields) < 2 {
		return 0, fmt.Errorf("reading own memory: %q has no second field", data)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
