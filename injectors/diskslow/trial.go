package diskslow

import (
	"fmt"
	"strconv"
	"time"

	"github.com/dapple-drills/dapple/internal/inside"
)

const (
	page = 4096
	// trying is how long a try takes at the limit. The kernel counts in slices of
	// 20 to 100 ms and lets through what one of them allows at once.
	trying = 400 * time.Millisecond
	// most is the most that is written to try: a limit near what the disk can do
	// anyway is tried in less time.
	most = 16 << 20
)

// trial is what is done to try a limit, and what it must take at least: what goes
// beyond one slice, at the limit.
func trial(c change) (inside.Try, time.Duration) {
	t := inside.Try{Size: page, Read: c.Limit.read()}
	if c.Limit.ops() {
		t.Times = int(min(max(2, c.Now*uint64(trying)/uint64(time.Second)), most/page))
		return t, share(uint64(t.Times), c.Now)
	}
	size := min(max(page, c.Now*uint64(trying)/uint64(time.Second)), most)
	t.Times = int(min(size/page, 8))
	t.Size = int(size) / t.Times / page * page
	return t, share(uint64(t.Times*t.Size), c.Now)
}

// share is half of what so much takes at so much per second.
func share(n, perSecond uint64) time.Duration {
	return time.Duration(float64(n) / float64(perSecond) * float64(time.Second) / 2)
}

// number reads a limit; 0 is none.
func number(text string) (uint64, error) {
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the kernel's limit %q: %w", text, err)
	}
	return n, nil
}
