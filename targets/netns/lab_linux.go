package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	nsfd "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A Member is one node of a lab.
type Member struct {
	Name string
	// Main is the command of its main process; none if it is empty. It gets
	// SIGKILL when the process that made the lab dies.
	Main []string
	Dir  string   // where Main runs; "" is the maker's own
	Env  []string // added to the maker's
}

// Named are members without a main process.
func Named(names ...string) []Member {
	var list []Member
	for _, n := range names {
		list = append(list, Member{Name: n})
	}
	return list
}

// Subnets of every lab. They are seen within it only, so two labs may have the
// same: RFC 2544's for benchmarks, and a ULA of RFC 4193.
const (
	subnet4 = "198.18.0.0/16"
	subnet6 = "fd64:6170:706c:6500::/64"
)

// maxMembers is how many addresses the last two bytes of an address are used
// for.
const maxMembers = 60000

// A Lab is a network of nodes that this process holds.
type Lab struct {
	hub   *os.File
	nodes []*Node
	mains []*mainProcess
	files []*os.File
	spawn *spawner
}

// New makes a lab: every member has a link eth0 with an IPv4 and an IPv6 address
// to one bridge, and starts its main process. It takes CAP_SYS_ADMIN and
// CAP_NET_ADMIN, of this machine or of a user namespace. Close the lab, or end
// the process, and nothing is left of it.
func New(ctx context.Context, members ...Member) (_ *Lab, err error) {
	if len(members) > maxMembers {
		return nil, fmt.Errorf("a lab of %d nodes: at most %d", len(members), maxMembers)
	}
	me, err := kernel.Self()
	if err != nil {
		return nil, fmt.Errorf("making a lab: %w", err)
	}
	l := &Lab{spawn: newSpawner()}
	defer func() {
		if err != nil {
			err = fmt.Errorf("making a lab: %w", errors.Join(err, l.Close(context.WithoutCancel(ctx))))
		}
	}()
	if l.hub, err = kernel.NewNetNS(); err != nil {
		return nil, err
	}
	hub, err := handle(l.hub)
	if err != nil {
		return nil, err
	}
	defer hub.Close()
	bridge, err := newBridge(hub)
	if err != nil {
		return nil, err
	}
	for i, m := range members {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := l.join(hub, joining{m, i + 1, bridge, me}); err != nil {
			return nil, fmt.Errorf("node %s: %w", m.Name, err)
		}
	}
	if len(members) > 0 { // a bridge without links is down
		if err := l.carry(ctx, hub); err != nil {
			return nil, err
		}
	}
	for i, m := range members {
		if err := l.start(ctx, l.nodes[i], m, l.files[i]); err != nil {
			return nil, fmt.Errorf("node %s: %w", m.Name, err)
		}
	}
	return l, nil
}

// hubName is the bridge's. Its own state says nothing of what passes it.
const hubName = "hub"

// newBridge makes the lab's bridge and returns its index.
func newBridge(hub *netlink.Handle) (index int, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = hubName
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := hub.LinkAdd(bridge); err != nil {
		return 0, fmt.Errorf("adding a bridge: %w", err)
	}
	if err := hub.LinkSetUp(bridge); err != nil {
		return 0, fmt.Errorf("setting the bridge up: %w", err)
	}
	return bridge.Attrs().Index, nil
}

// handle speaks to the kernel about links in the namespace.
func handle(ns *os.File) (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return h, nil
}

// joining is what one node is made of.
type joining struct {
	Member
	number, bridge int
	maker          targets.ProcID
}

// join makes one node and its link.
func (l *Lab) join(hub *netlink.Handle, m joining) error {
	for _, other := range l.nodes {
		if other.name == m.Name {
			return errors.New("two nodes have this name")
		}
	}
	ns, err := kernel.NewNetNS()
	if err != nil {
		return err
	}
	l.files = append(l.files, ns)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = fmt.Sprintf("to%d", m.number), m.bridge
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns.Fd())}
	if err := hub.LinkAdd(link); err != nil {
		return fmt.Errorf("adding its link: %w", err)
	}
	if err := hub.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting its link up: %w", err)
	}
	addrs, err := addresses(m.number)
	if err != nil {
		return err
	}
	if err := configure(ns, addrs); err != nil {
		return err
	}
	n := &Node{name: m.Name, at: place{Maker: m.maker, FD: int(ns.Fd()), Main: len(m.Main) > 0}}
	for _, a := range addrs {
		n.at.Addresses = append(n.at.Addresses, a.Addr().String())
	}
	if n.at.ID, err = kernel.NetNSOf(n.at.path()); err != nil {
		return err
	}
	l.nodes = append(l.nodes, n)
	return nil
}

// carry waits until the kernel has noticed that the links are up, which it does
// in a queue of its own: until then the bridge lets nothing pass.
func (l *Lab) carry(ctx context.Context, hub *netlink.Handle) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		links, err := hub.LinkList()
		if err != nil {
			return fmt.Errorf("looking at the links: %w", err)
		}
		down := ""
		for _, link := range links {
			if a := link.Attrs(); a.Name != "lo" && a.Name != hubName && a.OperState != netlink.OperUp {
				down = a.Name
			}
		}
		if down == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the link %s: %w", down, ctx.Err())
		}
	}
}

// start starts the main process and answers for it.
func (l *Lab) start(ctx context.Context, n *Node, m Member, ns *os.File) error {
	if len(m.Main) == 0 {
		return nil
	}
	p, err := newMain(ctx, n, m, inside{ns, l.spawn})
	if err != nil {
		return err
	}
	l.mains = append(l.mains, p)
	return p.start()
}

// addresses are those of the member with that number.
func addresses(number int) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, s := range []string{subnet4, subnet6} {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		b := p.Addr().AsSlice()
		b[len(b)-2], b[len(b)-1] = byte(number>>8), byte(number)
		a, _ := netip.AddrFromSlice(b)
		list = append(list, netip.PrefixFrom(a, p.Bits()))
	}
	return list, nil
}

// configure gives lo and eth0 in the namespace their addresses, and a way to
// everywhere else over eth0, as a machine in a data centre has one.
func configure(ns *os.File, addrs []netip.Prefix) error {
	h, err := handle(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, name := range []string{"lo", "eth0"} {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("finding its link %s: %w", name, err)
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("setting its link %s up: %w", name, err)
		}
		if name == "lo" {
			continue
		}
		if err := give(h, link, addrs); err != nil {
			return err
		}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}}); err != nil {
			return fmt.Errorf("giving it a default route: %w", err)
		}
	}
	return nil
}

// give gives a link addresses, without duplicate address detection: it would keep
// the IPv6 address from being used for a second.
func give(h *netlink.Handle, link netlink.Link, addrs []netip.Prefix) error {
	for _, a := range addrs {
		to := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: to, Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("giving it the address %s: %w", a, err)
		}
	}
	return nil
}

// Nodes are the lab's nodes, in the order of its members.
func (l *Lab) Nodes() []targets.Node {
	var list []targets.Node
	for _, n := range l.nodes {
		list = append(list, n)
	}
	return list
}

// Node is the node of that name, or nil.
func (l *Lab) Node(name string) *Node {
	for _, n := range l.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// Close kills every process in the lab's namespaces and lets go of them. It is
// harmless to call twice.
func (l *Lab) Close(ctx context.Context) error {
	var errs []error
	for _, p := range l.mains {
		errs = append(errs, p.end())
	}
	errs = append(errs, clear(ctx, l.nodes...))
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	if l.hub != nil {
		errs = append(errs, l.hub.Close())
	}
	l.spawn.end()
	l.mains, l.nodes, l.files, l.hub = nil, nil, nil, nil
	return errors.Join(errs...)
}

// clear kills what runs in the namespaces of the nodes, until nothing does.
func clear(ctx context.Context, nodes ...*Node) error {
	ours := map[uint64]bool{}
	for _, n := range nodes {
		ours[n.at.ID.Inode] = true
	}
	for len(ours) > 0 {
		procs, err := kernel.Procs(kernel.Filter{Keep: func(p kernel.Proc) bool { return alive(p) && ours[namespaceOf(p)] }})
		if err != nil || len(procs) == 0 {
			return err
		}
		for _, p := range procs {
			if err := kill(ctx, p.ProcID); err != nil {
				return fmt.Errorf("ending %v in a namespace of the lab: %w", p.ProcID, err)
			}
		}
	}
	return nil
}

func kill(ctx context.Context, id targets.ProcID) error {
	h, err := kernel.Hold(ctx, id)
	if errors.Is(err, targets.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := h.Signal(unix.SIGKILL); err != nil && !errors.Is(err, targets.ErrGone) {
		return errors.Join(err, h.Close())
	}
	return errors.Join(h.Exited(ctx), h.Close())
}
