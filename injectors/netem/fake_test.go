package netem

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

// A fakeGround has every node in a network namespace of its own.
type fakeGround struct {
	own  string // the node that is in our own namespace
	trip func(t *trip)
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
	b := fakeAddr(n.Name()).As4()
	id := uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	return peers.Site{Node: n.Name(), Path: "/fake/" + n.Name(), ID: kernel.NetNS{Inode: id}, Own: n.Name() == g.own}, nil
}

func (g fakeGround) Addresses(_ context.Context, at peers.Site) ([]netip.Addr, error) {
	return []netip.Addr{fakeAddr(at.Node)}, nil
}

func (g fakeGround) Devices(context.Context, peers.Site) ([]string, error) {
	return []string{"eth0", "eth1"}, nil
}

func (g fakeGround) Travel(ctx context.Context, _ peers.Site, s state, trips []*trip) error {
	for _, t := range trips {
		t.sent = t.count
		for k := range t.count {
			t.took, t.order = append(t.took, s.Harm.least()+time.Millisecond), append(t.order, k)
			t.since = append(t.since, s.Harm.least()+time.Second)
		}
		if g.trip != nil {
			g.trip(t)
		}
	}
	return ctx.Err()
}

// A fakeEngine keeps each fault as a file of a fake node.
type fakeEngine struct {
	unable error
	node   *faketarget.Node
	met    *uint64
}

func (e fakeEngine) Able(context.Context, peers.Site, state) error { return e.unable }

func (e fakeEngine) Raise(ctx context.Context, at peers.Site, s state, _ time.Duration) (hold, error) {
	if _, err := e.node.Exec(ctx, "read", s.Name); err == nil {
		return nil, fmt.Errorf("%s is there", s.Name)
	}
	if _, err := e.node.Exec(ctx, "write", s.Name, s.does()); err != nil {
		return nil, err
	}
	return fakeHold{e, at, s}, nil
}

func (e fakeEngine) Look(ctx context.Context, _ peers.Site, s state) (sight, error) {
	if _, err := e.node.Exec(ctx, "read", "theirs"); err != nil && e.cut(err) {
		return sight{}, err
	}
	*e.met += 1000
	_, there := e.node.Snapshot().Files[s.Name]
	return sight{
		There: there, Lease: time.Second, Met: map[Direction]uint64{egress: *e.met, ingress: *e.met},
		Events: map[event]uint64{lost: 1, duplicated: 1, corrupted: 1, reordered: 1},
	}, nil
}

// cut says whether the error is of the connection, and not that there is no file.
func (e fakeEngine) cut(err error) bool {
	return errors.Is(err, faketarget.ErrCut) || errors.Is(err, context.Canceled)
}

func (e fakeEngine) Raze(ctx context.Context, _ peers.Site, s state) error {
	if _, there := e.node.Snapshot().Files[s.Name]; !there {
		_, err := e.Look(ctx, peers.Site{}, s)
		return err
	}
	_, err := e.node.Exec(ctx, "remove", s.Name)
	return err
}

type fakeHold struct {
	e  fakeEngine
	at peers.Site
	s  state
}

func (fakeHold) Renew(time.Duration) error { return nil }
func (fakeHold) Close()                    {}
func (h fakeHold) Look() (sight, error)    { return h.e.Look(context.Background(), h.at, h.s) }
func (h fakeHold) Remove() error           { return h.e.Raze(context.Background(), h.at, h.s) }
