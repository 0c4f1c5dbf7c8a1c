// Package netns makes nodes of network namespaces: a small network of its own on
// a laptop or in CI, without Docker, and without root where the process is in a
// user namespace of its own.
//
// A Lab is some namespaces, each with one link to a bridge in a namespace that
// nobody else sees, so that not a byte of this machine's own network is touched.
// The namespaces have no names: they are held by descriptors of the process that
// made them, and the kernel removes them, their links and what is in them when
// that process dies. Other processes of the same user (an agent) reach them
// through it.
//
// A node is a network, and a process that may run in it. It has no file system,
// process table or clock of its own: a fault of those does not belong here.
//
// A lab can be a whole cluster's, without root and without its user being in any
// namespace: Start starts a keeper (package process) that is root of a user
// namespace of its own. It holds the lab, starts each member in the member's
// network, and gives it a small disk of its own, in memory. Who is outside may not
// enter: it asks the keeper, at its socket, for sockets made inside and for
// programs to be run there, such as an agent.
package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// Kind is the Kind of a namespace node's Spec.
const Kind = "netns"

// A place is where a node's namespace is, as its Spec tells others: a descriptor
// of the process that made it.
type place struct {
	Maker     targets.ProcID `json:"maker"`
	FD        int            `json:"fd"`
	ID        kernel.NetNS   `json:"id"` // the descriptor's number may have been used again
	Addresses []string       `json:"addresses"`
	Main      bool           `json:"main,omitempty"` // it has a main process
	// Keeper is the socket of the keeper whose member it is, if it is one's.
	Keeper string `json:"keeper,omitempty"`
}

// path is good as long as the maker lives, and from its user's processes.
func (p place) path() string { return fmt.Sprintf("/proc/%d/fd/%d", p.Maker.PID, p.FD) }

// check makes sure that the path still names the namespace.
func (p place) check() error {
	id, err := kernel.Identity(p.Maker.PID)
	if err != nil {
		return fmt.Errorf("the process that made its namespace: %w", err)
	}
	if id != p.Maker {
		return fmt.Errorf("the process that made its namespace, %v: %w", p.Maker, targets.ErrGone)
	}
	n, err := kernel.NetNSOf(p.path())
	if err != nil {
		return err
	}
	if !n.Is(p.ID) {
		return fmt.Errorf("its namespace, %v: %w", p.ID, targets.ErrGone)
	}
	return nil
}

// Opener opens nodes again from their Specs, as long as the process that made
// them lives.
func Opener() targets.Opener { return targets.Opener{Kind: Kind, Open: open} }

func open(_ context.Context, s targets.Spec) (targets.Node, error) {
	if s.Kind != Kind {
		return nil, fmt.Errorf("opening node %s: its kind is %q, want %q", s.Name, s.Kind, Kind)
	}
	n := &Node{name: s.Name}
	if err := json.Unmarshal(s.Config, &n.at); err != nil {
		return nil, fmt.Errorf("opening node %s: its spec: %w", s.Name, err)
	}
	if n.at.Maker.PID <= 0 || n.at.ID.Inode == 0 {
		return nil, fmt.Errorf("opening node %s: its spec names no namespace", s.Name)
	}
	if err := n.at.check(); err != nil && !errors.Is(err, targets.ErrUnsupported) {
		return nil, fmt.Errorf("opening node %s: %w", s.Name, err)
	}
	return n, nil
}

// A Node is one namespace. Its methods may be called from many goroutines, and
// from any process of the user that made it.
type Node struct {
	name string
	at   place
}

// Name is the node's name.
func (n *Node) Name() string { return n.name }

// Spec is the node as data.
func (n *Node) Spec() targets.Spec {
	config, err := json.Marshal(n.at)
	if err != nil {
		panic("dapple: internal error: a namespace node's spec: " + err.Error()) // numbers and strings
	}
	return targets.Spec{Kind: Kind, Name: n.name, Config: config}
}
