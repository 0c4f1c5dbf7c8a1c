// Package pressure is the fault "pressure": a node has less of the processors or of
// the memory that it is used to, because its control group allows it less, or because
// something beside it uses them up.
//
// By limit, the quota of the node's own control group is lowered (cgroup v1:
// cpu.cfs_quota_us and memory.limit_in_bytes; v2: cpu.max and memory.high), and the
// effect is that the kernel's own counters say that the node ran into it. By burner,
// a child of the agent in the node's group spins and holds memory, and the effect is
// what the kernel counts of it.
//
// Held by: a limit by layer 3 (the agent sets back what was there) and layer 4 (the
// journal); a burner by layer 1 (it dies with the agent's pipe and thread), by layer 2
// (its own lease) and by the node's main process, with which it ends.
//
// The package does not drive the node or the host out of memory: what could is
// refused, and the burner is the first that the kernel would kill.
package pressure

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "pressure"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "a node is short of processors or memory: its control group allows less, or a burner in it uses them up",
		Layers:  "limit: 3 guard, 4 journal; burner: 1 the agent's pipe, 2 its own lease",
		Params:  &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			p := Params{By: Limit}
			if err := decode(&p); err != nil {
				return nil, err
			}
			if err := p.check(); err != nil {
				return nil, err
			}
			return injectors.Of(kind, newPresser(p)), nil
		},
		Excludes: func(other string) string {
			if other == kind {
				return "whose limit holds could not be told, and the end of one would end the other"
			}
			return ""
		},
		Reopen: func() injectors.Injector { return injectors.Of(kind, newPresser(Params{})) },
		Needs:  []injectors.Need{injectors.NeedProcesses},
		Here:   here,
	}
}

// state is what the other verbs need.
type state struct {
	Limits []change `json:"limits,omitempty"`
	Burner *burner  `json:"burner,omitempty"`
}

// A change is one file of a control group that is set.
type change struct {
	Group  cgroups.Group `json:"group"`
	File   string        `json:"file"`
	Before string        `json:"before"` // the operator's
	Now    string        `json:"now"`
	// Count was, when it was planned, how often the node had run into its limit.
	Count uint64 `json:"count"`
	// Most is how much memory the node may use now; 0 for processors.
	Most uint64 `json:"most,omitempty"`
}

// A burner is what uses up processors and memory.
type burner struct {
	Name   string          `json:"name"` // nothing else is called so
	Groups []cgroups.Group `json:"groups"`
	Main   targets.ProcID  `json:"main"` // it ends with this process
	Cores  float64         `json:"cores,omitempty"`
	Memory uint64          `json:"memory,omitempty"`
	Spare  uint64          `json:"spare,omitempty"` // what the host keeps
}

// A burned is what a burner was seen to use.
type burned struct {
	There  bool
	ID     targets.ProcID
	Memory uint64        // bytes that are its own
	Over   time.Duration // for how long it was looked at
	Ran    time.Duration // of that on processors, all threads together
	Waited time.Duration // and ready, without getting one
}

// A ground is how groups and burners are reached. That of the kernel is the
// product's; tests of the injector's logic have another. Errors wrap
// targets.ErrGone if the group is not there any more.
type ground interface {
	room(ctx context.Context, n targets.Node, p Params) (room, error)
	read(ctx context.Context, n targets.Node, g cgroups.Group, file string) (string, error)
	write(ctx context.Context, n targets.Node, g cgroups.Group, file, text string) error
	burn(ctx context.Context, n targets.Node, b burner, lease time.Duration) (flame, error)
	// burning looks at the burner of that name, whoever started it.
	burning(ctx context.Context, n targets.Node, b burner) (burned, error)
	// douse ends the burner of that name, whoever started it.
	douse(ctx context.Context, n targets.Node, b burner) error
}

// A flame is a burner that this process holds.
type flame interface {
	renew(lease time.Duration) error
	end() error
}

// A presser is an injectors.Typed[state]. One and the same is used for all verbs on
// a fault by the agent that holds it.
type presser struct {
	p      Params
	ground ground

	mu    sync.Mutex
	lease time.Duration // with which a burner is born
	flame flame
}

func newPresser(p Params) *presser { return &presser{p: p, ground: kernelGround{}} }

// Inject sets the limits, or starts the burner.
func (x *presser) Inject(ctx context.Context, n targets.Node, s state) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, c := range s.Limits {
		if err := x.ground.write(ctx, n, c.Group, c.File, c.Now); err != nil {
			return err
		}
	}
	if s.Burner == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.flame != nil {
		return nil
	}
	var err error
	x.flame, err = x.ground.burn(ctx, n, *s.Burner, x.lease)
	return err
}

// Renew has the burner live for lease from now on.
func (x *presser) Renew(_ context.Context, _ targets.Node, _ state, lease time.Duration) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lease = lease
	if x.flame == nil {
		return nil // it is to be born with that lease
	}
	return x.flame.renew(lease)
}

// Effect asks the kernel what it counted of the limits, or of the burner.
func (x *presser) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	var words []string
	for _, c := range s.Limits {
		held, proof, err := x.felt(ctx, n, c)
		if errors.Is(err, targets.ErrGone) {
			return false, "its control group is not there any more", nil
		}
		if err != nil || !held {
			return false, proof, err
		}
		words = append(words, proof)
	}
	if s.Burner != nil {
		b, err := x.ground.burning(ctx, n, *s.Burner)
		if errors.Is(err, targets.ErrGone) {
			return false, "its control group is not there any more", nil
		}
		if err != nil {
			return false, "", err
		}
		held, proof := s.Burner.burns(b)
		if !held {
			return false, proof, nil
		}
		words = append(words, proof)
	}
	return true, strings.Join(words, "; "), nil
}

// felt says whether a limit stands, and whether the node ran into it.
func (x *presser) felt(ctx context.Context, n targets.Node, c change) (held bool, proof string, err error) {
	now, err := x.ground.read(ctx, n, c.Group, c.File)
	if err != nil {
		return false, "", err
	}
	if now != c.Now {
		return false, fmt.Sprintf("%s/%s is %s, not %s", c.Group.Dir, c.File, now, c.Now), nil
	}
	counter := c.counter()
	count, err := x.number(ctx, n, c.Group, counter)
	if err != nil {
		return false, "", err
	}
	proof = fmt.Sprintf("%s/%s is %s, and the node ran into it %d times (%s)", c.Group.Dir, c.File, now, count-min(count, c.Count), counter)
	if c.Most == 0 {
		return count > c.Count, proof, nil
	}
	used, err := x.number(ctx, n, c.Group, usageFile(c.Group))
	if err != nil {
		return false, "", err
	}
	// That it used more before was seen when it was planned: what is above the
	// limit had to be given up.
	return used <= c.Most+slack(c.Most), fmt.Sprintf("%s; it uses %d bytes of %d", proof, used, c.Most), nil
}

// burns says whether what was seen of a burner is what it is for. Of processors it
// is that its threads ran, or were ready and got none: both is what others lack.
func (b burner) burns(seen burned) (held bool, proof string) {
	if !seen.There {
		return false, fmt.Sprintf("no burner %s is in %s", b.Name, b.Groups[0].Dir)
	}
	proof = fmt.Sprintf("burner %v in %s", seen.ID, b.Groups[0].Dir)
	held = true
	if b.Cores > 0 {
		held = float64(seen.Ran+seen.Waited) >= b.Cores*float64(seen.Over)/2
		proof += fmt.Sprintf(": in %v its threads ran %v and waited %v for a processor, of %.2f that they are to use", round(seen.Over), round(seen.Ran), round(seen.Waited), b.Cores)
	}
	if b.Memory > 0 {
		held = held && seen.Memory >= b.Memory/100*95
		proof += fmt.Sprintf("; it holds %d of %d bytes", seen.Memory, b.Memory)
	}
	return held, proof
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// Patience is how long it may take until a node that is busy at times runs into a
// limit, or until a burner holds its memory.
func (x *presser) Patience(state) time.Duration { return 20 * time.Second }
