// Package ssh is the target "ssh": services of machines that are reached by ssh,
// with this same program over there as the agent.
//
// The ssh command of the operator is used, so that his own configuration says how
// a machine is reached: users, ports, keys, agents, hardware tokens, jump hosts,
// known hosts. What is never left to it: host keys are checked, nothing is asked,
// nothing is forwarded.
//
// A Line is one connection to one machine. All that is run there goes over it:
// what looks at the machine, the copying of the program (by its content, once),
// agents, and a Relay for connections from inside of nodes. When the connection
// ends, however, everything that was run over it sees its stdin end.
//
// A node is what package host makes of the same words on that machine. The package
// knows no fault: what an agent does is its own affair. It opens no port on either
// side and changes no configuration of ssh's.
package ssh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/dapple-drills/dapple/targets"
)

// Kind is the Kind of an ssh node's Spec.
const Kind = "ssh"

// A Place is a Spec of this kind in words: the machine, and the node as an agent
// there opens it.
type Place struct {
	Host string       `json:"host"`
	Node targets.Spec `json:"node"`
}

// Read is what a Spec of this kind says.
func Read(s targets.Spec) (p Place, err error) {
	if s.Kind != Kind {
		return p, fmt.Errorf("opening node %s: its kind is %q, want %q", s.Name, s.Kind, Kind)
	}
	if err := json.Unmarshal(s.Config, &p); err != nil {
		return p, fmt.Errorf("opening node %s: its spec: %w", s.Name, err)
	}
	return p, nil
}

// A Machine is what a node asks of the machine that it is on.
type Machine interface {
	// Exec runs argv there and returns its standard output.
	Exec(ctx context.Context, argv ...string) ([]byte, error)
	// See is the node's engine and its processes; no state where it has none.
	See(ctx context.Context, node targets.Spec) (*targets.State, []targets.Proc, error)
	// Dial connects from where the node is.
	Dial(ctx context.Context, node targets.Spec, network, addr string) (net.Conn, error)
}

// New makes a node of one that is opened over there: there is only asked for its
// name, its data and its addresses, and for what more it can do.
func New(host string, m Machine, there targets.Portable) targets.Portable {
	n := Node{host: host, machine: m, there: there}
	if _, ok := there.(targets.Processes); !ok {
		return &n
	}
	if _, ok := there.(targets.Starter); !ok {
		return &Service{n}
	}
	return &Unit{Service{n}}
}

// A Node is an address on another machine.
type Node struct {
	host    string
	machine Machine
	there   targets.Portable
}

// A Service is a Node whose processes can be seen.
type Service struct{ Node }

// A Unit is a Service that can be started again.
type Unit struct{ Service }

var (
	_ targets.Portable  = (*Node)(nil)
	_ targets.Addresser = (*Node)(nil)
	_ targets.Processes = (*Service)(nil)
	_ targets.Dialer    = (*Service)(nil)
	_ targets.Starter   = (*Unit)(nil)
	_ targets.ByHand    = (*Unit)(nil)
)

// Host is the machine, as ssh knows it.
func (n *Node) Host() string { return n.host }

// There is the node as an agent on its machine opens it.
func (n *Node) There() targets.Portable { return n.there }

// Name is the node's name.
func (n *Node) Name() string { return n.there.Name() }

// Spec is the node as data.
func (n *Node) Spec() targets.Spec {
	config, err := json.Marshal(Place{n.host, n.there.Spec()})
	if err != nil {
		panic("dapple: internal error: an ssh node's spec: " + err.Error()) // strings
	}
	return targets.Spec{Kind: Kind, Name: n.Name(), Config: config}
}

// Exec runs argv on the machine.
func (n *Node) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("exec on %s: no command", n.Name())
	}
	out, err := n.machine.Exec(ctx, argv...)
	if err != nil {
		return out, fmt.Errorf("exec %s on %s: %w", strings.Join(argv, " "), n.Name(), err)
	}
	return out, nil
}

// Addresses are those of the system file, resolved on this machine.
func (n *Node) Addresses(ctx context.Context) ([]string, error) {
	a, ok := n.there.(targets.Addresser)
	if !ok {
		return nil, fmt.Errorf("node %s: it has no address: %w", n.Name(), targets.ErrUnsupported)
	}
	return a.Addresses(ctx)
}

// Processes lists the processes of the node, by their numbers over there.
func (n *Service) Processes(ctx context.Context) ([]targets.Proc, error) {
	_, procs, err := n.machine.See(ctx, n.there.Spec())
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name(), err)
	}
	return procs, nil
}

// Hold cannot be done from here: an agent over there does.
func (n *Service) Hold(context.Context, targets.ProcID) (targets.Handle, error) {
	return nil, fmt.Errorf("node %s: its processes are on %s, and held by an agent there: %w", n.Name(), n.host, targets.ErrUnsupported)
}

// DialContext connects from where the service is.
func (n *Service) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.machine.Dial(ctx, n.there.Spec(), network, addr)
}

// State is what its engine over there says.
func (n *Unit) State(ctx context.Context) (targets.State, error) {
	s, _, err := n.machine.See(ctx, n.there.Spec())
	if err == nil && s == nil {
		err = errors.New("its engine says nothing")
	}
	if err != nil {
		return targets.State{}, fmt.Errorf("node %s: %w", n.Name(), err)
	}
	return *s, nil
}

// Start cannot be done from here: an agent over there does.
func (n *Unit) Start(context.Context) error {
	return fmt.Errorf("node %s: it is started by an agent on %s: %w", n.Name(), n.host, targets.ErrUnsupported)
}

// StartCommand is how a person starts it.
func (n *Unit) StartCommand() string {
	if b, ok := n.there.(targets.ByHand); ok {
		return "on " + n.host + ": " + b.StartCommand()
	}
	return "dapple revert --on SYSTEM"
}
