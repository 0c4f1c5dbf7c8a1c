package inside

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/kernel"
)

// Start starts a burner of that name in the groups. It ends with its lease, if
// that is more than 0 and not renewed.
func Start(ctx context.Context, name string, groups []cgroups.Group, b Burn, lease time.Duration) (*Child, error) {
	c, err := start(ctx, name, groups)
	if err != nil {
		return nil, err
	}
	err = c.tell(order{Burn: &b, Lease: lease})
	if err == nil {
		_, err = c.hear(ctx) // that it has begun
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a burner: %w", err), c.End())
	}
	return c, nil
}

// Renew has the burner live for lease from now on.
func (c *Child) Renew(lease time.Duration) error {
	select {
	case <-c.done:
		return fmt.Errorf("burner %v has ended", c.ID)
	default:
	}
	if err := c.tell(order{Lease: lease}); err != nil {
		return fmt.Errorf("renewing burner %v: %w", c.ID, err)
	}
	return nil
}

// burn uses up what it is told until orders end, the lease ends, or the process
// ends that it is for.
func burn(ctx context.Context, b Burn, lease time.Duration, orders *json.Decoder, out *json.Encoder) error {
	// The kernel is to kill us first.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return fmt.Errorf("offering to be killed first: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		if h, err := kernel.Hold(ctx, b.Main); err == nil {
			_ = h.Exited(ctx) // whatever it returns, we are not needed
		}
	}()
	end := time.AfterFunc(forever(lease), cancel)
	defer end.Stop()
	go func() {
		defer cancel()
		for {
			var o order
			if orders.Decode(&o) != nil {
				return // whoever started us is dead
			}
			end.Reset(forever(o.Lease))
		}
	}()
	for range int(math.Ceil(b.Cores)) {
		go spin(ctx, b.Cores/math.Ceil(b.Cores))
	}
	if err := out.Encode(answer{}); err != nil {
		return err
	}
	return hold(ctx, b)
}

// forever is a lease of which nothing was said.
func forever(lease time.Duration) time.Duration {
	if lease <= 0 {
		return math.MaxInt64
	}
	return lease
}

// spin uses a processor for a share of the time.
func spin(ctx context.Context, share float64) {
	const period = 20 * time.Millisecond
	for ctx.Err() == nil {
		for begin := time.Now(); time.Since(begin) < time.Duration(share*float64(period)); {
		}
		if rest := time.Duration((1 - share) * float64(period)); rest > 0 {
			pause(ctx, rest)
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// chunk is how much memory is taken at once, between which it is asked whether the
// machine can spare it.
const chunk = 16 << 20

// hold takes memory, and uses it again and again so that it stays in memory.
func hold(ctx context.Context, b Burn) error {
	var taken [][]byte
	left := b.Memory
	for ctx.Err() == nil {
		if left == 0 {
			pause(ctx, time.Second)
			for _, m := range taken {
				touch(m)
			}
			continue
		}
		free, err := available()
		if err != nil {
			return err
		}
		n := min(left, chunk)
		if free < b.Spare+n {
			pause(ctx, 100*time.Millisecond) // how much is held is seen from outside
			continue
		}
		m, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("taking memory: %w", err)
		}
		touch(m)
		taken, left = append(taken, m), left-n
	}
	return nil
}

// touch writes to each page.
func touch(m []byte) {
	for i := 0; i+8 <= len(m); i += page {
		*(*uint64)(unsafe.Pointer(&m[i])) += uint64(i)*0x9e3779b97f4a7c15 + 1
	}
}

// available is what the machine can spare (proc(5), MemAvailable).
func available() (uint64, error) { return Meminfo("MemAvailable") }

// Meminfo is a number of /proc/meminfo, in bytes.
func Meminfo(key string) (uint64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("asking for memory: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if name != key {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("asking for memory: %s: %w", key, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("asking for memory: /proc/meminfo has no %s", key)
}
