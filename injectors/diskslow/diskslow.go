// Package diskslow is the fault "diskslow": a node gets no more from the disk that
// one of its paths is on than so many bytes or operations per second. The disk of
// everybody else stays as fast as it is.
//
// The kernel's own throttle of control groups is set for the node's group and the
// one disk (cgroup v1: blkio.throttle.*, v2: io.max), never for the root group. Where
// the path leads is decided inside the node's own root. The effect is measured: a
// direct write or read of a file without a name takes as long as it must from
// inside the group, and not from outside of it.
//
// Held by: layer 3 (the agent sets back what was there) and layer 4 (the journal).
//
// The package makes no errors and loses no writes, and it does not slow down what
// the kernel does for nobody in particular: on cgroup v1 that is all buffered
// writing that nobody waits for.
package diskslow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "diskslow"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "the disk of a path inside a node is slow for it: at most so many bytes or operations per second",
		Layers:  "3 guard, 4 journal",
		Params:  &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			var p Params
			if err := decode(&p); err != nil {
				return nil, err
			}
			if err := p.check(); err != nil {
				return nil, err
			}
			return injectors.Of(kind, newSlower(p)), nil
		},
		Excludes: func(other string) string {
			if other == kind {
				return "whose limit holds could not be told, and the end of one would end the other"
			}
			return ""
		},
		Reopen: func() injectors.Injector { return injectors.Of(kind, newSlower(Params{})) },
		Needs:  []injectors.Need{injectors.NeedProcesses},
		Here:   here,
	}
}

// state is what the other verbs need.
type state struct {
	Path    string        `json:"path"`
	Group   cgroups.Group `json:"group"`
	Disk    volumes.Disk  `json:"disk"`
	Changes []change      `json:"changes"`
}

// A change is one limit that is set. 0 is no limit.
type change struct {
	Limit  limit  `json:"limit"`
	Before uint64 `json:"before,omitempty"` // the operator's
	Now    uint64 `json:"now"`
}

// A limit is one of the four that there are, by its name in io.max.
type limit string

const (
	readBytes  limit = "rbps"
	writeBytes limit = "wbps"
	readOps    limit = "riops"
	writeOps   limit = "wiops"
)

func (l limit) read() bool { return l == readBytes || l == readOps }
func (l limit) ops() bool  { return l == readOps || l == writeOps }

// of says n in the unit of the limit.
func (l limit) of(n uint64) string {
	verb := "write"
	if l.read() {
		verb = "read"
	}
	switch {
	case n == 0:
		return verb + " unlimited"
	case l.ops():
		return fmt.Sprintf("%s %d/s", verb, n)
	}
	return fmt.Sprintf("%s %s/s", verb, humanize.IBytes(n))
}

// A disk is how throttles are reached. That of the kernel is the product's; tests
// of the injector's logic have another. Errors wrap targets.ErrGone if the node's
// group is not there any more.
type disk interface {
	// find returns the node's group, and the disk of the path.
	find(ctx context.Context, n targets.Node, path string) (cgroups.Group, volumes.Disk, error)
	get(ctx context.Context, n targets.Node, s state, l limit) (uint64, error)
	set(ctx context.Context, n targets.Node, s state, l limit, to uint64) error
	// try takes the time of as many operations as the limit allows in the given
	// time, inside the group and outside of it. least is what they must take inside.
	try(ctx context.Context, n targets.Node, s state, c change) (inside, outside, least time.Duration, err error)
}

// A slower is an injectors.Typed[state].
type slower struct {
	p    Params
	disk disk

	mu     sync.Mutex
	proven map[string]string // node to the proof by trying, which costs the node's own share of the disk
}

func newSlower(p Params) *slower {
	return &slower{p: p, disk: kernelDisk{}, proven: map[string]string{}}
}

// Inject sets the limits.
func (x *slower) Inject(ctx context.Context, n targets.Node, s state) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, c := range s.Changes {
		if err := x.disk.set(ctx, n, s, c.Limit, c.Now); err != nil {
			return err
		}
	}
	return nil
}

// Effect asks the kernel for the limits, and tries the disk until it has once been
// seen to be slow.
func (x *slower) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	var words []string
	for _, c := range s.Changes {
		now, err := x.disk.get(ctx, n, s, c.Limit)
		if errors.Is(err, targets.ErrGone) {
			return false, "its control group is not there any more", nil
		}
		if err != nil {
			return false, "", err
		}
		if now != c.Now {
			return false, fmt.Sprintf("the limit of %s on %s is %s, not %s", s.Group.Dir, s.Disk.Name, c.Limit.of(now), c.Limit.of(c.Now)), nil
		}
		words = append(words, c.Limit.of(now))
	}
	slow, tried, err := x.tried(ctx, n, s)
	return slow && err == nil, fmt.Sprintf("%s has %s on %s: %s", s.Group.Dir, strings.Join(words, ", "), s.Disk.Name, tried), err
}

// tried tries each limit.
func (x *slower) tried(ctx context.Context, n targets.Node, s state) (slow bool, words string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if was := x.proven[n.Name()]; was != "" {
		return true, was, nil
	}
	slow = true
	var all []string
	for _, c := range s.Changes {
		inside, outside, least, err := x.disk.try(ctx, n, s, c)
		if err != nil {
			return false, "", err
		}
		slow = slow && inside >= least && inside >= 2*outside
		what := "written"
		if c.Limit.read() {
			what = "read"
		}
		all = append(all, fmt.Sprintf("%s directly in %v from inside the group, and %v from outside (at the limit: at least %v)", what, round(inside), round(outside), round(least)))
	}
	words = strings.Join(all, "; ")
	if slow {
		x.proven[n.Name()] = words
	}
	return slow, words, nil
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// Revert sets back what was there. What somebody else has set meanwhile is left
// alone.
func (x *slower) Revert(ctx context.Context, n targets.Node, s state) error {
	var errs []error
	for _, c := range s.Changes {
		now, err := x.disk.get(ctx, n, s, c.Limit)
		if err == nil && now == c.Now {
			err = x.disk.set(ctx, n, s, c.Limit, c.Before)
		}
		if !errors.Is(err, targets.ErrGone) { // the limits went with the group
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Reverted asks the kernel whether none of the limits is ours any more.
func (x *slower) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	var words []string
	for _, c := range s.Changes {
		now, err := x.disk.get(ctx, n, s, c.Limit)
		if errors.Is(err, targets.ErrGone) {
			return true, "its control group is not there any more", nil
		}
		if err != nil {
			return false, "", err
		}
		if words = append(words, c.Limit.of(now)); now == c.Now {
			return false, fmt.Sprintf("%s still has %s on %s", s.Group.Dir, c.Limit.of(now), s.Disk.Name), nil
		}
	}
	return true, fmt.Sprintf("%s has %s on %s", s.Group.Dir, strings.Join(words, ", "), s.Disk.Name), nil
}

// Patience is how long a look may take: the slowest try is one page at a time.
func (x *slower) Patience(state) time.Duration { return 20 * time.Second }
