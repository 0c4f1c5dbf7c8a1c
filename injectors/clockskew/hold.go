package clockskew

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/internal/vdso"
	"github.com/dapple-drills/dapple/targets"
)

// A hold is the fault on one node, as this process holds it. What stops processes is
// done by whoever has locked it; renewing waits for nobody.
type hold struct {
	ground ground
	n      targets.Node
	work   chan struct{} // holds a token while somebody has locked it

	mu       sync.Mutex
	s        state
	begun    bool // start was called
	live     bool // the processes are skewed, from t0 on
	over     bool
	t0       int64
	tai      time.Duration
	lease    time.Duration
	deadline int64 // of the last renewal
	clocks   map[targets.ProcID]clock
}

func (h *hold) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case h.work <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hold) unlock() { <-h.work }

// start says what is to be held.
func (h *hold) start(s state) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return errors.New("it was taken back already")
	}
	now, tai, err := h.ground.Now()
	if err != nil {
		return err
	}
	if !h.begun {
		h.begun, h.s, h.t0, h.tai = true, s, now, tai
	}
	return nil
}

// gather arms the processes of the node, until a look finds none that had to be, or
// programs come faster than that: then the last ones are Watch's.
func (h *hold) gather(ctx context.Context) error {
	ps, err := procs.Of(h.n)
	if err != nil {
		return err
	}
	for begin := time.Now(); ; {
		all, err := ps.Processes(ctx)
		if err != nil {
			return err
		}
		armed := 0
		for _, p := range all {
			did, err := h.bring(ctx, p.ProcID)
			if err != nil {
				return fmt.Errorf("%v (%s): %w", p.ProcID, p.Name, err)
			}
			if did {
				armed++
			}
		}
		if armed == 0 || time.Since(begin) > settle {
			return nil
		}
	}
}

// bring makes sure that a process is armed, and skewed if the others are. It says
// whether the process had to be armed.
func (h *hold) bring(ctx context.Context, id targets.ProcID) (did bool, err error) {
	if c := h.get(id); c != nil {
		armed, err := c.Jumps(ctx)
		if armed || err != nil && !errors.Is(err, targets.ErrGone) {
			return false, err
		}
		// It runs another program now, in a new memory.
		if err := h.drop(id); err != nil {
			return false, err
		}
	}
	c, err := h.ground.Open(ctx, h.n, id)
	if err != nil {
		return false, orGone(err)
	}
	if did, err = h.prepare(ctx, c); err != nil {
		return false, errors.Join(orGone(err), c.Close())
	}
	return did, h.put(ctx, id, c)
}

// prepare arms a process, unless it was forked from one that this fault has armed.
func (h *hold) prepare(ctx context.Context, c clock) (did bool, err error) {
	now, err := c.Look(ctx)
	if err != nil {
		return false, err
	}
	if h.isOurs(now) {
		return false, nil
	}
	return true, insist(ctx, func() error { return c.Arm(ctx, h.skew()) })
}

func (h *hold) skew() vdso.Skew {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.s.skew(h.t0, h.tai)
}

func (h *hold) isOurs(now vdso.Sight) bool { return now.State == vdso.Armed && now.Skew == h.skew() }

// begin has all that are armed be skewed from now on.
func (h *hold) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live || h.over {
		return nil
	}
	now, _, err := h.ground.Now()
	if err != nil {
		return err
	}
	h.t0, h.live = now, true
	lease := h.lend(now)
	var errs []error
	for _, c := range h.clocks {
		errs = append(errs, orGone(c.Begin(ctx, h.t0, lease)))
	}
	return errors.Join(errs...)
}

// lend is a lease from now on. The caller holds mu.
func (h *hold) lend(now int64) vdso.Lease {
	l := vdso.LeaseOf(now, h.lease)
	h.deadline = l.Deadline
	return l
}

// renew has all be skewed for one lease more. A process that was forked since has
// the lease of its parent, and is renewed from now on.
func (h *hold) renew(ctx context.Context, lease time.Duration) error {
	if err := h.extend(ctx, lease); err != nil || !h.isLive() {
		return err
	}
	ps, err := procs.Of(h.n)
	if err != nil {
		return err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return orGone(err)
	}
	var errs []error
	for _, p := range all {
		if h.get(p.ProcID) == nil {
			errs = append(errs, h.adopt(ctx, p.ProcID))
		}
	}
	return errors.Join(errs...)
}

func (h *hold) isLive() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live && !h.over
}

// extend renews those that are known.
func (h *hold) extend(ctx context.Context, lease time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lease = lease
	if !h.live || h.over {
		return nil
	}
	now, _, err := h.ground.Now()
	if err != nil {
		return err
	}
	if late := time.Duration(now - h.deadline); late > 0 {
		err = fmt.Errorf("the lease ran out %v before it was renewed", late.Round(time.Millisecond))
	}
	l := h.lend(now)
	for id, c := range h.clocks {
		if e := c.Renew(ctx, l); errors.Is(e, targets.ErrGone) {
			delete(h.clocks, id)
			err = errors.Join(err, c.Close())
		} else if e != nil {
			err = errors.Join(err, fmt.Errorf("%v: %w", id, e))
		}
	}
	return err
}

// adopt renews a process that was forked from one that is skewed. One that is not
// armed is left to whoever watches.
func (h *hold) adopt(ctx context.Context, id targets.ProcID) error {
	c, err := h.ground.Open(ctx, h.n, id)
	if err != nil {
		return orGone(ignoreNone(err))
	}
	now, err := c.Look(ctx)
	if err != nil || !h.isOurs(now) {
		return errors.Join(orGone(err), c.Close())
	}
	return h.put(ctx, id, c)
}

// ignoreNone: what cannot be skewed is seen by Effect.
func ignoreNone(err error) error {
	if errors.Is(err, vdso.ErrNone) {
		return nil
	}
	return err
}

func (h *hold) get(id targets.ProcID) clock {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clocks[id]
}

// put keeps a clock that is armed, and has it run as the others do.
func (h *hold) put(ctx context.Context, id targets.ProcID, c clock) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || h.clocks[id] != nil {
		return c.Close() // if over, Revert finds it
	}
	h.clocks[id] = c
	if !h.live {
		return nil
	}
	now, _, err := h.ground.Now()
	if err != nil {
		return err
	}
	// Not longer than the others: only renewing makes the lease longer.
	return orGone(c.Begin(ctx, h.t0, vdso.Lease{Deadline: h.deadline, Window: vdso.LeaseOf(now, h.lease).Window}))
}

func (h *hold) drop(id targets.ProcID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clocks[id]
	delete(h.clocks, id)
	if c == nil {
		return nil
	}
	return c.Close()
}

// known are the pids that are skewed.
func (h *hold) known() map[int]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	pids := map[int]bool{}
	for id := range h.clocks {
		pids[id.PID] = true
	}
	return pids
}

// end has nothing be renewed or skewed any more.
func (h *hold) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
}

// letGo closes everything.
func (h *hold) letGo() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for c := range maps.Values(h.clocks) {
		errs = append(errs, c.Close())
	}
	clear(h.clocks)
	return errors.Join(errs...)
}
