package faketarget

import (
	"context"
	"fmt"
	"slices"
	"syscall"

	"github.com/dapple-drills/dapple/targets"
)

var (
	_ targets.Portable  = (*Node)(nil)
	_ targets.Processes = (*Node)(nil)
	_ targets.Starter   = (*Node)(nil)
	_ targets.Fencer    = (*Node)(nil)
	_ targets.ByHand    = (*Node)(nil)
)

// Exec knows three commands on files: "write NAME TEXT", "remove NAME" and "read
// NAME".
func (n *Node) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	if err := n.op(ctx); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case len(argv) == 3 && argv[0] == "write":
		n.files[argv[1]] = argv[2]
		n.changes++
		return nil, nil
	case len(argv) == 2 && argv[0] == "remove":
		delete(n.files, argv[1])
		n.changes++
		return nil, nil
	case len(argv) == 2 && argv[0] == "read":
		text, there := n.files[argv[1]]
		if !there {
			return nil, fmt.Errorf("read %s: no such file", argv[1])
		}
		return []byte(text), nil
	}
	return nil, fmt.Errorf("%q: no such command", argv)
}

// Processes lists the live processes, the main one first.
func (n *Node) Processes(ctx context.Context) ([]targets.Proc, error) {
	if err := n.op(ctx); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.procs), nil
}

// Hold opens a process, if it still is who it was.
func (n *Node) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	if err := n.op(ctx); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.find(id) < 0 {
		return nil, fmt.Errorf("holding %v: %w", id, targets.ErrGone)
	}
	return &handle{n, id}, nil
}

func (n *Node) find(id targets.ProcID) int {
	return slices.IndexFunc(n.procs, func(p targets.Proc) bool { return p.ProcID == id })
}

type handle struct {
	n  *Node
	id targets.ProcID
}

func (h *handle) Close() error { return nil }

func (h *handle) Signal(sig syscall.Signal) error {
	n := h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ops++
	if n.cut >= 0 && n.ops > n.cut || n.hang >= 0 && n.ops > n.hang {
		return ErrCut
	}
	i := n.find(h.id)
	switch {
	case i < 0:
		return fmt.Errorf("signalling %v: %w", h.id, targets.ErrGone)
	case n.protected:
		return fmt.Errorf("signalling %v: %w", h.id, syscall.EPERM)
	case sig == 0:
		return nil
	case sig == 19: // SIGSTOP and SIGCONT by their numbers on Linux, which is what nodes run
		n.set(i, "T")
	case sig == 18:
		n.set(i, "S")
	case sig == syscall.SIGKILL, !n.ignore[n.procs[i].Name]:
		n.kill(i)
	}
	return nil
}

func (n *Node) set(i int, state string) {
	if n.procs[i].State != state {
		n.procs[i].State = state
		n.changes++
	}
}

// kill ends process i: all of them if it is the main one, and else it and its
// children of the same name, which notice the death of their parent.
func (n *Node) kill(i int) {
	n.changes++
	defer n.died()
	if n.procs[i].Main {
		n.procs, n.running = nil, false
		if n.policy != "no" {
			n.restarts++
			n.boot()
		}
		return
	}
	was := n.procs[i]
	gone := map[int]bool{was.PID: true}
	for _, p := range n.procs {
		if gone[p.Parent] && p.Name == was.Name {
			gone[p.PID] = true
		}
	}
	var lost []targets.Proc
	n.procs = slices.DeleteFunc(n.procs, func(p targets.Proc) bool {
		if gone[p.PID] {
			lost = append(lost, p)
		}
		return gone[p.PID]
	})
	if n.supervise[was.Name] {
		n.respawn(lost)
	}
	for i := range n.procs { // what outlives its parent gets the main process for one
		if gone[n.procs[i].Parent] {
			n.procs[i].Parent = n.procs[0].PID
		}
	}
}

// respawn brings back what a supervisor watches, with new identities.
func (n *Node) respawn(lost []targets.Proc) {
	ids := map[int]int{}
	for _, p := range lost {
		parent := p.Parent
		if id, is := ids[parent]; is {
			parent = id
		}
		ids[p.PID] = n.next
		p.State = "S"
		n.spawn(p, parent, false)
	}
}

// died wakes those who wait for a death.
func (n *Node) died() {
	close(n.dead)
	n.dead = make(chan struct{})
}

func (h *handle) Exited(ctx context.Context) error {
	n := h.n
	n.mu.Lock()
	n.ops++
	cut := n.cut >= 0 && n.ops > n.cut
	n.mu.Unlock()
	if cut {
		return ErrCut
	}
	for {
		n.mu.Lock()
		gone, next := n.find(h.id) < 0, n.dead
		n.mu.Unlock()
		if gone {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// State is what the pretend engine says.
func (n *Node) State(ctx context.Context) (targets.State, error) {
	if err := n.op(ctx); err != nil {
		return targets.State{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := targets.State{Running: n.running, Policy: n.policy, Restarts: n.restarts}
	if n.running {
		s.Main = n.procs[0].ProcID
	}
	return s, nil
}

// Start starts the node if it does not run.
func (n *Node) Start(ctx context.Context) error {
	if err := n.op(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running {
		n.changes++
		n.boot()
	}
	return nil
}

// Fence kills the node so that its policy does not bring it back.
func (n *Node) Fence(ctx context.Context) error {
	if err := n.op(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running {
		n.changes++
		n.procs, n.running = nil, false
		n.died()
	}
	return nil
}

// StartCommand is how a person would start it, if there were one.
func (n *Node) StartCommand() string { return "fake start " + n.name }
