package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A Node is one member, reached through its keeper's socket. It holds no
// connection: each call asks anew, so a Node outlives restarts of the member,
// and says targets.ErrGone once the keeper is gone.
type Node struct {
	name string
	at   place
}

// A place is where a Node is, as its Spec tells others.
type place struct {
	Socket    string   `json:"socket"` // absolute path of the keeper's socket
	Addresses []string `json:"addresses,omitempty"`
	Env       []string `json:"env,omitempty"`
}

var (
	_ targets.Portable  = (*Node)(nil)
	_ targets.Processes = (*Node)(nil)
	_ targets.Starter   = (*Node)(nil)
	_ targets.Fencer    = (*Node)(nil)
	_ targets.Dialer    = (*Node)(nil)
	_ targets.Addresser = (*Node)(nil)
)

// NodeOf is the member of that name of the keeper at socket.
func NodeOf(socket, name string) *Node { return &Node{name: name, at: place{Socket: socket}} }

// Opener opens nodes of this kind from their Spec. It does not ask the keeper:
// a Node whose keeper is gone says so when it is used.
var Opener = targets.Opener{Kind: Kind, Open: open}

func open(_ context.Context, s targets.Spec) (targets.Node, error) {
	if s.Kind != Kind {
		return nil, fmt.Errorf("opening node %s: its kind is %q, want %q", s.Name, s.Kind, Kind)
	}
	n := &Node{name: s.Name}
	if err := json.Unmarshal(s.Config, &n.at); err != nil {
		return nil, fmt.Errorf("opening node %s: %w", s.Name, err)
	}
	if n.at.Socket == "" {
		return nil, fmt.Errorf("opening node %s: no keeper's socket in its spec", s.Name)
	}
	return n, nil
}

// Name is the member's name.
func (n *Node) Name() string { return n.name }

// Spec is the node as data.
func (n *Node) Spec() targets.Spec {
	config, err := json.Marshal(n.at)
	if err != nil {
		panic("dapple: internal error: strings do not become JSON: " + err.Error())
	}
	return targets.Spec{Kind: Kind, Name: n.name, Config: config}
}

// Exec runs argv on this machine, with the member's environment.
func (n *Node) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("exec on %s: no command", n.name)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), n.at.Env...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			return out.Bytes(), fmt.Errorf("exec %s on %s: %w: %s", argv[0], n.name, err, text)
		}
		return out.Bytes(), fmt.Errorf("exec %s on %s: %w", argv[0], n.name, err)
	}
	return out.Bytes(), nil
}

// State is what the keeper says. A dead member is no error; a dead keeper is
// one that wraps targets.ErrGone.
func (n *Node) State(ctx context.Context) (targets.State, error) { return n.ask(ctx, "state") }

// Start starts the member if it does not run, as it was started first.
func (n *Node) Start(ctx context.Context) error {
	_, err := n.ask(ctx, "start")
	return err
}

// Fence kills the member and what it started. The keeper's policy is "no", so
// it stays down until Start.
func (n *Node) Fence(ctx context.Context) error {
	_, err := n.ask(ctx, "stop")
	return err
}

func (n *Node) ask(ctx context.Context, what string) (targets.State, error) {
	r, err := ask(ctx, n.at.Socket, request{Do: what, Name: n.name})
	return r.State, err
}

// Processes lists the member and what it started.
func (n *Node) Processes(ctx context.Context) ([]targets.Proc, error) {
	s, err := n.State(ctx)
	if err != nil || !s.Running {
		return nil, err
	}
	return inSession(s.Main)
}

// Hold opens a process of the member; see targets.Processes.
func (n *Node) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return kernel.Hold(ctx, id)
}

// DialContext dials from this machine: the member has no network of its own.
func (n *Node) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// Addresses are the member's declared ones.
func (n *Node) Addresses(context.Context) ([]string, error) { return slices.Clone(n.at.Addresses), nil }
