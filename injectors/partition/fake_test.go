package partition

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// A fakeGround keeps each wall as a file of a fake node. Packets that are fired
// are dropped where there is one.
type fakeGround struct {
	able able
	own  string // the node that is in our own namespace
}

func fakeAddr(name string) netip.Addr {
	h := fnv.New32a()
	h.Write([]byte(name))
	s := h.Sum(nil)
	return netip.AddrFrom4([4]byte{10, s[1], s[2], s[3] | 1})
}

func (g fakeGround) Stand(_ context.Context, n targets.Node) (peers.Site, error) {
	if _, ok := n.(*faketarget.Node); !ok {
		return peers.Site{}, fmt.Errorf("no network namespace: %w", targets.ErrUnsupported)
	}
	a := fakeAddr(n.Name())
	b := a.As4()
	id := uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	return peers.Site{Node: n.Name(), Path: "/fake/" + n.Name(), ID: kernel.NetNS{Inode: id}, Own: n.Name() == g.own}, nil
}

func (g fakeGround) Addresses(_ context.Context, at peers.Site) ([]netip.Addr, error) {
	return []netip.Addr{fakeAddr(at.Node)}, nil
}

func (g fakeGround) Able(context.Context) (able, error) { return g.able, nil }

// A grounded is a fakeGround under one node.
type grounded struct {
	fakeGround
	node  *faketarget.Node
	shots *int
}

func (g grounded) Raise(ctx context.Context, at peers.Site, s state, _ time.Duration) (wall, error) {
	if _, err := g.node.Exec(ctx, "read", s.Table); err == nil {
		return nil, fmt.Errorf("table %s is there", s.Table)
	}
	if _, err := g.node.Exec(ctx, "write", s.Table, s.does()); err != nil {
		return nil, err
	}
	return fakeWall{g, at, s}, nil
}

func (g grounded) Look(ctx context.Context, _ peers.Site, s state) (sight, error) {
	if _, err := g.node.Exec(ctx, "read", "theirs"); err != nil && g.cut(err) {
		return sight{}, err
	}
	_, there := g.node.Snapshot().Files[s.Table]
	v := sight{There: there, Lease: time.Second, Packets: map[netip.Addr]uint64{}, Nets: map[direction]uint64{}}
	for _, p := range s.From {
		for _, a := range p.Addrs {
			v.Packets[a] = uint64(*g.shots)
		}
	}
	for _, d := range []direction{fromClients, toClients, toDNS} {
		v.Nets[d] = uint64(*g.shots)
	}
	for _, n := range append(s.FromNets, s.ToNets...) {
		v.Nets[fromNet(n)], v.Nets[toNet(n)] = uint64(*g.shots), uint64(*g.shots)
	}
	return v, nil
}

// cut says whether the error is of the connection, and not that there is no file.
func (g grounded) cut(err error) bool { return err.Error() != "read theirs: no such file" }

func (g grounded) Raze(ctx context.Context, _ peers.Site, s state) error {
	if _, there := g.node.Snapshot().Files[s.Table]; !there {
		_, err := g.Look(ctx, peers.Site{}, s)
		return err
	}
	_, err := g.node.Exec(ctx, "remove", s.Table)
	return err
}

func (g grounded) Fire(ctx context.Context, _ peers.Site, _ state, shots []shot) error {
	for i := range shots {
		shots[i].sent = true
	}
	*g.shots += len(shots)
	return ctx.Err()
}

func (g grounded) Reset(ctx context.Context, _ peers.Site, _ state) error {
	_, err := g.node.Exec(ctx, "read", "theirs")
	if err != nil && g.cut(err) {
		return err
	}
	return nil
}

type fakeWall struct {
	g  grounded
	at peers.Site
	s  state
}

func (fakeWall) Renew(time.Duration) error { return nil }
func (fakeWall) Close()                    {}
func (w fakeWall) Look() (sight, error)    { return w.g.Look(context.Background(), w.at, w.s) }
func (w fakeWall) Remove() error {
	// A wall is removed through its socket, which no lost connection to the node
	// keeps from it; the fake has but the connection.
	_, err := w.g.node.Exec(context.Background(), "remove", w.s.Table)
	return err
}

// Stand finds all nodes in one place.
func (g sharedGround) Stand(ctx context.Context, n targets.Node) (peers.Site, error) {
	at, err := g.fakeGround.Stand(ctx, n)
	at.ID = kernel.NetNS{Inode: 7}
	return at, err
}

// What a plan does not need.
func (fakeGround) Raise(context.Context, peers.Site, state, time.Duration) (wall, error) {
	return nil, errors.New("not here")
}
func (fakeGround) Look(context.Context, peers.Site, state) (sight, error) { return sight{}, nil }
func (fakeGround) Raze(context.Context, peers.Site, state) error          { return nil }
func (fakeGround) Fire(context.Context, peers.Site, state, []shot) error  { return nil }
func (fakeGround) Reset(context.Context, peers.Site, state) error         { return nil }
