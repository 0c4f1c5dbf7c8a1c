package selftest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// A node of a world, for whoever holds the fault: its Spec leads another process
// to the control plane.
type node struct{ name, plane string }

func (n node) Name() string { return n.name }

// Exec has nothing to run anything on.
func (n node) Exec(context.Context, ...string) ([]byte, error) {
	return nil, fmt.Errorf("run a command on scripted node %s: %w", n.name, targets.ErrUnsupported)
}

// Spec is the node as data.
func (n node) Spec() targets.Spec {
	config, err := json.Marshal(n.plane)
	if err != nil {
		panic("dapple: internal error: " + err.Error()) // a string always marshals
	}
	return targets.Spec{Kind: kind.Name, Name: n.name, Config: config}
}

// opener opens a node in another process.
func opener() targets.Opener {
	return targets.Opener{Kind: kind.Name, Open: func(_ context.Context, s targets.Spec) (targets.Node, error) {
		n := node{name: s.Name}
		if err := json.Unmarshal(s.Config, &n.plane); err != nil {
			return nil, fmt.Errorf("open scripted node %s: %w", s.Name, err)
		}
		return n, nil
	}}
}

// script is the one fault of a world: its script begins.
func script() injectors.Kind {
	return injectors.Kind{
		Name: kind.Name, Summary: "the script of an in-process system begins", Layers: "none is needed: it ends with the process",
		New:      func(func(any) error) (injectors.Injector, error) { return injectors.Of(kind.Name, scripted{}), nil },
		Excludes: func(string) string { return "" },
		Reopen:   func() injectors.Injector { return injectors.Of(kind.Name, scripted{}) },
	}
}

// scripted is an injectors.Typed[state].
type scripted struct{}

// state is empty: the node knows the way.
type state struct{}

// Plan makes one fault per node.
func (scripted) Plan(_ context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	var steps []injectors.Step[state]
	for _, n := range aim.On {
		steps = append(steps, injectors.Step[state]{Node: n, Does: "begin the script", Undo: "true # it ends with the process"})
	}
	return steps, nil
}

// Inject begins the script.
func (scripted) Inject(ctx context.Context, n targets.Node, _ state) error {
	answer, err := command(ctx, n, askBreak)
	if err == nil && answer != saidOK {
		err = errors.New("the scripted system said " + answer)
	}
	return err
}

// Effect asks whether it has begun.
func (scripted) Effect(ctx context.Context, n targets.Node, _ state) (held bool, proof string, err error) {
	answer, err := command(ctx, n, askBroken)
	return answer == saidYes, "broken: " + answer, err
}

// Revert ends the fault. A world that is gone has nothing to revert.
func (scripted) Revert(ctx context.Context, n targets.Node, _ state) error {
	_, err := command(ctx, n, askMend)
	if errors.Is(err, errNobody) {
		return nil
	}
	return err
}

// errNobody: the process of the world has ended, and its fault with it.
var errNobody = errors.New("nobody answers for the scripted system")

// command asks the control plane of a node's world.
func command(ctx context.Context, n targets.Node, word string) (answer string, err error) {
	at, ok := n.(node)
	if !ok {
		return "", fmt.Errorf("node %s is not scripted: %w", n.Name(), targets.ErrUnsupported)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", at.plane)
	if err != nil {
		return "", errors.Join(errNobody, err)
	}
	defer reset(c)
	defer context.AfterFunc(ctx, func() { reset(c) })()
	if _, err := c.Write([]byte(word + "\n")); err != nil {
		return "", err
	}
	answer, err = bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(answer), err
}
