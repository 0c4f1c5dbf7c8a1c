// Package faketarget is a node that exists in memory alone, for laws and unit
// tests: it has processes that can be killed and stopped, an engine that can
// start it again, and a connection that can be cut or hang after any operation.
//
// What it does is what the real targets were seen to do (main dies: all die; a
// supervisor brings back what it supervises). It proves nothing about them:
// every law that holds here is also tried on real processes.
package faketarget

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/dapple-drills/dapple/targets"
)

// Kind is the kind of a fake node's Spec.
const Kind = "fake"

// ErrCut is what every operation returns once a Node has been cut off.
var ErrCut = errors.New("connection lost")

// A Node is a pretend machine. Its methods may be called from many goroutines.
type Node struct {
	name string
	tree []targets.Proc // as it is started

	mu        sync.Mutex
	procs     []targets.Proc
	next      int // pid
	clock     uint64
	running   bool
	restarts  int
	policy    string
	files     map[string]string
	supervise map[string]bool // names that come back when killed
	ignore    map[string]bool // names that ignore everything but SIGKILL and SIGSTOP
	protected bool
	ops       int
	changes   int
	cut, hang int // operations until then; -1 is never
	hung      chan struct{}
	dead      chan struct{} // closed and made anew whenever a process dies
}

// New makes a running node whose main process is the first of tree. The pids of
// tree matter only as each other's parents.
func New(name string, tree ...targets.Proc) *Node {
	n := &Node{
		name: name, tree: slices.Clone(tree), next: 5_000_001, // above any pid of a real machine: pid_max is at most 2^22 (proc(5))
		policy: "no", cut: -1, hang: -1, clock: 1000,
		files: map[string]string{}, supervise: map[string]bool{}, ignore: map[string]bool{},
		hung: make(chan struct{}, 1), dead: make(chan struct{}),
	}
	n.boot()
	return n
}

// Patroni makes a node as a Patroni container shows it: a reaper of the same
// name as its child, and a PostgreSQL with two processes.
func Patroni(name string) *Node {
	n := New(name,
		targets.Proc{ProcID: targets.ProcID{PID: 1}, Name: "patroni", Args: []string{"/usr/bin/python3", "/usr/bin/patroni", "/etc/patroni.yml"}},
		targets.Proc{ProcID: targets.ProcID{PID: 2}, Parent: 1, Name: "patroni", Args: []string{"/usr/bin/python3", "/usr/bin/patroni", "/etc/patroni.yml"}},
		targets.Proc{ProcID: targets.ProcID{PID: 3}, Parent: 2, Name: "postgres", Args: []string{"/usr/lib/postgresql/17/bin/postgres", "-D", "/data"}},
		targets.Proc{ProcID: targets.ProcID{PID: 4}, Parent: 3, Name: "postgres", Args: []string{"postgres: checkpointer"}},
		targets.Proc{ProcID: targets.ProcID{PID: 5}, Parent: 3, Name: "postgres", Args: []string{"postgres: walwriter"}},
		targets.Proc{ProcID: targets.ProcID{PID: 6}, Parent: 1, Name: "relay"},
	)
	n.supervise["postgres"], n.supervise["patroni"], n.supervise["relay"] = true, true, true
	return n
}

// boot makes the processes of tree with new identities.
func (n *Node) boot() {
	n.procs, n.running = nil, true
	ids := map[int]int{}
	for i, p := range n.tree {
		ids[p.PID] = n.next
		n.spawn(p, ids[p.Parent], i == 0)
	}
}

func (n *Node) spawn(p targets.Proc, parent int, main bool) {
	n.clock++
	p.ProcID = targets.ProcID{PID: n.next, Start: n.clock}
	p.Parent, p.Main, p.State = parent, main, cmp.Or(p.State, "S")
	n.next++
	n.procs = append(n.procs, p)
}

// Policy sets the engine's restart policy. Any but "no" starts a node at once
// whose main process died by itself.
func (n *Node) Policy(p string) { n.policy = p }

// Ignore makes processes of that name ignore all signals that can be ignored.
func (n *Node) Ignore(name string) { n.ignore[name] = true }

// Protect makes every signal a matter of permission that we do not have.
func (n *Node) Protect() { n.protected = true }

// CutAfter lets the next k operations through and fails those after them with
// ErrCut.
func (n *Node) CutAfter(k int) { n.limit(k, -1) }

// HangAfter lets the next k operations through; those after them do not return
// before their context ends. Hung tells when the first does.
func (n *Node) HangAfter(k int) { n.limit(-1, k) }

// Reconnect ends a cut or a hang, and forgets the count.
func (n *Node) Reconnect() { n.limit(-1, -1) }

func (n *Node) limit(cut, hang int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ops, n.cut, n.hang = 0, cut, hang
}

// Hung has a value once an operation hangs.
func (n *Node) Hung() <-chan struct{} { return n.hung }

// Ops is how many operations there were since the count was forgotten.
func (n *Node) Ops() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ops
}

// Changes is how often the node was changed by anyone.
func (n *Node) Changes() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changes
}

// Snapshot is the node as a user sees it: a process that was restarted is the
// same one.
func (n *Node) Snapshot() Snapshot {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Snapshot{Running: n.running, Files: maps.Clone(n.files)}
	for _, p := range n.procs {
		s.Procs = append(s.Procs, fmt.Sprintf("%s %s %v", p.Name, p.State, p.Args))
	}
	slices.Sort(s.Procs)
	return s
}

// A Snapshot can be compared with another by package cmp.
type Snapshot struct {
	Running bool
	Procs   []string
	Files   map[string]string
}

// op counts one operation on the node, which a cut fails and a hang delays.
func (n *Node) op(ctx context.Context) error {
	n.mu.Lock()
	n.ops++
	cut, hang := n.cut >= 0 && n.ops > n.cut, n.hang >= 0 && n.ops > n.hang
	n.mu.Unlock()
	switch {
	case cut:
		return ErrCut
	case hang:
		select {
		case n.hung <- struct{}{}:
		default:
		}
		<-ctx.Done()
	}
	return ctx.Err()
}

// Name is the node's name.
func (n *Node) Name() string { return n.name }

// Spec is the node as data; Opener finds it again.
func (n *Node) Spec() targets.Spec {
	return targets.Spec{Kind: Kind, Name: n.name, Config: json.RawMessage("{}")}
}

// Opener opens the given nodes by their names.
func Opener(nodes ...*Node) targets.Opener {
	return targets.Opener{Kind: Kind, Open: func(_ context.Context, s targets.Spec) (targets.Node, error) {
		for _, n := range nodes {
			if n.name == s.Name {
				return n, nil
			}
		}
		return nil, fmt.Errorf("fake node %s: %w", s.Name, targets.ErrGone)
	}}
}
