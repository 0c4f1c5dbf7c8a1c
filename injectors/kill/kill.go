// Package kill is the fault "kill": a process of a node, or all of them, gets a
// signal that ends or stops it.
//
// A signal is sent through a descriptor of the process (pidfd_open(2)), opened
// first and checked afterwards to be of the process that was planned for, so that
// it can reach no stranger. What counts is the death that is then seen, or that
// every thread is stopped; the call says nothing. Engines act as after a real
// crash, because they are not asked; mode fence asks them.
//
// Held by: layer 3 (the agent starts a killed node, continues a stopped process)
// and layer 4 (the journal). No kernel object can bring a process back.
//
// The package does not restart single processes that it killed: whoever
// supervises them does, and that is watched. It is no way to kill by pattern, and
// no process that is not one of the node's.
package kill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "kill"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "a signal to a process of a node, or to all of them: KILL (a crash), STOP (a hang) or any other",
		Layers:  "3 guard, 4 journal",
		Params:  &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			p := Params{Signal: "KILL", Process: procs.Main, Mode: Crash}
			if err := decode(&p); err != nil {
				return nil, err
			}
			if err := p.check(); err != nil {
				return nil, err
			}
			return injectors.Of(kind, newKiller(p)), nil
		},
		Excludes: excludes,
		Reopen:   func() injectors.Injector { return injectors.Of(kind, newKiller(Params{})) },
		Needs:    []injectors.Need{injectors.NeedProcesses},
		Here:     procs.Here,
	}
}

func excludes(other string) string {
	switch other {
	case kind, "pause":
		return "a process that was killed cannot be stopped or killed once more, and whose restart it is could not be told"
	}
	return ""
}

// state is what Revert, Effect and Watch need.
type state struct {
	Signal  Signal `json:"signal"`
	Process string `json:"process"`
	Mode    Mode   `json:"mode"`
	// Procs get the signal. They are known by pid and start time; a command line
	// may hold a password and is not kept.
	Procs []procs.Ref `json:"procs"`
	// Main is the node's main process when it was planned, and Restarts how often
	// its engine had started it again.
	Main     targets.ProcID `json:"main"`
	Restarts int            `json:"restarts"`
	// Init says that Main is pid 1 of its pid namespace: the kernel lets nothing
	// in it outlive it (pid_namespaces(7)).
	Init bool `json:"init,omitempty"`
	// Words are by what a process that takes the place of a killed one is known.
	Words []string `json:"words,omitempty"`
	// Stopped were stopped before: not ours to continue.
	Stopped []targets.ProcID `json:"stopped,omitempty"`
}

func (s state) stops() bool { return s.Signal == "STOP" }

// whole says whether all of the node's processes are meant.
func (s state) whole() bool { return s.Process == procs.All }

// aimsAt says whether the process is one of those that get the signal.
func (s state) aimsAt(id targets.ProcID) bool {
	for _, p := range s.Procs {
		if p.ProcID == id {
			return true
		}
	}
	return false
}

// A killer is an injectors.Typed[state]. One and the same is used for all verbs
// on a fault by the agent that holds it; its memory only tells Watch what Revert
// did.
type killer struct {
	p Params
	// obey is how long a signal that can be caught may take to end a process;
	// linger is how long a main process may outlive the process without which it
	// cannot be; look is the time between two looks of Watch.
	obey, linger, look time.Duration

	mu      sync.Mutex
	started map[string]time.Time // node to when Revert began to start it
}

func newKiller(p Params) *killer {
	return &killer{p: p, obey: 10 * time.Second, linger: 500 * time.Millisecond, look: 20 * time.Millisecond, started: map[string]time.Time{}}
}

// Patience gives a signal that can be caught its time; a server that is asked to
// end first finishes what it does.
func (k *killer) Patience(s state) time.Duration {
	if s.stops() || s.Signal == "KILL" {
		return 0
	}
	return k.obey
}

// Lasting: after a reboot nothing is stopped, but a node that has nobody to start
// it is still down.
func (k *killer) Lasting(s state) bool { return !s.stops() }

// Inject sends the signal.
func (k *killer) Inject(ctx context.Context, n targets.Node, s state) error {
	if s.Mode == Fence {
		f, ok := n.(targets.Fencer)
		if !ok {
			return fmt.Errorf("fencing: %w", targets.ErrUnsupported)
		}
		return f.Fence(ctx)
	}
	ps, err := procs.Of(n)
	if err != nil {
		return err
	}
	if err := send(ctx, ps, s); err != nil || !s.whole() || s.Init && !s.stops() {
		return err
	}
	return k.stragglers(ctx, ps, s)
}

// send opens all processes before it signals the first, so that they are hit at
// one moment and none can take the number of another.
func send(ctx context.Context, ps targets.Processes, s state) (err error) {
	var handles []targets.Handle
	defer func() {
		for _, h := range handles {
			err = errors.Join(err, h.Close())
		}
	}()
	for _, p := range s.Procs {
		h, err := ps.Hold(ctx, p.ProcID)
		if errors.Is(err, targets.ErrGone) && s.whole() {
			continue // of all processes some come and go
		}
		if err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
		handles = append(handles, h)
	}
	if err := ctx.Err(); err != nil {
		return err // nothing was done yet
	}
	for _, h := range handles {
		err := h.Signal(s.Signal.number())
		// The first one's death may have taken the others along.
		if err != nil && !(s.whole() && errors.Is(err, targets.ErrGone)) {
			return fmt.Errorf("sending %v: %w", s.Signal, err)
		}
	}
	return nil
}

// rounds is how often processes are looked for that were forked between the look
// and the signal.
const rounds = 10

// stragglers sends the signal to what was forked meanwhile.
func (k *killer) stragglers(ctx context.Context, ps targets.Processes, s state) error {
	for range rounds {
		all, err := ps.Processes(ctx)
		if err != nil {
			return err
		}
		if len(all) == 0 || all[0].Main && all[0].ProcID != s.Main {
			return nil // the next life of the node, which is not ours to end
		}
		rest := s
		rest.Procs = nil
		for _, p := range all {
			if p.State != "T" && !s.aimsAt(p.ProcID) {
				rest.Procs = append(rest.Procs, procs.Ref{ProcID: p.ProcID, Name: p.Name})
			}
		}
		if len(rest.Procs) == 0 {
			return nil
		}
		if err := send(ctx, ps, rest); err != nil {
			return err
		}
	}
	return nil // Effect says whether some are left
}

// Effect looks for the death of the processes, or that they are stopped.
func (k *killer) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	ps, err := procs.Of(n)
	if err != nil {
		return false, "", err
	}
	if s.stops() {
		return stopped(ctx, ps, s)
	}
	for _, p := range s.Procs {
		dead, err := procs.Dead(ctx, ps, p.ProcID)
		if err != nil {
			return false, "", fmt.Errorf("%v: %w", p, err)
		}
		if !dead {
			return false, fmt.Sprintf("%v lives", p), nil
		}
	}
	if s.whole() && !s.Init {
		all, err := ps.Processes(ctx)
		if err != nil {
			return false, "", err
		}
		if len(all) > 0 && (!all[0].Main || all[0].ProcID == s.Main) {
			return false, fmt.Sprintf("still there: %s", procs.List(all)), nil
		}
	}
	return true, fmt.Sprintf("dead: %s", procs.Names(s.Procs)), nil
}

// stopped looks whether every thread of every process is.
func stopped(ctx context.Context, ps targets.Processes, s state) (bool, string, error) {
	all, err := ps.Processes(ctx)
	if err != nil {
		return false, "", err
	}
	there := map[targets.ProcID]bool{}
	for _, p := range all {
		there[p.ProcID] = true
		if !s.whole() && !s.aimsAt(p.ProcID) {
			continue
		}
		states, err := procs.Threads(p)
		if err != nil {
			return false, "", err
		}
		for _, st := range states {
			if st != 'T' {
				return false, fmt.Sprintf("pid %d (%s) is not stopped: its threads are %q", p.PID, p.Name, states), nil
			}
		}
	}
	for _, p := range s.Procs {
		if !there[p.ProcID] && !s.whole() {
			return false, fmt.Sprintf("%v is gone", p), nil
		}
	}
	if len(all) == 0 {
		return false, "the node has no process", nil
	}
	return true, fmt.Sprintf("every thread is stopped (T): %s", procs.Names(s.Procs)), nil
}
