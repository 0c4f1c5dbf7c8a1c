package peers

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// Stand finds the network namespace of a node. It changes nothing;
// the error wraps targets.ErrUnsupported where there is none to be had.
func Stand(ctx context.Context, n targets.Node) (Site, error) {
	in, ok := n.(targets.NetNS)
	if !ok {
		return Site{}, fmt.Errorf("the network namespace of node %s cannot be entered from here: %w", n.Name(), targets.ErrUnsupported)
	}
	path, err := in.NetNS(ctx)
	if err != nil {
		return Site{}, err
	}
	at := Site{Node: n.Name(), Path: path}
	if at.ID, err = kernel.NetNSOf(path); err != nil {
		return Site{}, Permission(err)
	}
	own, err := kernel.NetNSID("/proc/self/ns/net")
	at.Own = own == at.ID.Inode
	return at, err
}

// OnLinks asks the kernel from inside for the addresses of a site, but not for
// those that mean the machine itself. It enters it, and so finds out whether that
// is allowed.
func OnLinks(at Site) (list []netip.Addr, err error) {
	var addrs []net.Addr
	err = kernel.InNetNS(at.Path, func() (err error) {
		addrs, err = net.InterfaceAddrs()
		return err
	})
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			list = append(list, p.Addr().Unmap().WithZone(""))
		}
	}
	return list, Permission(err)
}

// Devices are the network devices of a site but loopback.
func Devices(at Site) (list []net.Interface, err error) {
	var all []net.Interface
	err = kernel.InNetNS(at.Path, func() (err error) {
		all, err = net.Interfaces()
		return err
	})
	for _, l := range all {
		if l.Flags&net.FlagLoopback == 0 {
			list = append(list, l)
		}
	}
	return list, Permission(err)
}
