// Package targets names the machines that a drill may touch, and what each of
// them is able to let a drill do.
//
// A Node is the place where a fault lands and from whose inside a probe may
// look. Everything that dapple does to a machine goes through its Node, so that
// a fake, a container, a child process and a server differ in nothing but their
// Node. What more a node can do than its name says is an optional interface,
// asserted in one place each.
//
// The package does not know what a fault, a probe or a scenario is, and it holds
// no code that touches a machine: that is in the folders below it.
package targets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

var (
	// ErrGone is wrapped when a node, or a process of it, is not there any more:
	// a container that was removed, a pid whose start time is another.
	ErrGone = errors.New("not there any more")

	// ErrUnsupported is wrapped when this kind of node cannot do what was asked.
	ErrUnsupported = errors.New("not supported here")
)

// A Node is one member of the system under drill.
type Node interface {
	// Name is unique in the drill and survives a restart of the node.
	Name() string

	// Exec runs argv on the node and returns its standard output. An exit code
	// other than 0 is an error that holds what the command wrote to stderr.
	Exec(ctx context.Context, argv ...string) ([]byte, error)
}

// A Spec is a Node as data: enough for another process of this program (the
// agent, a later "dapple revert") to open the same node again.
type Spec struct {
	Kind   string          `json:"kind"` // the folder below targets: docker, process, …
	Name   string          `json:"name"` // Node.Name
	Config json.RawMessage `json:"config,omitempty"`
}

// Portable is a Node that can be opened again elsewhere from its Spec.
type Portable interface {
	Node
	Spec() Spec
}

// An Opener opens the nodes of one Kind of Spec.
type Opener struct {
	Kind string
	Open func(ctx context.Context, s Spec) (Node, error)
}

// A ProcID is the identity of a process on the machine that runs it, in the pid
// namespace of whoever asks. The start time makes it unmistakable after the
// kernel has used the number again (proc(5), field starttime).
type ProcID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
}

func (p ProcID) String() string { return fmt.Sprintf("pid %d", p.PID) }

// A Proc is one process of a node.
type Proc struct {
	ProcID
	Parent int      `json:"parent"`         // pid, in the same namespace as PID
	Name   string   `json:"name"`           // proc(5) comm: at most 15 bytes
	Args   []string `json:"args,omitempty"` // its command line
	State  string   `json:"state"`          // one letter of proc(5): R, S, D, T, Z …
	Main   bool     `json:"main,omitempty"` // pid 1 of a container, the child itself of a process node
}

// Processes is a Node whose processes can be seen and held from outside.
//
// Exec cannot stand in for it: in a container pid 1 ignores SIGKILL and SIGSTOP
// that are sent from within its own pid namespace (pid_namespaces(7)).
type Processes interface {
	// Processes lists the live processes of the node, the main one first. A
	// node that is not running has none: that is no error.
	Processes(ctx context.Context) ([]Proc, error)

	// Hold opens the process and then checks that it still is who it was, so
	// that no signal can reach a stranger. The error wraps ErrGone if it is not.
	Hold(ctx context.Context, id ProcID) (Handle, error)
}

// A Handle holds one process by a descriptor (pidfd_open(2)): what it names
// never becomes another process.
type Handle interface {
	Signal(sig syscall.Signal) error
	// Exited returns nil once the process is dead, or the error of ctx.
	Exited(ctx context.Context) error
	Close() error
}

// A State is what the engine of a node (Docker, a keeper of child processes)
// says about the node as a whole.
type State struct {
	Running  bool      `json:"running"`
	Main     ProcID    `json:"main"`              // zero if not running
	Restarts int       `json:"restarts"`          // by the engine's own policy, since the node was made
	Policy   string    `json:"policy"`            // the engine's restart policy; "no" if it restarts nothing
	Started  time.Time `json:"started,omitzero"`  // by the engine's clock: evidence, not a ruler
	Finished time.Time `json:"finished,omitzero"` // likewise
	Detail   string    `json:"detail,omitempty"`  // in the engine's own words
}

// Starter is a Node that can be started again after it died.
type Starter interface {
	State(ctx context.Context) (State, error)
	// Start starts the node if it is not running. It returns once the engine
	// says that it runs, which is before its service answers.
	Start(ctx context.Context) error
}

// ByHand is a Starter that knows the shell command by which a person would start
// it: "docker start pg1". It is printed where dapple could not do it itself.
type ByHand interface {
	StartCommand() string
}

// Fencer is a Node that its engine can put down so that the engine's restart
// policy does not bring it back.
type Fencer interface {
	Fence(ctx context.Context) error
}

// Dialer is a Node from whose inside (its network namespace) a connection can
// be made. The address is "ip:port"; names are not resolved.
type Dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// Addresser is a Node that knows its own addresses, in the order in which a
// peer would use them. No port.
type Addresser interface {
	Addresses(ctx context.Context) ([]string, error)
}

// NetNS is a Node whose network namespace can be entered from this machine.
type NetNS interface {
	NetNS(ctx context.Context) (path string, err error)
}
