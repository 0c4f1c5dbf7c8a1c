// Package clockskew is the fault "clockskew": the processes of a node believe that
// it is earlier or later than it is, that time goes faster or slower, or that it
// jumps to and fro; or the clock of their whole machine is set wrong.
//
// Of processes, the answers of clock_gettime, gettimeofday and time are changed in
// each running process, without a restart, by package internal/vdso; of those that
// are forked the answers are changed from the start, and of programs that are
// executed as soon as the kernel has told of them. The effect is read back: a
// witness runs the very code that each process runs, and what it answers is compared
// with the kernel's own clock.
//
// Held by: layer 2 (a deadline in the code itself, which answers the truth when it
// is over), layers 3 and 4 as every fault. The clock of a machine rests on 3 and 4
// alone.
//
// Of a machine, the clock is set by one step and read back against CLOCK_BOOTTIME,
// which nobody sets; whoever keeps the clock right is stopped meanwhile.
//
// The package does not change CLOCK_MONOTONIC, system calls that a program makes by
// itself, or the kernel's timers.
package clockskew

import (
	"context"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/internal/vdso"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "clockskew"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "the clock of a node's processes, or of its machine, is wrong: ahead, behind, too fast, too slow, or jumping",
		Layers:  "2 deadline in the payload (not of: host), 3 guard, 4 journal",
		Params:  &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			var p Params
			if err := decode(&p); err != nil {
				return nil, err
			}
			if err := p.check(); err != nil {
				return nil, err
			}
			return injectors.Of(kind, newEither(p)), nil
		},
		Excludes: func(other string) string {
			if other == kind {
				return "a process has one clock, which can be wrong in one way"
			}
			return ""
		},
		Reopen: func() injectors.Injector { return injectors.Of(kind, newEither(Params{})) },
		Here:   here,
	}
}

// state is what the other verbs need.
type state struct {
	Offset time.Duration `json:"offset_ns,omitempty"`
	PPM    float64       `json:"drift_ppm,omitempty"`
	Period time.Duration `json:"strobe_ns,omitempty"`
	// Procs are those that there were when it was planned. All that the node has
	// are skewed; these are looked for also if the node has lost them.
	Procs []procs.Ref `json:"procs"`
	// Machine is not nil if it is the clock of the node's machine that is wrong.
	Machine *machineState `json:"machine,omitempty"`
}

// skew is the fault as the code of a process has it, as if it began at t0.
func (s state) skew(t0 int64, tai time.Duration) vdso.Skew {
	return vdso.Skew{Offset: s.Offset, Rate: rate(s.PPM), T0: t0, Period: s.Period, TAI: tai}
}

// same says whether a process has this skew, whenever it began.
func (s state) same(is vdso.Skew) bool { return is == s.skew(is.T0, is.TAI) }

// A ground is where the clocks of processes are: this machine's kernel, or a fake.
type ground interface {
	// Able refuses where no process can be skewed at all. It changes nothing.
	Able(ctx context.Context, n targets.Node) error
	// Open reaches the clock of a process. The error wraps targets.ErrGone if the
	// process is not there any more.
	Open(ctx context.Context, n targets.Node, id targets.ProcID) (clock, error)
	// Witness has ask call run, which runs the code of a sight as its process
	// would, as if the skew had begun that much earlier.
	Witness(ctx context.Context, ask func(run runner) error) error
	// Waits counts how a process waits for an absolute time, of which the kernel
	// judges; and says who traces it.
	Waits(p targets.Proc) (found map[string]int, tracer int, err error)
	// Execs tells of processes that execute a program, as kernel.Execs does.
	Execs(ctx context.Context, first func(), see func(pid int)) error
	// Near says whether a process may be one of the node, of whose processes one
	// is known. It is asked of every process of the machine.
	Near(pid int, known map[int]bool) bool
	// Now is the true time in ns, and how far CLOCK_TAI is ahead.
	Now() (now int64, tai time.Duration, err error)
}

// A clock is that of one process. Errors wrap targets.ErrGone when the process, or
// the program that it ran, is not there any more.
type clock interface {
	Look(ctx context.Context) (vdso.Sight, error)
	Jumps(ctx context.Context) (bool, error) // Look, for the price of a read: is it armed?
	Arm(ctx context.Context, s vdso.Skew) error
	Begin(ctx context.Context, t0 int64, l vdso.Lease) error
	Renew(ctx context.Context, l vdso.Lease) error
	Disarm(ctx context.Context) error
	Close() error
}

// A skewer is an injectors.Typed[state]. One and the same holds a fault from Inject
// to Revert.
type skewer struct {
	p      Params
	ground ground
	// poll is how often a node is searched for processes that came, where the
	// kernel does not tell of them; sweep is how often where it does. patience is
	// how long a look waits for a new process to be skewed.
	poll, sweep, patience time.Duration

	mu    sync.Mutex
	holds map[string]*hold // by node
}

func newSkewer(p Params, g ground) *skewer {
	return &skewer{
		p: p, ground: g,
		poll: 10 * time.Millisecond, sweep: 250 * time.Millisecond, patience: 400 * time.Millisecond,
		holds: map[string]*hold{},
	}
}

// firstLease is how long a fault lives that nobody renews and for which no lease was
// named (safety: "The life of a fault", 5).
const firstLease = 5 * time.Second

const (
	// busy is how long it is tried to hold the threads of a process.
	busy = 5 * time.Second
	// settle is how long Inject goes after processes that come while it works.
	settle = 2 * time.Second
)

// hold returns what this process holds on the node.
func (x *skewer) hold(n targets.Node) *hold {
	x.mu.Lock()
	defer x.mu.Unlock()
	h := x.holds[n.Name()]
	if h == nil {
		h = &hold{ground: x.ground, n: n, lease: firstLease, clocks: map[targets.ProcID]clock{}, work: make(chan struct{}, 1)}
		x.holds[n.Name()] = h
	}
	return h
}

// Renew has every process be skewed for lease from now on. Before Inject it only
// says how long the fault is to live at first.
func (x *skewer) Renew(ctx context.Context, n targets.Node, _ state, lease time.Duration) error {
	return x.hold(n).renew(ctx, lease)
}

// Inject prepares every process, and then has all of them be skewed at one moment.
func (x *skewer) Inject(ctx context.Context, n targets.Node, s state) error {
	h := x.hold(n)
	if err := h.lock(ctx); err != nil {
		return err
	}
	defer h.unlock()
	if err := h.start(s); err != nil {
		return err
	}
	if err := h.gather(ctx); err != nil {
		return err
	}
	if err := h.begin(ctx); err != nil {
		return err
	}
	return h.gather(ctx) // those that were forked between the two
}
