// Package pause is the fault "pause": processes of a node stop where they are, and
// go on later as if nothing had been. To the others a paused process looks like one
// that hangs: its connections stand, the kernel still takes data for it, and nobody
// answers.
//
// A process and its descendants are stopped by SIGSTOP, again and again until a
// look finds none of them running: one may fork while it is being stopped. A whole
// node is frozen by its control group, which holds what comes later as well. The
// effect is what the kernel says of every thread, or of the group.
//
// Held by: layer 3 (the agent continues or thaws) and layer 4 (the journal). No
// descriptor keeps a process stopped.
//
// The package does not touch what was stopped before it came, and no process that
// is not one of the node's.
package pause

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "pause"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "processes of a node, or all of them, stop where they are and go on later: a hang, a long collection, a host that swaps",
		Layers:  "3 guard, 4 journal",
		Params:  &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			p := defaults()
			if err := decode(&p); err != nil {
				return nil, err
			}
			if err := p.check(); err != nil {
				return nil, err
			}
			return injectors.Of(kind, newPauser(p)), nil
		},
		Excludes: excludes,
		Reopen:   func() injectors.Injector { return injectors.Of(kind, newPauser(Params{})) },
		Needs:    []injectors.Need{injectors.NeedProcesses},
		Here:     procs.Here,
	}
}

func excludes(other string) string {
	switch other {
	case kind, "kill":
		return "whose stop or death it is could not be told, and the end of one would end the other"
	}
	return ""
}

// state is what Revert and Effect need.
type state struct {
	How How `json:"how"`
	// Procs are those that there were when it was planned, parents before their
	// children; the first is the one that was meant. What descends from them is
	// paused with them.
	Procs []procs.Ref `json:"procs"`
	// Apart descend from them and are left alone: the server, of a manager.
	Apart []targets.ProcID `json:"apart,omitempty"`
	// Alone says that descendants are left alone.
	Alone bool `json:"alone,omitempty"`
	// Stopped were stopped before: not ours to continue.
	Stopped []targets.ProcID `json:"stopped,omitempty"`
	// Group is what the freezer holds.
	Group *group `json:"group,omitempty"`
}

// A group is a control group that can be frozen.
type group struct{ cgroups.Group }

// file is what freezes and thaws, by what is written to it.
func (g group) file() (name, frozen, thawed string) {
	if g.V2 {
		return "cgroup.freeze", "1", "0"
	}
	return "freezer.state", "FROZEN", "THAWED"
}

// A freezer finds control groups and sets them. That of the kernel is the
// product's; tests of the injector's logic have another.
type freezer interface {
	// find returns the group that holds all processes of the node, and no other.
	find(ctx context.Context, n targets.Node) (group, error)
	// set writes to the group's file. The error wraps targets.ErrGone if the
	// group is not there any more.
	set(ctx context.Context, n targets.Node, g group, to string) error
	// frozen asks whether everything in the group is, with the words of the
	// kernel; half says that something in it may be.
	frozen(ctx context.Context, n targets.Node, g group) (all, half bool, words string, err error)
}

// A pauser is an injectors.Typed[state]. It remembers nothing.
type pauser struct {
	p       Params
	freezer freezer
	// settle is how long Inject looks on until the last thread has stopped, and
	// look the time between two looks.
	settle, look time.Duration
}

func newPauser(p Params) *pauser {
	return &pauser{p: p, freezer: kernelFreezer{}, settle: time.Second, look: 200 * time.Microsecond}
}

// Inject stops the processes, or freezes the group.
func (x *pauser) Inject(ctx context.Context, n targets.Node, s state) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Group != nil {
		_, frozen, _ := s.Group.file()
		return x.freezer.set(ctx, n, *s.Group, frozen)
	}
	ps, err := procs.Of(n)
	if err != nil {
		return err
	}
	return x.stop(ctx, ps, s)
}

// stop sends SIGSTOP until a look finds nothing of it running. What is found later
// was forked while the others were being stopped.
func (x *pauser) stop(ctx context.Context, ps targets.Processes, s state) error {
	sent, err := stopPlanned(ctx, ps, s)
	if err != nil {
		return err
	}
	for begin := time.Now(); ; {
		now, err := look(ctx, ps, s)
		if err != nil {
			return err
		}
		running := 0
		for _, p := range now {
			if p.stopped() {
				continue
			}
			running++
			if sent[p.ProcID] {
				continue // it is in the kernel, and stops on its way out
			}
			sent[p.ProcID] = true
			if err := orGone(signal(ctx, ps, p.ProcID, sigSTOP)); err != nil {
				return err
			}
		}
		if running == 0 || time.Since(begin) > x.settle {
			return nil // Effect says whether some are left
		}
		if err := wait(ctx, x.look); err != nil {
			return err
		}
	}
}

// stopPlanned stops those that there were when it was planned. All are held before
// the first gets the signal, so that they stop at one moment.
func stopPlanned(ctx context.Context, ps targets.Processes, s state) (sent map[targets.ProcID]bool, err error) {
	var handles []targets.Handle
	defer func() {
		for _, h := range handles {
			err = errors.Join(err, h.Close())
		}
	}()
	sent = map[targets.ProcID]bool{}
	for i, p := range s.Procs {
		h, err := ps.Hold(ctx, p.ProcID)
		if errors.Is(err, targets.ErrGone) && i > 0 {
			continue // of many processes some come and go
		}
		if err != nil {
			return nil, fmt.Errorf("%v: %w", p, err)
		}
		handles, sent[p.ProcID] = append(handles, h), true
	}
	if err := ctx.Err(); err != nil {
		return nil, err // nothing was done yet
	}
	for _, h := range handles {
		if err := orGone(h.Signal(sigSTOP)); err != nil {
			return nil, fmt.Errorf("sending SIGSTOP: %w", err)
		}
	}
	return sent, nil
}

// A seen process is one of the fault's at the moment of a look.
type seen struct {
	targets.Proc
	threads string // their states
}

// stopped says whether every thread that is alive is stopped.
func (p seen) stopped() bool {
	return !slices.ContainsFunc([]byte(p.threads), func(st byte) bool { return st != 'T' && st != 'Z' && st != 'X' })
}

// look returns the processes that are to be paused as they are now, without those
// that were stopped before.
func look(ctx context.Context, ps targets.Processes, s state) (list []seen, err error) {
	all, err := ps.Processes(ctx)
	if err != nil {
		return nil, err
	}
	roots := make([]targets.Proc, len(s.Procs))
	for i, r := range s.Procs {
		roots[i].ProcID = r.ProcID
	}
	apart := slices.Clone(s.Apart)
	if s.Alone {
		for _, p := range all {
			apart = append(apart, p.ProcID)
		}
	}
	for _, p := range procs.Tree(all, roots, apart) {
		if slices.Contains(s.Stopped, p.ProcID) {
			continue
		}
		states, err := procs.Threads(p)
		if err != nil {
			return nil, err
		}
		list = append(list, seen{p, states})
	}
	return list, nil
}

// Effect looks whether every thread is stopped, or the group frozen.
func (x *pauser) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	if s.Group != nil {
		all, _, words, err := x.freezer.frozen(ctx, n, *s.Group)
		if errors.Is(err, targets.ErrGone) {
			return false, "its control group is not there any more", nil
		}
		return all && err == nil, words, err
	}
	ps, err := procs.Of(n)
	if err != nil {
		return false, "", err
	}
	now, err := look(ctx, ps, s)
	if err != nil {
		return false, "", err
	}
	if len(now) == 0 || now[0].ProcID != s.Procs[0].ProcID {
		return false, fmt.Sprintf("%v is gone", s.Procs[0]), nil
	}
	list, threads := make([]targets.Proc, len(now)), 0
	for i, p := range now {
		if !p.stopped() {
			return false, fmt.Sprintf("pid %d (%s) is not stopped: its threads are %q", p.PID, p.Name, p.threads), nil
		}
		list[i], threads = p.Proc, threads+len(p.threads)
	}
	return true, fmt.Sprintf("stopped (T), all of %d threads: %s", threads, procs.List(list)), nil
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
