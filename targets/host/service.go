package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A keeper knows the processes of a service.
type keeper interface {
	state(ctx context.Context) (targets.State, error)
	// members lists the live processes by a state that was just asked for.
	members(s targets.State) ([]targets.Proc, error)
}

// An engine is a keeper that can also put the service down and start it.
type engine interface {
	keeper
	start(ctx context.Context) error
	stop(ctx context.Context, list func(context.Context) ([]targets.Proc, error)) error
	byHand() string
}

// A Service is a node whose processes are on this machine.
type Service struct {
	Node
	k keeper
}

// A Unit is a Service that can be stopped and started.
type Unit struct {
	Service
	e engine
}

var (
	_ targets.Portable  = (*Service)(nil)
	_ targets.Processes = (*Service)(nil)
	_ targets.Dialer    = (*Service)(nil)
	_ targets.NetNS     = (*Service)(nil)
	_ targets.Starter   = (*Unit)(nil)
	_ targets.Fencer    = (*Unit)(nil)
	_ targets.ByHand    = (*Unit)(nil)
)

// Exec runs argv on this machine.
func (n *Service) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("exec on %s: no command", n.name)
	}
	out, err := run(ctx, argv...)
	if err != nil {
		return out, fmt.Errorf("exec on %s: %w", n.name, err)
	}
	return out, nil
}

// run runs a command of this machine and returns its output; an error holds what
// it wrote to stderr.
func run(ctx context.Context, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second // for what it left in the background
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return out.Bytes(), fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), nil
}

// Processes lists the processes of the unit's control group, or the process of
// the pidfile and its descendants; the main one first.
func (n *Service) Processes(ctx context.Context) ([]targets.Proc, error) {
	s, err := n.k.state(ctx)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.name, err)
	}
	procs, err := n.k.members(s)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.name, err)
	}
	if i := slices.IndexFunc(procs, func(p targets.Proc) bool { return p.ProcID == s.Main }); i >= 0 {
		first := procs[i]
		first.Main = true
		procs = slices.Insert(slices.Delete(procs, i, i+1), 0, first)
	}
	return procs, nil
}

// Hold opens a process of the node by a descriptor.
func (n *Service) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	h, err := kernel.Hold(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.name, err)
	}
	return h, nil
}

// NetNS is the network namespace of the service, if it has one of its own. That of
// this machine is refused: what is cut there is dapple's own network, and the
// operator's.
func (n *Service) NetNS(ctx context.Context) (string, error) {
	path, id, err := n.netns(ctx)
	if err != nil {
		return "", err
	}
	shared, err := sameNetwork(id, "/proc/self/ns/net")
	if err == nil && !shared {
		// We may be in a namespace of our own, and the service in the machine's.
		shared, err = sameNetwork(id, "/proc/1/ns/net")
	}
	if err != nil {
		return "", fmt.Errorf("node %s: whether it has a network of its own cannot be told: %w", n.name, err)
	}
	if shared {
		return "", diag.Hint(fmt.Errorf("node %s: it uses this machine's own network, which is never cut: %w", n.name, targets.ErrUnsupported),
			"give the unit PrivateNetwork= or NetworkNamespacePath=, or drill containers or namespaces")
	}
	return path, nil
}

// netns is the namespace of the main process, and its number.
func (n *Service) netns(ctx context.Context) (path string, id uint64, err error) {
	s, err := n.k.state(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("node %s: %w", n.name, err)
	}
	if !s.Running {
		return "", 0, fmt.Errorf("node %s: it does not run (%s): %w", n.name, s.Detail, targets.ErrGone)
	}
	path = fmt.Sprintf("/proc/%d/ns/net", s.Main.PID)
	if id, err = kernel.NetNSID(path); err != nil {
		return "", 0, fmt.Errorf("node %s: %w", n.name, err)
	}
	return path, id, nil
}

func sameNetwork(id uint64, as string) (bool, error) {
	of, err := kernel.NetNSID(as)
	return of == id, err
}

// DialContext connects from where the service is: from its own namespace, or from
// this machine.
func (n *Service) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	path, id, err := n.netns(ctx)
	if errors.Is(err, targets.ErrGone) {
		return nil, err // where it does not run there is no inside
	}
	ours := false
	if err == nil {
		ours, err = sameNetwork(id, "/proc/self/ns/net")
	}
	switch {
	case err != nil:
		return nil, err
	case ours:
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	return kernel.DialNetNS(ctx, path, network, addr)
}

// State is what systemd says of the unit, or the kernel of the pidfile's process.
func (n *Unit) State(ctx context.Context) (targets.State, error) {
	s, err := n.e.state(ctx)
	if err != nil {
		return s, fmt.Errorf("node %s: %w", n.name, err)
	}
	return s, nil
}

// Start starts the service if it does not run.
func (n *Unit) Start(ctx context.Context) error {
	s, err := n.State(ctx)
	if err != nil || s.Running {
		return err
	}
	if err := n.e.start(ctx); err != nil {
		return fmt.Errorf("node %s: starting it: %w", n.name, err)
	}
	return nil
}

// Fence kills the service so that Restart= does not bring it back.
func (n *Unit) Fence(ctx context.Context) error {
	if err := n.e.stop(ctx, n.Processes); err != nil {
		return fmt.Errorf("node %s: putting it down: %w", n.name, err)
	}
	return nil
}

// StartCommand is how a person starts it.
func (n *Unit) StartCommand() string { return n.e.byHand() }
