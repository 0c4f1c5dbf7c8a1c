package pressure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/inside"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// kernelGround is control groups, and children in them.
type kernelGround struct{}

const (
	pressing = "pressing it"
	instead  = "press a node that has one"
)

func (kernelGround) read(ctx context.Context, _ targets.Node, g cgroups.Group, file string) (string, error) {
	return g.Read(ctx, file)
}

func (kernelGround) write(ctx context.Context, _ targets.Node, g cgroups.Group, file, text string) error {
	err := g.Write(ctx, file, text)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("the node uses more memory than that by now, and cannot give it back: %w", err)
	}
	return err
}

func (k kernelGround) room(ctx context.Context, n targets.Node, p Params) (r room, err error) {
	ps, err := procs.Of(n)
	if err != nil {
		return r, err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return r, err
	}
	if len(all) == 0 || !all[0].Main {
		return r, fmt.Errorf("it does not run: start it first: %w", targets.ErrGone)
	}
	r.Main = all[0].ProcID
	if p.CPU.given() {
		if err := r.askCPU(ctx, n, p.By); err != nil {
			return r, err
		}
	}
	if p.Memory.given() {
		if err := r.askMemory(ctx, n, p.By); err != nil {
			return r, err
		}
	}
	return r, nil
}

// written is the file that has to be written to press the node.
func written(by By, limit string) string {
	if by == Burner {
		return "cgroup.procs"
	}
	return limit
}

func (r *room) askCPU(ctx context.Context, n targets.Node, by By) (err error) {
	r.CPU, err = cgroups.Find(ctx, n, cgroups.Want{V1: "cpu", V2: "cpu.max", Does: pressing, Mend: instead})
	if err != nil {
		return err
	}
	limit, burst := "cpu.cfs_quota_us", "cpu.cfs_burst_us"
	if r.CPU.V2 {
		limit, burst = "cpu.max", "cpu.max.burst"
	}
	if err := r.CPU.Writable(written(by, limit), pressing, instead); err != nil {
		return err
	}
	if r.Quota, err = r.CPU.Read(ctx, limit); err != nil {
		return err
	}
	quota, period := r.Quota, ""
	if r.CPU.V2 {
		quota, period, _ = strings.Cut(r.Quota, " ")
	} else if period, err = r.CPU.Read(ctx, "cpu.cfs_period_us"); err != nil {
		return err
	}
	if text, err := r.CPU.Read(ctx, burst); err == nil { // Linux 5.14
		if r.Burst, err = strconv.ParseUint(text, 10, 64); err != nil {
			return fmt.Errorf("reading %s: %w", burst, err)
		}
	}
	if r.Period, err = strconv.ParseUint(period, 10, 64); err != nil {
		return fmt.Errorf("reading the period of its quota: %w", err)
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(r.Main.PID, &set); err != nil {
		return fmt.Errorf("asking on which processors it may run: %w", err)
	}
	r.Cores = float64(set.Count())
	if micros, err := strconv.ParseUint(quota, 10, 64); err == nil { // else "max", or "-1": none
		r.Cores = min(r.Cores, float64(micros)/float64(r.Period))
	}
	return r.counted(ctx, r.CPU, counter{"cpu.stat", "nr_throttled"}, &r.Throttle)
}

func (r *room) counted(ctx context.Context, g cgroups.Group, c counter, into *uint64) error {
	text, err := g.Read(ctx, c.file)
	if err == nil {
		*into, err = c.in(text)
	}
	return err
}

func (r *room) askMemory(ctx context.Context, n targets.Node, by By) (err error) {
	r.Memory, err = cgroups.Find(ctx, n, cgroups.Want{V1: "memory", V2: "memory.high", Does: pressing, Mend: instead})
	if err != nil {
		return err
	}
	limit := "memory.limit_in_bytes"
	if r.Memory.V2 {
		limit = "memory.high"
	}
	if err := r.Memory.Writable(written(by, limit), pressing, instead); err != nil {
		return err
	}
	if r.Most, err = r.Memory.Read(ctx, limit); err != nil {
		return err
	}
	if r.Machine, err = inside.Meminfo("MemTotal"); err != nil {
		return err
	}
	if r.Unused, err = inside.Meminfo("MemAvailable"); err != nil {
		return err
	}
	if err := r.counted(ctx, r.Memory, usageFile(r.Memory), &r.Used); err != nil {
		return err
	}
	if err := r.counted(ctx, r.Memory, change{Group: r.Memory, Most: 1}.counter(), &r.Refused); err != nil {
		return err
	}
	return r.askLimits(ctx)
}

// askLimits finds what the group may use in all, and what of its memory no file
// holds: only that of files can be given back (no swap is counted on).
func (r *room) askLimits(ctx context.Context) error {
	r.Total = r.Machine
	least := func(text string) {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil { // else "max"
			r.Total = min(r.Total, n)
		}
	}
	stat, err := r.Memory.Read(ctx, "memory.stat")
	if err != nil {
		return err
	}
	fixed := []string{"total_rss", "total_shmem", "total_unevictable"}
	least(r.Most)
	if r.Memory.V2 {
		fixed = []string{"anon", "shmem", "unevictable", "kernel"}
		most, err := r.Memory.Read(ctx, "memory.max")
		if err != nil {
			return err
		}
		least(most)
	} else if n, err := (counter{"memory.stat", "hierarchical_memory_limit"}).in(stat); err == nil {
		least(strconv.FormatUint(n, 10))
	}
	for _, key := range fixed {
		if n, err := (counter{"memory.stat", key}).in(stat); err == nil { // not every kernel counts each
			r.Fixed += n
		}
	}
	return nil
}

// A child of this process is a flame.
type child struct{ *inside.Child }

func (c child) renew(lease time.Duration) error { return c.Renew(lease) }
func (c child) end() error                      { return c.End() }

func (kernelGround) burn(ctx context.Context, _ targets.Node, b burner, lease time.Duration) (flame, error) {
	c, err := inside.Start(ctx, b.Name, b.Groups, inside.Burn{Cores: b.Cores, Memory: b.Memory, Spare: b.Spare, Main: b.Main}, lease)
	if err != nil {
		return nil, err
	}
	return child{c}, nil
}

// looking is for how long a burner is looked at.
const looking = 100 * time.Millisecond

func (kernelGround) burning(ctx context.Context, _ targets.Node, b burner) (seen burned, err error) {
	for _, g := range b.Groups {
		if err := g.Same(ctx); err != nil {
			return seen, err
		}
		if seen.ID, seen.There, err = inside.Named(g, b.Name); err != nil || !seen.There {
			return seen, err
		}
	}
	begin := time.Now()
	ran, waited, err := spent(seen.ID)
	if err == nil && b.Cores > 0 {
		if err := wait(ctx, looking); err != nil {
			return seen, err
		}
		seen.Ran, seen.Waited, err = spent(seen.ID)
		seen.Ran, seen.Waited, seen.Over = seen.Ran-ran, seen.Waited-waited, time.Since(begin)
	}
	if err == nil {
		seen.Memory, err = own(seen.ID)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return burned{}, nil // it ended meanwhile
	}
	return seen, err
}

// spent is what the threads of a process ran and waited for a processor so far
// (proc(5), schedstat).
func spent(id targets.ProcID) (ran, waited time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", id.PID))
	if err != nil {
		return 0, 0, err
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that ended
		}
		var r, w int64
		if _, err := fmt.Sscan(string(data), &r, &w); err != nil {
			return 0, 0, fmt.Errorf("reading %s: %w", name, err)
		}
		ran, waited = ran+time.Duration(r), waited+time.Duration(w)
	}
	return ran, waited, nil
}

// own is the memory of a process that is its own (proc(5), RssAnon).
func own(id targets.ProcID) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id.PID))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, is := strings.CutPrefix(line, "RssAnon:"); is {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, nil // it is dead
}

func (kernelGround) douse(ctx context.Context, _ targets.Node, b burner) error {
	var errs []error
	for _, g := range b.Groups {
		if err := g.Same(ctx); err != nil {
			errs = append(errs, orGone(err))
			continue
		}
		id, there, err := inside.Named(g, b.Name)
		if there {
			err = end(ctx, id)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func end(ctx context.Context, id targets.ProcID) error {
	h, err := kernel.Hold(ctx, id)
	if err != nil {
		return orGone(err)
	}
	err = orGone(h.Signal(syscall.SIGKILL))
	if err == nil {
		err = h.Exited(ctx)
	}
	return errors.Join(err, h.Close())
}

// wait waits for d, or returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
