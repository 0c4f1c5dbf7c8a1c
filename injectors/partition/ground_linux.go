package partition

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/internal/sock"
	"github.com/dapple-drills/dapple/targets"
)

// kernelGround is the real one.
type kernelGround struct{}

// Stand finds the namespace by its number.
func (kernelGround) Stand(ctx context.Context, n targets.Node) (peers.Site, error) {
	return peers.Stand(ctx, n)
}

// Addresses asks the kernel from inside.
func (kernelGround) Addresses(_ context.Context, at peers.Site) ([]netip.Addr, error) {
	return peers.OnLinks(at)
}

// Able tries it in a namespace of its own.
func (kernelGround) Able(context.Context) (able, error) {
	f := nft.Try()
	return able{Cut: peers.Permission(f.Cut), Leave: f.Leaving, Reject: f.Reject}, nil
}

// A tower is a wall in the kernel: its tables belong to the socket conn. It is
// looked at through another one, eye: a socket that is closed soon after a change
// waits for the readers of the whole kernel, which would make looks slow.
type tower struct {
	s         state
	conn, eye *nft.Conn
	gone      atomic.Bool
}

// Raise makes all tables in one transaction.
func (kernelGround) Raise(ctx context.Context, at peers.Site, s state, lease time.Duration) (wall, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	devices, err := links(at, s)
	if err != nil {
		return nil, err
	}
	t := &tower{s: s}
	if t.eye, err = nft.Dial(at.Path); err != nil {
		return nil, err
	}
	if t.conn, err = nft.Dial(at.Path); err != nil {
		return nil, errors.Join(err, t.eye.Close())
	}
	b := &nft.Batch{}
	s.layout(b, lease, devices)
	if err := t.conn.Commit(b); err != nil {
		return nil, errors.Join(err, t.conn.Close(), t.eye.Close())
	}
	return t, nil
}

// links are the devices by which packets leave the namespace.
func links(at peers.Site, s state) (names []string, err error) {
	if s.LeaveBy != leaveDevice {
		return nil, nil
	}
	list, err := peers.Devices(at)
	for _, l := range list {
		names = append(names, l.Name)
	}
	if err == nil && len(names) == 0 {
		err = errors.New("it has no network device but lo: nothing leaves it")
	}
	return names, err
}

// Renew takes the lease out and puts it in again, in one transaction: adding it
// once more would not set its time anew, and no packet passes in between.
func (t *tower) Renew(lease time.Duration) error {
	b := &nft.Batch{}
	for _, table := range t.s.tables() {
		b.DeleteElements(table, leaseSet(), []nft.Element{{Key: leaseKey()}})
		b.AddElements(table, leaseSet(), []nft.Element{{Key: leaseKey(), Timeout: lease}})
	}
	err := t.conn.Commit(b)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("the lease had ended before it was renewed, packets passed: %w", err)
	}
	return err
}

// Remove removes the tables.
func (t *tower) Remove() error {
	if t.gone.Load() {
		return nil
	}
	b := &nft.Batch{}
	for _, table := range t.s.tables() {
		b.DeleteTable(table)
	}
	if err := t.conn.Commit(b); err != nil {
		// Whatever keeps them from being removed so: with the socket they are gone.
		if closed := t.conn.Close(); closed != nil {
			return errors.Join(err, closed)
		}
	}
	t.gone.Store(true)
	return nil
}

// Close closes the sockets. Nothing depends on when: what they held is gone.
func (t *tower) Close() {
	go func() { _ = errors.Join(t.conn.Close(), t.eye.Close()) }()
}

// Look reads the tables.
func (t *tower) Look() (sight, error) { return look(t.eye, t.s) }

// Look reads the tables through a socket of its own.
func (kernelGround) Look(_ context.Context, at peers.Site, s state) (v sight, err error) {
	conn, err := nft.Dial(at.Path)
	if err != nil {
		return v, peers.Permission(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return look(conn, s)
}

// look finds no wall where one goes while it looks.
func look(conn *nft.Conn, s state) (sight, error) {
	v, err := read(conn, s)
	if errors.Is(err, unix.ENOENT) {
		return sight{}, nil
	}
	return v, err
}

func read(conn *nft.Conn, s state) (v sight, err error) {
	v = sight{There: true, Packets: map[netip.Addr]uint64{}, Nets: map[direction]uint64{}}
	there, err := conn.Tables()
	if err != nil {
		return v, err
	}
	for _, t := range s.tables() {
		if !slices.ContainsFunc(there, func(x nft.TableSeen) bool { return x.Table == t }) {
			return sight{}, nil
		}
		leases, err := conn.Elements(t, leaseSet().Name)
		if err != nil {
			return v, err
		}
		left := time.Duration(0)
		for _, e := range leases {
			left = max(left, e.Expires)
		}
		if v.Lease == 0 || left < v.Lease {
			v.Lease = left
		}
		if left == 0 {
			return v, nil
		}
		rules, err := conn.Rules(t)
		if err != nil {
			return v, err
		}
		for _, r := range rules {
			if r.Comment != "" {
				v.Nets[direction(r.Comment)] += r.Packets
			}
		}
	}
	for _, set := range s.nodeSets() {
		elements, err := conn.Elements(s.table(), set.Name)
		if err != nil {
			return v, err
		}
		for _, e := range elements {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				v.Packets[a] = e.Packets
			}
		}
	}
	return v, v.compare(s)
}

// compare finds what is missing.
func (v *sight) compare(s state) error {
	for _, p := range s.From {
		for _, a := range p.Addrs {
			if _, has := v.Packets[a]; !has {
				v.Missing = append(v.Missing, a.String())
			}
		}
	}
	for _, d := range s.directions() {
		if _, has := v.Nets[d]; !has {
			v.Missing = append(v.Missing, "the rule "+string(d))
		}
	}
	return nil
}

// Raze removes tables that nobody holds. The kernel lets nobody but the owner
// remove one.
func (kernelGround) Raze(ctx context.Context, at peers.Site, s state) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := nft.Dial(at.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	there, err := conn.Tables()
	if err != nil {
		return err
	}
	for _, t := range s.tables() {
		i := slices.IndexFunc(there, func(x nft.TableSeen) bool { return x.Table == t })
		if i < 0 {
			continue
		}
		b := &nft.Batch{}
		b.DeleteTable(t)
		err := conn.Commit(b)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("table %s %s belongs to a living process (netlink socket %d), with which it ends: end the agent of that drill (dapple revert --all): %w", t.Family, t.Name, there[i].Owner, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Reset ends connections whose packets the wall stops.
func (kernelGround) Reset(_ context.Context, at peers.Site, s state) error {
	_, err := sock.Destroy(at.Path, s.crosses)
	return err
}

// crosses says whether a connection of the node goes across the wall.
func (s state) crosses(local, remote netip.AddrPort) bool {
	if !peers.Means(s.Ports, local.Port()) && !peers.Means(s.Ports, remote.Port()) || remote.Addr().IsLoopback() {
		return false
	}
	a := remote.Addr()
	for _, p := range s.From {
		if slices.Contains(p.Addrs, a) {
			return true
		}
	}
	for _, net := range append(slices.Clone(s.FromNets), s.ToNets...) {
		if net.Contains(a) {
			return true
		}
	}
	ssh := local.Port() == sshPort && !s.SSH
	return (s.FromClients || s.ToClients) && !ssh && !slices.Contains(s.Nodes, a) && !slices.Contains(s.Mine, a)
}
