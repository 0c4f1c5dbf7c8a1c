package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// mainProcess is pid 1 of a container, as this machine numbers it, and the id of
// the container that it was looked up for.
type mainProcess struct {
	targets.ProcID
	container string
	groups    []string // its control groups that name the container
}

// errDown is within: the container does not run.
var errDown = errors.New("it does not run")

// main is the main process. It asks the engine only if the one that was known
// has ended: a probe that dials a hundred times a second must not be a load.
func (n *Node) main(ctx context.Context) (mainProcess, error) {
	n.mu.Lock()
	last := n.last
	n.mu.Unlock()
	if last != nil {
		if s, err := kernel.ReadStat(last.PID); err == nil && s.Start == last.Start && !s.Dead() {
			return *last, nil
		}
	}
	m, err := n.lookUp(ctx, last)
	if err != nil {
		return mainProcess{}, err
	}
	n.mu.Lock()
	n.last = &m
	n.mu.Unlock()
	return m, nil
}

// noticeWithin is how long the engine may take to notice that a main process
// died: 12 to 40 ms were measured, idle.
const noticeWithin = 2 * time.Second

// lookUp asks the engine for the main process. One that is dead though the
// engine still names it is waited for: it is about to be reported down, or
// restarted. One that was never seen here stays unseen, and that is an error.
func (n *Node) lookUp(ctx context.Context, last *mainProcess) (mainProcess, error) {
	give := time.NewTimer(noticeWithin)
	defer give.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := n.inspect(ctx)
		if err != nil {
			return mainProcess{}, err
		}
		if !runs(c) {
			return mainProcess{}, fmt.Errorf("container %s: %w: it is %s", n.container, errDown, detail(c.State))
		}
		m, err := n.identify(c)
		if !errors.Is(err, targets.ErrGone) {
			return m, err
		}
		if last != nil && last.PID == c.State.Pid && last.container == c.ID {
			return mainProcess{}, fmt.Errorf("container %s: %w: its main process, pid %d, is dead", n.container, errDown, last.PID)
		}
		select {
		case <-ctx.Done():
			return mainProcess{}, errors.Join(ctx.Err(), err)
		case <-give.C:
			return mainProcess{}, n.foreign(c, err)
		case <-tick.C:
		}
	}
}

// identify finds the main process on this machine, and makes sure that it is
// the container's: a number from another machine, or from another pid
// namespace, may be a stranger here. The error wraps targets.ErrGone if no such
// process lives here.
func (n *Node) identify(c container.InspectResponse) (mainProcess, error) {
	p, err := kernel.ReadProc(c.State.Pid)
	switch {
	case errors.Is(err, targets.ErrGone):
		return mainProcess{}, err
	case err != nil:
		return mainProcess{}, n.foreign(c, err)
	case p.State == "Z" || p.State == "X":
		// Its control group is not told any more.
		return mainProcess{}, fmt.Errorf("pid %d is a zombie: %w", p.PID, targets.ErrGone)
	}
	m := mainProcess{ProcID: p.ProcID, container: c.ID}
	m.groups = slices.DeleteFunc(slices.Clone(p.CGroups), func(path string) bool { return !m.owns(path) })
	if len(m.groups) == 0 {
		return mainProcess{}, n.foreign(c, fmt.Errorf("pid %d here is %s, in control group %s", p.PID, p.Name, strings.Join(p.CGroups, ", ")))
	}
	return m, nil
}

// foreign says that the engine's pids mean nothing here, and the way out.
func (n *Node) foreign(c container.InspectResponse, why error) error {
	return fmt.Errorf("container %s: its main process, pid %d of the engine at %s, is not to be seen here (a remote engine, or another pid namespace): run dapple on the engine's machine, in its own pid namespace: %w: %s",
		n.container, c.State.Pid, n.engine.endpoint, targets.ErrUnsupported, why)
}

// Processes lists every process in the container's control group, the ones
// that docker exec made included, by the pids of this machine.
func (n *Node) Processes(ctx context.Context) ([]targets.Proc, error) {
	m, err := n.main(ctx)
	if errors.Is(err, errDown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := m.members()
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", n.container, err)
	}
	var procs []targets.Proc
	for _, p := range all {
		if p.State == "Z" || p.State == "X" {
			continue // dead, and not yet waited for
		}
		if p.ProcID == m.ProcID {
			p.Main = true
			procs = slices.Insert(procs, 0, p.Proc)
			continue
		}
		procs = append(procs, p.Proc)
	}
	return procs, nil
}

// Hold opens a process of the container by a descriptor.
func (n *Node) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	h, err := kernel.Hold(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", n.container, err)
	}
	return h, nil
}

// NetNS is the network namespace of the main process. The path is good as long
// as that process lives.
func (n *Node) NetNS(ctx context.Context) (string, error) {
	m, err := n.main(ctx)
	if err != nil {
		if errors.Is(err, errDown) {
			err = fmt.Errorf("%w: %w", err, targets.ErrGone)
		}
		return "", err
	}
	return fmt.Sprintf("/proc/%d/ns/net", m.PID), nil
}

// DialContext connects from inside the container's network namespace. Where the
// container does not run, there is no inside: the error wraps targets.ErrGone.
func (n *Node) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	path, err := n.NetNS(ctx)
	if err != nil {
		return nil, fmt.Errorf("dialling %s from inside: %w", addr, err)
	}
	c, err := kernel.DialFrom(ctx, n.maker(), path, network, addr)
	if err != nil {
		return nil, fmt.Errorf("container %s: from inside: %w", n.container, err)
	}
	return c, nil
}

// SocketsFrom has the sockets of DialContext made by another one, who may enter
// the namespaces of containers where this process may not. It is to be called
// before the node is used.
func (n *Node) SocketsFrom(s kernel.Sockets) { n.sockets = s }

func (n *Node) maker() kernel.Sockets {
	if n.sockets == nil {
		return kernel.NetNSSocket
	}
	return n.sockets
}
