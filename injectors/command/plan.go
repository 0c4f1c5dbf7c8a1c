package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/targets"
)

// Plan finds the programs, and has the check command say that the effect does not
// hold yet: one that says so without a fault would prove nothing with it.
func (x *commander) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if !aim.Commands {
		return nil, diag.Hint(errNotAllowed, "read the scenario, and add --allow-commands if you want what it says")
	}
	if len(aim.On) == 0 {
		return nil, errors.New("it is aimed at no node")
	}
	var steps []injectors.Step[state]
	for _, n := range aim.On {
		s, err := x.plan(ctx, aim, n)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n.Name(), err)
		}
		steps = append(steps, injectors.Step[state]{Node: n, Does: does(s), Undo: undo(s), State: s})
	}
	return steps, nil
}

func (x *commander) plan(ctx context.Context, aim injectors.Aim, n targets.Node) (state, error) {
	if _, ok := n.(targets.Portable); !ok {
		return state{}, fmt.Errorf("nobody else could take it back: the node cannot be opened again by an agent: %w", targets.ErrUnsupported)
	}
	dir, err := os.Getwd()
	if err != nil {
		return state{}, fmt.Errorf("finding the directory in which the commands are to run: %w", err)
	}
	s := state{
		ID: rand.Text(), Node: n.Name(), Drill: aim.Drill, Absent: x.p.Absent, Env: slices.Clone(x.p.Env), Dir: dir,
		Timeout: x.p.Timeout, Every: x.p.Every,
	}
	if a, ok := n.(targets.Addresser); ok {
		if s.Addresses, err = a.Addresses(ctx); err != nil {
			return state{}, fmt.Errorf("asking for its addresses: %w", err)
		}
	}
	for _, c := range []struct {
		name string
		argv []string
		into *[]string
	}{{verbInject, x.p.Inject, &s.Inject}, {verbRevert, x.p.Revert, &s.Revert}, {verbCheck, x.p.Check, &s.Check}} {
		if *c.into, err = x.expand(c.argv, s); err != nil {
			return state{}, fmt.Errorf("the %s command: %w", c.name, err)
		}
	}
	return s, x.notYet(ctx, n, s)
}

// expand finds the program and replaces what stands for the node.
func (x *commander) expand(argv []string, s state) ([]string, error) {
	program, err := x.place.program(argv[0])
	if err != nil {
		return nil, err
	}
	out := []string{program}
	for _, w := range argv[1:] {
		if strings.Contains(w, "{address}") && len(s.Addresses) == 0 {
			return nil, fmt.Errorf("it wants {address}, and the node has none that dapple knows: %w", targets.ErrUnsupported)
		}
		for what, is := range map[string]string{"{node}": s.Node, "{address}": s.address()} {
			if strings.HasPrefix(w, what) && strings.HasPrefix(is, "-") {
				return nil, fmt.Errorf("%s is %q, which the command would take for an option", what, is)
			}
			w = strings.ReplaceAll(w, what, is)
		}
		for _, name := range s.Env {
			if v := os.Getenv(name); len(v) >= minSecret && strings.Contains(w, v) {
				return nil, fmt.Errorf("one of its words holds the value of %s, and would be recorded: have the command read it from its environment", name)
			}
		}
		out = append(out, w)
	}
	return out, nil
}

// notYet runs the check command: it must say that the effect does not hold.
func (x *commander) notYet(ctx context.Context, n targets.Node, s state) error {
	held, proof, err := x.Effect(ctx, n, s)
	switch {
	case err != nil:
		return fmt.Errorf("trying the check command: %w", err)
	case held:
		return diag.Hint(fmt.Errorf("the check command says that the effect holds before anything was made (%s)", proof),
			"take it back with "+undo(s)+", or mend the check command")
	}
	return nil
}

func (s state) address() string {
	if len(s.Addresses) == 0 {
		return ""
	}
	return s.Addresses[0]
}

func does(s state) string {
	return fmt.Sprintf("runs your %s, as long as %s exits 0; then %s", quoted(s.Inject), quoted(s.Check), quoted(s.Revert))
}

// undo is what a person would type. Words of a record are words of the operator's
// own file.
func undo(s state) string {
	words := append(s.variables(verbRevert), s.Revert...)
	return "cd " + quoted([]string{s.Dir}) + " && env " + quoted(words)
}

// variables are what a command is told, as NAME=VALUE.
func (s state) variables(verb string) []string {
	return []string{
		"DAPPLE_NODE=" + s.Node, "DAPPLE_ADDRESS=" + s.address(), "DAPPLE_ADDRESSES=" + strings.Join(s.Addresses, ","),
		"DAPPLE_DRILL=" + s.Drill, "DAPPLE_FAULT=" + s.ID, "DAPPLE_VERB=" + verb,
	}
}
