// Package command is the fault "command": what the operator's own commands make
// and take back: a STONITH device, a power switch, the command line of a cloud.
//
// The commands are lists of words, run without a shell on the machine that holds
// the fault. There are three, and all are mandatory: one makes the fault, one
// takes it back, and one looks whether it holds. What the look says is the proof;
// the exit code of the command that made it proves nothing. A command that takes
// too long is killed with all that it started.
//
// Held by: layer 3 (guard), layer 4 (journal). Nothing in the kernel ends what
// somebody's device did.
//
// The package runs nothing unless it is allowed to (injectors.Aim.Commands), and
// never with a shell. It cannot know what the commands really do: that the undo
// undoes, from any state and twice, is a promise of their author.
package command

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "command"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:     kind,
		Summary:  "your own commands make, take back and prove the fault; only with --allow-commands",
		Layers:   "3 guard, 4 journal",
		Commands: true,
		Params:   &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			p := defaults()
			if err := decode(&p); err != nil {
				return nil, err
			}
			if err := p.check(); err != nil {
				return nil, err
			}
			return injectors.Of(kind, newCommander(p)), nil
		},
		Excludes: func(string) string { return "" },
		Reopen:   func() injectors.Injector { return injectors.Of(kind, newCommander(Params{})) },
	}
}

// state is all that is needed to run each of the three commands again, elsewhere
// and later.
type state struct {
	ID        string        `json:"id"` // of this fault; its processes are found by it
	Node      string        `json:"node"`
	Addresses []string      `json:"addresses,omitempty"`
	Drill     string        `json:"drill,omitempty"`
	Inject    []string      `json:"inject"` // the program with its whole path
	Revert    []string      `json:"revert"`
	Check     []string      `json:"check"`
	Absent    int           `json:"absent"`        // the exit code by which check says that the effect does not hold
	Env       []string      `json:"env,omitempty"` // names alone, never values
	Dir       string        `json:"dir"`
	Timeout   time.Duration `json:"timeout_ns"`
	Every     time.Duration `json:"every_ns"`
}

// The verbs, as a command is told of them in DAPPLE_VERB.
const (
	verbInject = "inject"
	verbRevert = "revert"
	verbCheck  = "check"
)

// A result is what a command that ended by itself said.
type result struct {
	exit int
	out  string // the end of what it wrote, without secrets
}

// A place is where commands run. This machine is the product's; tests of the
// injector's logic have another.
type place interface {
	// program finds a program, and says why it must not be run.
	program(name string) (path string, err error)
	// run runs one command to its end. An exit code is no error; a command that
	// could not be started, was killed, or did not end within the limit is.
	run(ctx context.Context, n targets.Node, s state, verb string, argv []string, limit time.Duration) (result, error)
	// sweep ends what commands of this fault that make it have left running, so
	// that none of them makes it after it was taken back.
	sweep(ctx context.Context, n targets.Node, s state) error
}

// A commander is an injectors.Typed[state]. One and the same is used for all
// verbs on a fault by the agent that holds it.
type commander struct {
	p     Params
	place place

	mu     sync.Mutex
	looked time.Time // when the last check began
	undone time.Time // when the last revert that succeeded ended
}

func newCommander(p Params) *commander { return &commander{p: p, place: machine{}} }

// Inject runs the command that makes the fault.
func (x *commander) Inject(ctx context.Context, n targets.Node, s state) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return x.do(ctx, n, s, verbInject, s.Inject)
}

// do runs a command that has to succeed.
func (x *commander) do(ctx context.Context, n targets.Node, s state, verb string, argv []string) error {
	r, err := x.place.run(ctx, n, s, verb, argv, s.Timeout)
	if err != nil {
		return err
	}
	if r.exit != 0 {
		return fmt.Errorf("the %s command %s: exit code %d%s", verb, quoted(argv), r.exit, said(r))
	}
	return nil
}

// checkWithin bounds one look. It is less than the lease, within which a fault
// that is held must have been seen (agent.Lease).
const checkWithin = 4 * time.Second

// Effect runs the command that looks. Looks are apart from each other by what was
// asked for: a device or a cloud may not like to be asked a hundred times a
// second.
func (x *commander) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	if err := x.pace(ctx, s.Every); err != nil {
		return false, "", err
	}
	r, err := x.place.run(ctx, n, s, verbCheck, s.Check, min(s.Timeout, checkWithin))
	if err != nil {
		return false, "", err
	}
	switch proof = fmt.Sprintf("%s: exit code %d%s", quoted(s.Check), r.exit, said(r)); r.exit {
	case 0:
		return true, proof, nil
	case s.Absent:
		return false, proof, nil
	}
	return false, "", fmt.Errorf("the check command says neither that the effect holds (exit code 0) nor that it does not (%d): %s", s.Absent, proof)
}

// pace waits until the last look is long enough ago.
func (x *commander) pace(ctx context.Context, every time.Duration) error {
	x.mu.Lock()
	next := x.looked.Add(every)
	x.mu.Unlock()
	if err := wait(ctx, time.Until(next)); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.looked = time.Now()
	return nil
}

// Revert ends what still makes the fault and runs the command that takes it back.
// It runs also where no effect is seen: a device may act late. What was just taken
// back is not again within the time-out, for what was asked for takes its time.
func (x *commander) Revert(ctx context.Context, n targets.Node, s state) error {
	x.mu.Lock()
	undone := x.undone
	x.mu.Unlock()
	if !undone.IsZero() && time.Since(undone) < s.Timeout {
		return nil
	}
	if err := x.place.sweep(ctx, n, s); err != nil {
		return err
	}
	if err := x.do(ctx, n, s, verbRevert, s.Revert); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.undone = time.Now()
	return nil
}

// Lasting: what a device did outlives a reboot of the machine that asked it to.
func (x *commander) Lasting(state) bool { return true }

// Patience is for the command that makes the fault, and once more until it shows.
func (x *commander) Patience(s state) time.Duration { return 2 * s.Timeout }

// wait waits for d, or returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// said is what a command wrote, for the end of a sentence.
func said(r result) string {
	if r.out == "" {
		return ""
	}
	return ": " + r.out
}

var errNotAllowed = errors.New("it runs commands that the scenario names, and that was not allowed")
