package vdso

import (
	"fmt"
	"os"
)

// Waits counts how the process waits at this moment for an absolute time of
// CLOCK_REALTIME. The kernel compares it with the true clock: a deadline that was
// computed from a skewed one comes late or at once.
func Waits(pid int) (map[string]int, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, gone(err)
	}
	found := map[string]int{}
	for _, t := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/syscall", pid, t.Name()))
		if err != nil {
			continue // the thread ended
		}
		if what := absolute(string(text)); what != "" {
			found[what]++
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fdinfo", pid))
	if err != nil {
		return nil, gone(err)
	}
	for _, d := range fds {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, d.Name()))
		if err != nil {
			continue // it was closed
		}
		if timer(string(text)) {
			found["timerfd at a time of CLOCK_REALTIME"]++
		}
	}
	return found, nil
}
