package netns

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/process"
)

var (
	_ targets.Portable  = (*Node)(nil)
	_ targets.Processes = (*Node)(nil)
	_ targets.Starter   = (*Node)(nil)
	_ targets.Fencer    = (*Node)(nil)
	_ targets.Dialer    = (*Node)(nil)
	_ targets.Addresser = (*Node)(nil)
	_ targets.NetNS     = (*Node)(nil)
)

// NetNS is the path by which the namespace can be entered.
func (n *Node) NetNS(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := n.at.check(); err != nil {
		return "", fmt.Errorf("node %s: %w", n.name, err)
	}
	return n.at.path(), nil
}

// Addresses are those that the lab gave to it, IPv4 first.
func (n *Node) Addresses(context.Context) ([]string, error) { return slices.Clone(n.at.Addresses), nil }

// DialContext connects from inside.
func (n *Node) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	path, err := n.NetNS(ctx)
	if err != nil {
		return nil, err
	}
	c, err := kernel.DialFrom(ctx, n.sockets(), path, network, addr)
	if err != nil {
		return nil, fmt.Errorf("node %s: from inside: %w", n.name, err)
	}
	return c, nil
}

// Exec runs argv inside the namespace; everything else is this machine's. When
// ctx ends, the command and what it started are killed.
func (n *Node) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("exec on %s: no command", n.name)
	}
	path, err := n.NetNS(ctx)
	if err != nil {
		return nil, err
	}
	if n.at.Keeper != "" {
		out, err := process.Exec(ctx, n.at.Keeper, n.name, argv...)
		if err != nil {
			return out, fmt.Errorf("exec %s on %s: %w", argv[0], n.name, err)
		}
		return out, nil
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := kernel.InNetNS(path, cmd.Start); err != nil {
		return nil, fmt.Errorf("exec %s on %s: %w", argv[0], n.name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.Bytes(), fmt.Errorf("exec %s on %s: %w: %s", argv[0], n.name, err, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), nil
}

// Processes lists what runs in the namespace, whoever started it, the main
// process first. A process that left for another namespace is not the node's any
// more.
func (n *Node) Processes(ctx context.Context) ([]targets.Proc, error) {
	if err := n.at.check(); err != nil {
		return nil, fmt.Errorf("node %s: %w", n.name, err)
	}
	var main targets.ProcID
	if n.at.Main {
		s, err := n.State(ctx)
		if err != nil {
			return nil, err
		}
		main = s.Main
	}
	all, err := kernel.Procs(kernel.Filter{Keep: func(p kernel.Proc) bool { return alive(p) && namespaceOf(p) == n.at.ID.Inode }})
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.name, err)
	}
	var procs []targets.Proc
	for _, p := range all {
		if p.ProcID == main {
			p.Main = true
			procs = slices.Insert(procs, 0, p.Proc)
			continue
		}
		procs = append(procs, p.Proc)
	}
	return procs, nil
}

// alive says that the process is not one that is dead and not yet waited for.
func alive(p kernel.Proc) bool { return p.State != "Z" && p.State != "X" }

// namespaceOf is the number of the network namespace of the process, 0 if it is
// gone or not ours to ask. We ourselves are in none, wherever our threads are.
func namespaceOf(p kernel.Proc) uint64 {
	if p.PID == os.Getpid() {
		return 0
	}
	id, err := kernel.NetNSID(fmt.Sprintf("/proc/%d/ns/net", p.PID))
	if err != nil {
		return 0
	}
	return id
}

// Hold opens a process of the node by a descriptor.
func (n *Node) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return kernel.Hold(ctx, id)
}

// State is what the maker of the lab says of the main process. A node that was
// made without one runs as long as its maker does.
func (n *Node) State(ctx context.Context) (targets.State, error) {
	switch {
	case n.at.Keeper != "":
		return n.kept().State(ctx)
	case n.at.Main:
		return n.ask(ctx, "state")
	}
	if err := n.at.check(); err != nil {
		return targets.State{}, fmt.Errorf("node %s: %w", n.name, err)
	}
	return targets.State{Running: true, Policy: "no", Detail: "a namespace without a main process"}, nil
}

// Start starts the main process if it does not run, as it was started first.
func (n *Node) Start(ctx context.Context) error {
	switch {
	case n.at.Keeper != "":
		return n.kept().Start(ctx)
	case !n.at.Main:
		return nil
	}
	_, err := n.ask(ctx, "start")
	return err
}

// Fence kills the main process and all else that runs in the namespace. Nothing
// but Start brings it back.
func (n *Node) Fence(ctx context.Context) error {
	switch {
	case n.at.Keeper != "":
		return n.kept().Fence(ctx)
	case !n.at.Main:
		return fmt.Errorf("node %s has no main process: %w", n.name, targets.ErrUnsupported)
	}
	_, err := n.ask(ctx, "stop")
	return err
}
