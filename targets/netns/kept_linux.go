package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/process"
)

// The disk of a keeper's member: seen by what runs in the member alone, in memory,
// and it costs what is written to it.
const (
	DiskPath = "/mnt"
	DiskSize = 512 << 20
)

// KeeperMain is the process of a keeper whose members live in a lab. It is to be
// started by process.Start with Options.Namespaces.
func KeeperMain(ctx context.Context, args []string) error { return process.KeepIn(ctx, args, house) }

// AddressOf is the IPv4 address of a lab's member, the first of which is number 1.
func AddressOf(number int) (string, error) {
	addrs, err := addresses(number)
	if err != nil {
		return "", err
	}
	return addrs[0].Addr().String(), nil
}

// Nodes are the members of a keeper that lives by KeeperMain.
func Nodes(ctx context.Context, c *process.Cluster) ([]targets.Node, error) {
	places, err := c.Places(ctx)
	if err != nil {
		return nil, err
	}
	var nodes []targets.Node
	for _, m := range c.Nodes() {
		n := &Node{name: m.Name()}
		if err := json.Unmarshal(places[m.Name()], &n.at); err != nil {
			return nil, fmt.Errorf("where %s is: %w", m.Name(), err)
		}
		n.at.Keeper = c.Socket()
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// KeeperOf is the socket of the keeper whose member the node is, or "".
func KeeperOf(s targets.Spec) string {
	var at place
	if s.Kind != Kind || json.Unmarshal(s.Config, &at) != nil {
		return "" // what is no spec is said when it is opened
	}
	return at.Keeper
}

// DialClients connects from where the clients of a keeper's members are: a machine
// in the lab that is no node.
func DialClients(ctx context.Context, socket, network, addr string) (net.Conn, error) {
	c, err := kernel.DialFrom(ctx, socketsOf(socket, ""), "", network, addr)
	if err != nil {
		return nil, fmt.Errorf("from the lab of %s: %w", socket, err)
	}
	return c, nil
}

// socketsOf has the keeper make sockets where a member lives.
func socketsOf(socket, member string) kernel.Sockets {
	return func(ctx context.Context, _ string, v6 bool) (int, error) {
		return process.Socket(ctx, socket, member, v6)
	}
}

func (n *Node) sockets() kernel.Sockets {
	if n.at.Keeper == "" {
		return kernel.NetNSSocket
	}
	return socketsOf(n.at.Keeper, n.name)
}

func (n *Node) kept() *process.Node { return process.NodeOf(n.at.Keeper, n.name) }

// Try makes what KeeperMain makes, and takes it away again: in a process that was
// started as process.InNamespaces says, or as root.
func Try(ctx context.Context) error {
	h, err := house(ctx, "", []string{"a", "b"})
	if err != nil {
		return err
	}
	return h.Close(ctx)
}

// house makes the lab of the members, and their disks.
func house(ctx context.Context, _ string, names []string) (h process.Housing, err error) {
	l, err := New(ctx, Named(names...)...)
	if err != nil {
		return h, err
	}
	rooms := rooms{lab: l, of: map[string]*spawner{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, rooms.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := l.admit(); err != nil {
		return h, err
	}
	h.Places = map[string]json.RawMessage{}
	for _, n := range l.nodes {
		n.at.Main = true
		if h.Places[n.name], err = json.Marshal(n.at); err != nil {
			return h, err
		}
		if err := rooms.add(n.name); err != nil {
			return h, fmt.Errorf("member %s: %w", n.name, err)
		}
	}
	h.Start, h.Socket, h.Close = rooms.start, l.socketIn, rooms.close
	return h, nil
}

// rooms are the members' places: a network, and a disk.
type rooms struct {
	lab *Lab
	of  map[string]*spawner
}

func (r *rooms) add(name string) error {
	ns, err := r.lab.at(name)
	if err != nil {
		return err
	}
	room, err := newRoom(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering its network: %w", err)
		}
		return mountDisk()
	})
	if err == nil {
		r.of[name] = room
	}
	return err
}

// mountDisk makes the disk in mounts of this thread's own, which last as long as it.
func mountDisk() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making mounts of its own: %w", err)
	}
	// What is mounted here is seen nowhere else.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keeping mounts from the machine: %w", err)
	}
	if err := unix.Mount("dapple", DiskPath, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, fmt.Sprintf("size=%d,mode=0700", DiskSize)); err != nil {
		return fmt.Errorf("mounting a disk in memory at %s: %w", DiskPath, err)
	}
	return nil
}

// start starts a process in the room of a member, or, for "", beside the keeper.
func (r *rooms) start(name string, cmd *exec.Cmd) error {
	if name == "" {
		return r.lab.spawn.here(cmd)
	}
	s := r.of[name]
	if s == nil {
		return fmt.Errorf("the lab has no node %q: %w", name, targets.ErrGone)
	}
	return s.here(cmd)
}

func (r *rooms) close(ctx context.Context) error {
	err := r.lab.Close(ctx)
	for _, s := range r.of {
		s.end()
	}
	return err
}

// at is the namespace of a node.
func (l *Lab) at(name string) (*os.File, error) {
	for i, n := range l.nodes {
		if n.name == name {
			return l.files[i], nil
		}
	}
	return nil, fmt.Errorf("the lab has no node %q: %w", name, targets.ErrGone)
}

// socketIn makes a socket in the network of a node, or, for "", at the hub.
func (l *Lab) socketIn(ctx context.Context, name string, v6 bool) (int, error) {
	ns := l.hub
	if name != "" {
		var err error
		if ns, err = l.at(name); err != nil {
			return -1, err
		}
	}
	return kernel.NetNSSocket(ctx, fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), v6)
}

// admit gives the hub addresses of its own, so that clients that are no node can
// speak from there.
func (l *Lab) admit() error {
	hub, err := handle(l.hub)
	if err != nil {
		return err
	}
	defer hub.Close()
	link, err := hub.LinkByName(hubName)
	if err != nil {
		return fmt.Errorf("finding the bridge: %w", err)
	}
	addrs, err := addresses(maxMembers + 1)
	if err != nil {
		return err
	}
	return give(hub, link, addrs)
}
