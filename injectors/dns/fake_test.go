package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// made makes the parameters as a scenario does.
func made(t testing.TB, with string) (Params, error) {
	t.Helper()
	var values map[string]any
	if err := json.Unmarshal([]byte(with), &values); err != nil {
		t.Fatal(err)
	}
	params, err := scenarios.NewParams(values)
	if err != nil {
		t.Fatal(err)
	}
	var p Params
	if err := params.Decode(&p); err != nil {
		return p, err
	}
	return p, p.check()
}

// A fakeGround keeps each fault as a file of a fake node, whose name server knows
// every name.
type fakeGround struct {
	node          *faketarget.Node
	met           *uint64
	resolv, hosts string
	able, others  error
}

func (g fakeGround) Stand(_ context.Context, n targets.Node) (peers.Site, error) {
	if _, ok := n.(*faketarget.Node); !ok {
		return peers.Site{}, fmt.Errorf("no network namespace: %w", targets.ErrUnsupported)
	}
	return peers.Site{Node: n.Name(), Path: "/fake/" + n.Name(), ID: kernel.NetNS{Inode: uint64(n.Name()[len(n.Name())-1])}}, nil
}

func (fakeGround) Addresses(context.Context, peers.Site) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
}

func (g fakeGround) Files(context.Context, targets.Node) (resolv, hosts []byte, err error) {
	return []byte(g.resolv), []byte(g.hosts), nil
}

func (g fakeGround) Able(context.Context) error                  { return g.able }
func (g fakeGround) Obstacles(context.Context, peers.Site) error { return g.others }

func (g fakeGround) Raise(ctx context.Context, _ peers.Site, s state, _ time.Duration) (hold, error) {
	if _, err := g.node.Exec(ctx, "read", s.Table); err == nil {
		return nil, fmt.Errorf("table %s is there", s.Table)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if _, err := g.node.Exec(ctx, "write", s.Table, string(data)); err != nil {
		return nil, err
	}
	return fakeHold{g, s}, nil
}

func (g fakeGround) Look(ctx context.Context, _ peers.Site, s state) (sight, error) {
	if _, err := g.node.Exec(ctx, "read", "theirs"); err != nil && g.cut(err) {
		return sight{}, err
	}
	_, there := g.node.Snapshot().Files[s.Table]
	v := sight{There: there, Lease: time.Second, Met: map[netip.Addr]uint64{}}
	for _, a := range s.Servers {
		v.Met[a] = *g.met
	}
	return v, nil
}

// cut says whether the error is of the connection, and not that there is no file.
func (g fakeGround) cut(err error) bool { return err.Error() != "read theirs: no such file" }

func (g fakeGround) Raze(ctx context.Context, at peers.Site, s state) error {
	if _, there := g.node.Snapshot().Files[s.Table]; !there {
		_, err := g.Look(ctx, at, s)
		return err
	}
	_, err := g.node.Exec(ctx, "remove", s.Table)
	return err
}

// Ask answers as the state says that is written on the node.
func (g fakeGround) Ask(ctx context.Context, _ peers.Site, questions []*question) error {
	var s state
	for _, text := range g.node.Snapshot().Files {
		if json.Unmarshal([]byte(text), &s) == nil && s.Table != "" {
			break
		}
	}
	for _, q := range questions {
		m := new(dns.Msg)
		m.SetQuestion(q.name, q.kind)
		if !q.direct {
			*g.met++
			if err := q.by(s, m); err != nil {
				return err
			}
			continue
		}
		q.answer = new(dns.Msg).SetRcode(m, dns.RcodeSuccess)
	}
	return ctx.Err()
}

// by answers a question as a server with that state does.
func (q *question) by(s state, m *dns.Msg) error {
	out, err := m.Pack()
	if err != nil {
		return err
	}
	what, own := s.judge(out)
	if what == dropped {
		return nil
	}
	if what == late {
		q.took = s.Delay
		if q.wait < s.Delay {
			return nil
		}
	}
	q.answer = new(dns.Msg).SetRcode(m, dns.RcodeSuccess)
	if own != nil {
		return q.answer.Unpack(own)
	}
	return nil
}

type fakeHold struct {
	g fakeGround
	s state
}

func (fakeHold) Renew(time.Duration) error { return nil }
func (fakeHold) Close()                    {}
func (h fakeHold) Look() (sight, error) {
	return h.g.Look(context.Background(), peers.Site{}, h.s)
}

func (h fakeHold) Remove() error {
	// A table is removed through its socket, which no lost connection to the node
	// keeps from it; the fake has but the connection.
	_, err := h.g.node.Exec(context.Background(), "remove", h.s.Table)
	return err
}

var errFake = errors.New("not on this kernel")
