// Package readonly is the fault "readonly": a directory of a node is read-only for
// whatever opens it from now on, as it is after a restart upon a disk that the
// kernel would not trust any more.
//
// A read-only view of the same directory (open_tree(2), mount_setattr(2)) is laid
// upon it in the node's own mount namespace. What is open already, and what a process
// reaches from its working directory below, goes on: the kernel has no way to take
// the right to write from an open file without breaking the file system. The effect
// is that a new file is refused with EROFS, where it was not before.
//
// Held by: layer 3 (the agent takes the view away) and layer 4 (the journal). It
// ends with the node's mount namespace too.
//
// The package does not remount a file system, and touches no mount of the host's.
package readonly

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "readonly"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "a directory of a node is read-only for whatever opens it from now on: what a server finds that restarts on a bad disk",
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
			return injectors.Of(kind, newCoverer(p)), nil
		},
		Excludes: func(other string) string {
			if other == kind {
				return "one view would lie upon the other, and the end of one would end the other"
			}
			return ""
		},
		Reopen: func() injectors.Injector { return injectors.Of(kind, newCoverer(Params{})) },
		Needs:  []injectors.Need{injectors.NeedProcesses},
		Here:   here,
	}
}

// Params is what may stand under "with".
type Params struct {
	Path string `yaml:"path" json:"path,omitempty" jsonschema:"description=A directory inside the node that is read-only for whatever opens it from now on."`
}

// check finds what cannot be.
func (p Params) check() error {
	switch {
	case p.Path == "":
		return errors.New("path is missing: give a directory inside the node, such as its data directory")
	case !path.IsAbs(p.Path) || strings.ContainsRune(p.Path, 0):
		return fmt.Errorf("path %q: give an absolute path inside the node", p.Path)
	case path.Clean(p.Path) == "/":
		return errors.New("path /: nothing can be laid upon the root of a running node: give a directory below")
	}
	return nil
}

// state is what the other verbs need.
type state struct {
	Path  string         `json:"path"`
	Main  targets.ProcID `json:"main"`  // whose mount namespace it is
	Space string         `json:"space"` // "mnt:[4026532758]": no other has the number
	Below int            `json:"below"` // the number of the mount that is covered
	Point string         `json:"point"` // where in that namespace
}

// A seen is what there is at the path at one moment.
type seen struct {
	state
	Cover    bool // our view lies upon it
	Refused  bool // a new file is refused with EROFS
	Words    string
	Writers  int    // files that are open for writing below
	Obstacle string // why it cannot be covered
}

// mountain is how mounts are reached. That of the kernel is the product's; tests
// of the injector's logic have another. Errors wrap targets.ErrGone if the node, or
// its mount namespace, is not there any more.
type mountain interface {
	look(ctx context.Context, n targets.Node, path string) (seen, error)
	// cover lays the view, and uncover takes it away if it is there.
	cover(ctx context.Context, n targets.Node, s state) error
	uncover(ctx context.Context, n targets.Node, s state) error
	// covered says whether the view is there, for whoever has no node any more.
	covered(ctx context.Context, n targets.Node, s state) (bool, error)
}

// A coverer is an injectors.Typed[state]. It remembers nothing.
type coverer struct {
	p      Params
	mounts mountain
}

func newCoverer(p Params) *coverer { return &coverer{p, kernelMounts{}} }

// Plan finds the mounts, and every reason not to cover them.
func (x *coverer) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if len(aim.On) == 0 {
		return nil, errors.New("it is aimed at no node")
	}
	var steps []injectors.Step[state]
	var errs []error
	for _, n := range aim.On {
		now, err := x.mounts.look(ctx, n, x.p.Path)
		switch {
		case err == nil && now.Obstacle != "":
			err = errors.New(now.Obstacle)
		case err == nil && now.Refused:
			err = fmt.Errorf("%s is read-only already: %s", x.p.Path, now.Words)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name(), err))
			continue
		}
		steps = append(steps, injectors.Step[state]{
			Node: n, State: now.state,
			Does: fmt.Sprintf("lays a read-only view of %s upon it, in the node's own mounts; %d files that are open for writing there go on", now.Point, now.Writers),
			Undo: fmt.Sprintf("nsenter -t %d -m umount -l %s", now.Main.PID, now.Point),
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return steps, nil
}

// Inject lays the view.
func (x *coverer) Inject(ctx context.Context, n targets.Node, s state) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	there, err := x.mounts.covered(ctx, n, s)
	if err != nil || there {
		return err
	}
	return x.mounts.cover(ctx, n, s)
}

// Effect looks whether the view is there, and tries to make a file.
func (x *coverer) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	now, err := x.mounts.look(ctx, n, s.Path)
	if errors.Is(err, targets.ErrGone) {
		return x.upOnly(ctx, n, s)
	}
	switch {
	case err != nil:
		return false, "", err
	case now.Space != s.Space:
		return false, "the node has other mounts by now: it was started again", nil
	}
	there, err := x.mounts.covered(ctx, n, s)
	if errors.Is(err, targets.ErrGone) { // the number of a namespace is used again
		return false, "the node has other mounts by now: it was started again", nil
	}
	if err != nil {
		return false, "", err
	}
	return there && now.Refused, fmt.Sprintf("%s: %s", s.Path, now.Words), nil
}

// upOnly is for a node that is down: its mounts went with it.
func (x *coverer) upOnly(ctx context.Context, n targets.Node, s state) (bool, string, error) {
	there, err := x.mounts.covered(ctx, n, s)
	if errors.Is(err, targets.ErrGone) || err == nil && !there {
		return false, "the node is down, and its mounts are gone", nil
	}
	return there, "the view is there; the node is down, so no write was tried", err
}

// Revert takes the view away.
func (x *coverer) Revert(ctx context.Context, n targets.Node, s state) error {
	there, err := x.mounts.covered(ctx, n, s)
	if err == nil && there {
		err = x.mounts.uncover(ctx, n, s)
	}
	if errors.Is(err, targets.ErrGone) {
		return nil // the mounts went with the node
	}
	return err
}

// Reverted looks whether the view is gone.
func (x *coverer) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	there, err := x.mounts.covered(ctx, n, s)
	if errors.Is(err, targets.ErrGone) {
		return true, "the node's mounts went with it", nil
	}
	if err != nil || there {
		return false, "the read-only view is still upon " + s.Point, err
	}
	return true, "no view is upon " + s.Point, nil
}
