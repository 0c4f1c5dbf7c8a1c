package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A Node is one container, known by its name: a container that is made anew
// under the same name is the same node.
//
// Its methods may be called from many goroutines.
type Node struct {
	engine    *Engine
	name      string
	container string
	sockets   kernel.Sockets // nil: our own

	mu    sync.Mutex
	last  *mainProcess // as it was looked up last
	addrs []string     // the last addresses that it had
}

// The abilities of a container, each asserted in one place elsewhere.
var (
	_ targets.Portable  = (*Node)(nil)
	_ targets.Processes = (*Node)(nil)
	_ targets.Starter   = (*Node)(nil)
	_ targets.Fencer    = (*Node)(nil)
	_ targets.Dialer    = (*Node)(nil)
	_ targets.Addresser = (*Node)(nil)
	_ targets.NetNS     = (*Node)(nil)
)

// Name is the value of the label dapple.node, or else the container's name.
func (n *Node) Name() string { return n.name }

// Container is the name of the container.
func (n *Node) Container() string { return n.container }

// Spec is what another process needs to open the same node.
func (n *Node) Spec() targets.Spec {
	data, err := json.Marshal(config{Container: n.container, Endpoint: n.engine.endpoint})
	if err != nil {
		panic("dapple: internal error: a docker node's spec: " + err.Error()) // strings and a bool
	}
	return targets.Spec{Kind: Kind, Name: n.name, Config: data}
}

// Exec runs argv as the container's user. The engine cannot end a command: when
// ctx ends, Exec returns, and the command lives on in the container.
func (n *Node) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	api := n.engine.api
	made, err := api.ContainerExecCreate(ctx, n.container, container.ExecOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return nil, n.wrap("running "+strings.Join(argv, " "), err)
	}
	conn, err := api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return nil, n.wrap("running "+strings.Join(argv, " "), err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	var out, errOut bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errOut, conn.Reader); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return out.Bytes(), n.wrap("running "+strings.Join(argv, " "), err)
	}
	done, err := api.ContainerExecInspect(ctx, made.ID)
	if err != nil {
		return out.Bytes(), n.wrap("running "+strings.Join(argv, " "), err)
	}
	if done.ExitCode != 0 {
		said := strings.TrimSpace(errOut.String())
		if said == "" {
			said = strings.TrimSpace(out.String()) // the engine reports a command that cannot be run there
		}
		return out.Bytes(), fmt.Errorf("container %s: %s: exit code %d: %s", n.container, strings.Join(argv, " "), done.ExitCode, said)
	}
	return out.Bytes(), nil
}

// wrap says what was done to which container, and that one is gone if it is.
func (n *Node) wrap(what string, err error) error {
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("container %s: %s: %w: %w", n.container, what, targets.ErrGone, err)
	}
	return fmt.Errorf("container %s: %s: %w", n.container, what, err)
}

func (n *Node) inspect(ctx context.Context) (container.InspectResponse, error) {
	c, err := n.engine.api.ContainerInspect(ctx, n.container)
	if err != nil {
		return c, n.wrap("inspecting", err)
	}
	if c.State == nil || c.HostConfig == nil {
		return c, fmt.Errorf("container %s: inspecting: the engine's answer has no state", n.container)
	}
	return c, nil
}

// runs says whether the main process exists. While the engine waits before it
// restarts a container, that counts as running in its own words.
func runs(c container.InspectResponse) bool {
	return c.State.Running && !c.State.Restarting && c.State.Pid > 0
}

// State is what the engine says. Main has no start time where the engine's
// processes are not ours to see.
func (n *Node) State(ctx context.Context) (targets.State, error) {
	c, err := n.inspect(ctx)
	if err != nil {
		return targets.State{}, err
	}
	s := targets.State{
		Running:  runs(c),
		Restarts: c.RestartCount,
		Policy:   policy(c.HostConfig.RestartPolicy),
		Started:  instant(c.State.StartedAt),
		Finished: instant(c.State.FinishedAt),
		Detail:   detail(c.State),
	}
	if s.Running {
		s.Main = targets.ProcID{PID: c.State.Pid}
		if m, err := n.identify(c); err == nil {
			s.Main = m.ProcID
		}
	}
	return s, nil
}

func policy(p container.RestartPolicy) string {
	switch {
	case p.Name == "":
		return "no"
	case p.MaximumRetryCount > 0:
		return fmt.Sprintf("%s:%d", p.Name, p.MaximumRetryCount)
	}
	return string(p.Name)
}

// instant reads the engine's timestamps; its zero is the year 1.
func instant(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

func detail(s *container.State) string {
	d := string(s.Status)
	if !s.Running {
		d += fmt.Sprintf(" (%d)", s.ExitCode)
	}
	if s.OOMKilled {
		d += ", out of memory"
	}
	if s.Error != "" {
		d += ": " + s.Error
	}
	return d
}

// Start starts the container. One that runs stays as it is.
func (n *Node) Start(ctx context.Context) error {
	if err := n.engine.api.ContainerStart(ctx, n.container, container.StartOptions{}); err != nil {
		return n.wrap("starting", err)
	}
	return nil
}

// Fence kills the container through the engine, which then takes it as stopped
// by hand: no restart policy brings it back. The call takes about 100 ms; the
// processes are dead after about 10 of them.
func (n *Node) Fence(ctx context.Context) error {
	err := n.engine.api.ContainerKill(ctx, n.container, "KILL")
	if err == nil {
		return nil
	}
	if !errdefs.IsConflict(err) {
		return n.wrap("fencing", err)
	}
	// It does not run: stopping it ends a restart that is being waited for.
	now := 0
	if err := n.engine.api.ContainerStop(ctx, n.container, container.StopOptions{Timeout: &now}); err != nil {
		return n.wrap("fencing", err)
	}
	return nil
}

// Addresses are those of its networks, by the networks' names; IPv4 before
// IPv6. A container that is down keeps the addresses that it had.
func (n *Node) Addresses(ctx context.Context) ([]string, error) {
	c, err := n.inspect(ctx)
	if err != nil {
		return nil, err
	}
	addrs := addresses(c)
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(addrs) == 0 {
		addrs = n.addrs
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("container %s has no address: it is %s, and none is fixed", n.container, detail(c.State))
	}
	n.addrs = addrs
	return slices.Clone(addrs), nil
}

func addresses(c container.InspectResponse) []string {
	if c.HostConfig.NetworkMode.IsHost() {
		return []string{"127.0.0.1"}
	}
	if c.NetworkSettings == nil {
		return nil
	}
	var names, addrs []string
	for name := range c.NetworkSettings.Networks {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		net := c.NetworkSettings.Networks[name]
		if net == nil {
			continue
		}
		v4, v6 := net.IPAddress, net.GlobalIPv6Address
		if fixed := net.IPAMConfig; fixed != nil {
			if v4 == "" {
				v4 = fixed.IPv4Address
			}
			if v6 == "" {
				v6 = fixed.IPv6Address
			}
		}
		for _, a := range []string{v4, v6} {
			if a != "" {
				addrs = append(addrs, a)
			}
		}
	}
	return addrs
}

// StartCommand is how a person starts the node's container.
func (n *Node) StartCommand() string { return "docker start " + n.container }
