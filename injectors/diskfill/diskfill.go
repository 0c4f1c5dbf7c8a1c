// Package diskfill is the fault "diskfill": the file system that a path of a node
// is on has no space left, or no inodes, or as little as was asked for.
//
// The space is taken by a file that never has a name (O_TMPFILE, fallocate(2)) and
// is kept open by the agent. The kernel frees it when the last descriptor is
// closed, so the fault ends with the process that holds it, however it dies. Where
// the path leads is decided inside the node's own root, by the kernel: no symbolic
// link of the node leads out of it. The effect is what the file system says of its
// free space, and that a write like the victim's is refused.
//
// Held by: layer 1 (the holder's descriptor).
//
// The package does not write data, it reserves blocks. It fills no disk that the
// host or Docker itself needs unless a limit is given.
package diskfill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "diskfill"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "the disk of a path inside a node is full: no bytes or no inodes left, or as few as asked for",
		Layers:  "1 the holder's descriptor",
		Params:  &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			var p Params
			if err := decode(&p); err != nil {
				return nil, err
			}
			if err := p.check(); err != nil {
				return nil, err
			}
			return injectors.Of(kind, newFiller(p)), nil
		},
		Excludes: func(other string) string {
			if other == kind {
				return "what one of them gives back the other would take"
			}
			return ""
		},
		Reopen: func() injectors.Injector { return injectors.Of(kind, newFiller(Params{})) },
		Needs:  []injectors.Need{injectors.NeedProcesses},
		Here:   here,
	}
}

// state is what Inject and Effect need. Revert needs nothing.
type state struct {
	Path   string `json:"path"`
	Device string `json:"device"` // of the file system, "major:minor" as in mountinfo
	Inodes bool   `json:"inodes,omitempty"`
	Root   bool   `json:"root,omitempty"`
	Free   uint64 `json:"free"`            // bytes or inodes that are left, at most
	Limit  uint64 `json:"limit,omitempty"` // the most that is taken; 0 is no limit
}

// amount says n in the unit of the fault.
func (s state) amount(n uint64) string {
	if s.Inodes {
		return fmt.Sprintf("%d inodes", n)
	}
	return humanize.IBytes(n)
}

// A space is what a file system says of itself at one moment.
type space struct {
	Type, Device, Mount string
	Block               uint64 // bytes
	Blocks, Free, Avail uint64 // in blocks; Avail without those that are reserved for root
	Inodes, InodesFree  uint64
	ReadOnly            bool
}

// left is what the victim may still take.
func (p space) left(s state) uint64 {
	switch {
	case s.Inodes:
		return p.InodesFree
	case s.Root:
		return p.Free * p.Block
	}
	return p.Avail * p.Block
}

// total is what the victim may take in all, of which a share is asked for.
func (p space) total(s state) uint64 {
	switch {
	case s.Inodes:
		return p.Inodes
	case s.Root:
		return p.Blocks * p.Block
	}
	return (p.Blocks - p.Free + p.Avail) * p.Block
}

// A disk is how file systems are reached. That of the kernel is the product's;
// tests of the injector's logic have another.
type disk interface {
	// look finds the file system of the path inside the node. The error wraps
	// targets.ErrGone if the node does not run.
	look(ctx context.Context, n targets.Node, path string) (space, error)
	// allowed says why so much must not be taken, without a limit or at all.
	allowed(ctx context.Context, n targets.Node, s state, need uint64) error
	// hold prepares to take; nothing is taken yet.
	hold(ctx context.Context, n targets.Node, s state) (holder, error)
	// refuses tries to write as the victim would.
	refuses(ctx context.Context, n targets.Node, s state) (full bool, words string, err error)
}

// A holder holds what was taken from one file system. Its methods may be called
// from several goroutines.
type holder interface {
	// grow takes until no more is left than asked for. After release it takes
	// nothing any more.
	grow(ctx context.Context) error
	// look is disk.look by the holder's own descriptor.
	look(ctx context.Context) (space, error)
	// release gives everything back. It may be called again if it failed.
	release(ctx context.Context) error
}

// A filler is an injectors.Typed[state]. One and the same is used for all verbs on
// a fault by the agent that holds it.
type filler struct {
	p    Params
	disk disk
	// refill is how often what the victim gave back is taken; patience is how
	// long a look waits for that.
	refill, patience time.Duration
	holders          *holders
}

func newFiller(p Params) *filler {
	return &filler{p: p, disk: kernelDisk{}, refill: 20 * time.Millisecond, patience: 250 * time.Millisecond, holders: &holders{}}
}

// holders are those of this process.
type holders struct {
	mu sync.Mutex
	of map[key]holder
}

type key struct{ node, path string }

func keyOf(n targets.Node, s state) key { return key{n.Name(), s.Path} }

func (h *holders) get(k key) holder {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.of[k]
}

func (h *holders) set(k key, to holder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[key]holder{}
	}
	if h.of[k] = to; to == nil {
		delete(h.of, k)
	}
}

// Inject takes the space. What an Inject that failed took is held until Revert.
func (x *filler) Inject(ctx context.Context, n targets.Node, s state) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h := x.holders.get(keyOf(n, s))
	if h == nil {
		var err error
		if h, err = x.disk.hold(ctx, n, s); err != nil {
			return err
		}
		x.holders.set(keyOf(n, s), h)
	}
	return h.grow(ctx)
}

// Watch takes again what the victim gives back: a server that removes old files
// would soon have room, and the fault a hole.
func (x *filler) Watch(ctx context.Context, n targets.Node, s state, _ func(injectors.Sighting)) error {
	for wait(ctx, x.refill) == nil {
		if h := x.holders.get(keyOf(n, s)); h != nil {
			// What cannot be taken is seen by Effect.
			_ = h.grow(ctx)
		}
	}
	return nil
}

// Effect asks the file system what is free, and tries to write if that is to be
// nothing.
func (x *filler) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	for begin := time.Now(); ; {
		held, proof, err = x.effect(ctx, n, s)
		if held || err != nil || x.holders.get(keyOf(n, s)) == nil || time.Since(begin) > x.patience {
			return held, proof, err
		}
		if err := wait(ctx, x.refill/4); err != nil {
			return false, proof, err
		}
	}
}

func (x *filler) effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	now, err := x.disk.look(ctx, n, s.Path)
	if h := x.holders.get(keyOf(n, s)); errors.Is(err, targets.ErrGone) && h != nil {
		// The node is down. What it will find is the disk that we hold.
		now, err = h.look(ctx)
	}
	if err != nil {
		return false, "", err
	}
	if now.Device != s.Device {
		return false, fmt.Sprintf("%s is on another file system now: %s (%s) instead of %s", s.Path, now.Device, now.Type, s.Device), nil
	}
	left := now.left(s)
	proof = fmt.Sprintf("%s (%s on %s) has %s free, asked for %s", s.Path, now.Type, now.Device, s.amount(left), s.amount(s.Free))
	if s.Free > 0 {
		return left <= s.Free, proof, nil
	}
	// Of "nothing" the refusal is the proof: a file system may count as free what
	// it gives to nobody.
	full, words, err := x.disk.refuses(ctx, n, s)
	if errors.Is(err, targets.ErrGone) && x.holders.get(keyOf(n, s)) != nil {
		return left == 0, proof + "; the node is down, so no write was tried", nil
	}
	return full && err == nil, proof + "; " + words, err
}

// Revert closes the file. Another process than the holder has nothing to do: the
// kernel freed the file when the holder died.
func (x *filler) Revert(ctx context.Context, n targets.Node, s state) error {
	h := x.holders.get(keyOf(n, s))
	if h == nil {
		return nil
	}
	if err := h.release(ctx); err != nil {
		return err
	}
	x.holders.set(keyOf(n, s), nil)
	return nil
}

// Reverted says whether this process holds nothing. How much is free then is the
// victim's business: it may have filled the disk itself.
func (x *filler) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	if x.holders.get(keyOf(n, s)) != nil {
		return false, "the file that takes the space is still open", nil
	}
	proof = "the file that took the space is closed: it has no name, and ended with its last descriptor"
	if now, err := x.disk.look(ctx, n, s.Path); err == nil {
		proof += fmt.Sprintf("; %s has %s free", s.Path, s.amount(now.left(s)))
	}
	return true, proof, nil
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
