package traces

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// clock reads REALTIME between two readings of BOOTTIME, a few times, and takes the
// closest.
func clock() (c Clock, err error) {
	c.Slack = time.Hour
	for range 5 {
		var a, r, b unix.Timespec
		for _, x := range []struct {
			id int32
			at *unix.Timespec
		}{{unix.CLOCK_BOOTTIME, &a}, {unix.CLOCK_REALTIME, &r}, {unix.CLOCK_BOOTTIME, &b}} {
			if err := unix.ClockGettime(x.id, x.at); err != nil {
				return c, fmt.Errorf("reading the clock: %w", err)
			}
		}
		if slack := time.Duration(b.Nano() - a.Nano()); slack < c.Slack {
			c.Slack, c.Offset = slack, time.Duration(r.Nano()-a.Nano())
		}
	}
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		return c, fmt.Errorf("asking how the clock is kept: %w", err)
	}
	c.Synced = tx.Status&unix.STA_UNSYNC == 0
	return c, nil
}
