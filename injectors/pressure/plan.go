package pressure

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/targets"
)

// A room is what a node may use, and uses.
type room struct {
	Main     targets.ProcID
	CPU      cgroups.Group // zero if not asked for
	Cores    float64       // processors that it may use
	Quota    string        // as the kernel has it
	Period   uint64        // microseconds, over which the quota is
	Burst    uint64        // microseconds; no quota may be less (kernel documentation, sched-bwc)
	Memory   cgroups.Group // zero if not asked for
	Most     string        // the file's content: the limit that would be lowered
	Total    uint64        // bytes that it may use
	Used     uint64        // of them
	Fixed    uint64        // of these it cannot give back: no file holds them
	Machine  uint64        // bytes that the machine has
	Unused   uint64        // bytes that the machine can spare (proc(5), MemAvailable)
	Throttle uint64        // how often it ran into the limits, so far
	Refused  uint64
}

// Plan finds the groups, and every reason not to press them.
func (x *presser) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if len(aim.On) == 0 {
		return nil, errors.New("it is aimed at no node")
	}
	var steps []injectors.Step[state]
	var errs []error
	for _, n := range aim.On {
		step, err := x.planOne(ctx, n)
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name(), err))
			continue
		}
		steps = append(steps, step)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return steps, nil
}

func (x *presser) planOne(ctx context.Context, n targets.Node) (injectors.Step[state], error) {
	r, err := x.ground.room(ctx, n, x.p)
	if err != nil {
		return injectors.Step[state]{}, err
	}
	if x.p.By == Burner {
		return x.planBurner(n, r)
	}
	return x.planLimit(n, r)
}

func (x *presser) planLimit(n targets.Node, r room) (injectors.Step[state], error) {
	var s state
	var does, undo []string
	add := func(c change, err error) error {
		if err != nil {
			return err
		}
		s.Limits = append(s.Limits, c)
		does = append(does, fmt.Sprintf("%s from %s to %s", c.File, c.Before, c.Now))
		undo = append(undo, fmt.Sprintf("echo '%s' > %s/%s", c.Before, c.Group.Dir, c.File))
		return nil
	}
	none := injectors.Step[state]{}
	if x.p.CPU.given() {
		if err := add(r.quota(x.p.CPU)); err != nil {
			return none, err
		}
	}
	if x.p.Memory.given() {
		if err := add(r.most(x.p.Memory)); err != nil {
			return none, err
		}
	}
	return injectors.Step[state]{Node: n, State: s, Undo: strings.Join(undo, "; "),
		Does: fmt.Sprintf("lowers in %s: %s", s.Limits[0].Group.Dir, strings.Join(does, ", "))}, nil
}

// leastQuota is the least that the kernel takes, in microseconds (kernel
// documentation, sched-bwc).
const leastQuota = 1000

// quota is the limit of processors.
func (r room) quota(take Cores) (change, error) {
	left := r.Cores - take.of(r.Cores)
	micros := uint64(math.Round(max(0, left) * float64(r.Period)))
	switch {
	case left <= 0 || micros < leastQuota:
		return change{}, fmt.Errorf("cpu %s of the %.2f processors that it may use leaves less than the kernel can give (%d µs of every %d): take less", take, r.Cores, leastQuota, r.Period)
	case r.Burst > micros:
		return change{}, fmt.Errorf("its control group has a burst of %d µs, below which the quota (%d µs would be left) cannot be: take less", r.Burst, micros)
	}
	c := change{Group: r.CPU, File: "cpu.cfs_quota_us", Before: r.Quota, Now: strconv.FormatUint(micros, 10), Count: r.Throttle}
	if r.CPU.V2 {
		c.File, c.Now = "cpu.max", fmt.Sprintf("%d %d", micros, r.Period)
	}
	return c, nil
}

const page = 4096

// margin is what a node keeps above what it cannot give back: less would have the
// kernel kill in it, not press it.
const margin = 32 << 20

// most is the limit of memory.
func (r room) most(take Bytes) (change, error) {
	taken := take.of(float64(r.Total))
	if taken >= float64(r.Total) {
		return change{}, fmt.Errorf("memory %s is all of the %s that it may use, or more: take less", take, humanize.IBytes(r.Total))
	}
	left := (r.Total - uint64(taken)) / page * page
	if floor := r.Fixed + margin; left < floor {
		return change{}, fmt.Errorf("memory %s leaves it %s, and it uses %s that it cannot give back: the kernel would kill processes of it, which is another fault (kill); leave at least %s", take, humanize.IBytes(left), humanize.IBytes(r.Fixed), humanize.IBytes(floor))
	}
	if left >= r.Used {
		return change{}, fmt.Errorf("memory %s leaves it %s of the %s that it may use, and it uses %s: it would not notice; take at least %.2f%%, or use by: burner", take, humanize.IBytes(left), humanize.IBytes(r.Total), humanize.IBytes(r.Used), 100-100*float64(r.Used)/float64(r.Total))
	}
	c := change{Group: r.Memory, File: "memory.limit_in_bytes", Before: r.Most, Now: strconv.FormatUint(left, 10), Count: r.Refused, Most: left}
	if r.Memory.V2 {
		c.File = "memory.high"
	}
	return c, nil
}

// spare is what the host keeps: a tenth of its memory, and this.
const spare = 512 << 20

func (x *presser) planBurner(n targets.Node, r room) (injectors.Step[state], error) {
	none := injectors.Step[state]{}
	b := &burner{Name: "burner-" + rand.Text(), Main: r.Main, Spare: r.Machine/10 + spare}
	var does []string
	if x.p.CPU.given() {
		b.Cores = x.p.CPU.of(r.Cores)
		if b.Cores > r.Cores {
			return none, fmt.Errorf("cpu %s is more than the %.2f processors that it may use", x.p.CPU, r.Cores)
		}
		b.Groups, does = append(b.Groups, r.CPU), append(does, fmt.Sprintf("%.2f of %.2f processors", b.Cores, r.Cores))
	}
	if x.p.Memory.given() {
		b.Memory = uint64(x.p.Memory.of(float64(r.Total))) / page * page
		if err := r.bears(b); err != nil {
			return none, err
		}
		if len(b.Groups) == 0 || b.Groups[0] != r.Memory {
			b.Groups = append(b.Groups, r.Memory)
		}
		does = append(does, fmt.Sprintf("%s of %s of memory", humanize.IBytes(b.Memory), humanize.IBytes(r.Total)))
	}
	return injectors.Step[state]{Node: n, State: state{Burner: b},
		Does: fmt.Sprintf("a process in %s uses up %s", b.Groups[0].Dir, strings.Join(does, " and ")),
		Undo: fmt.Sprintf("pkill -KILL -f '%s$'", b.Name)}, nil
}

// bears refuses what would drive the node or the host out of memory.
func (r room) bears(b *burner) error {
	if free := r.Unused - min(r.Unused, b.Spare); b.Memory > free {
		return fmt.Errorf("the host can spare %s, and keeps %s of it: %s cannot be used up; take less than %s", humanize.IBytes(r.Unused), humanize.IBytes(b.Spare), humanize.IBytes(b.Memory), humanize.IBytes(free))
	}
	free := r.Total - min(r.Total, r.Fixed+margin)
	if b.Memory > free {
		return fmt.Errorf("of the %s that it may use, the node holds %s that it cannot give back: to use up %s beside would have the kernel kill in it; take less than %s", humanize.IBytes(r.Total), humanize.IBytes(r.Fixed), humanize.IBytes(b.Memory), humanize.IBytes(free))
	}
	return nil
}
