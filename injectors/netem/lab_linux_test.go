package netem

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

func TestMain(m *testing.M) {
	if os.Getenv(holderEnv) != "" {
		os.Exit(holder())
	}
	os.Exit(m.Run())
}

// newLab makes a lab of nodes.
func newLab(t testing.TB, names ...string) *netns.Lab {
	t.Helper()
	testenv.NeedRoot(t)
	err := queueEngine{}.Able(t.Context(), peers.Site{}, state{})
	testenv.Need(t, "nfqueue", err)
	ctx := context.WithoutCancel(t.Context())
	l, err := netns.New(ctx, netns.Named(names...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return l
}

func plan(t testing.TB, nodes []targets.Node, with string, on ...string) ([]injectors.Fault, error) {
	t.Helper()
	p, err := made(t, with)
	if err != nil {
		t.Fatal(err)
	}
	aim := injectors.Aim{Drill: "01TEST"}
	for _, n := range nodes {
		if slices.Contains(on, n.Name()) {
			aim.On = append(aim.On, n)
		} else {
			aim.Peers = append(aim.Peers, n)
		}
	}
	return injectors.Of(kind, newImpairer(p, kernelGround{}, engines())).Plan(t.Context(), aim)
}

// A held is a fault on one node that is held by this process.
type held struct {
	fault injectors.Fault
	state state
	node  targets.Node
	imp   *impairer
	inj   injectors.Injector
}

// impair plans for node a, injects and proves.
func impair(t testing.TB, nodes []targets.Node, with string) *held {
	t.Helper()
	h := inject(t, nodes, with)
	h.proof(t)
	return h
}

func inject(t testing.TB, nodes []targets.Node, with string) *held {
	t.Helper()
	faults, err := plan(t, nodes, with, "a")
	if err != nil {
		t.Fatal(err)
	}
	h := &held{fault: faults[0], state: stateOf(t, faults[0]), node: nodes[0], imp: newImpairer(defaults(), kernelGround{}, engines())}
	h.inj = injectors.Of(kind, h.imp)
	if err := h.inj.(injectors.Renewer).Renew(t.Context(), h.node, h.fault, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := h.inj.Inject(t.Context(), h.node, h.fault); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.revert(t) })
	return h
}

// proof looks until the effect is proven.
func (h *held) proof(t testing.TB) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		ok, proof, err := h.inj.Effect(t.Context(), h.node, h.fault)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return proof
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not proven: %s", h.fault.Does, proof)
		}
	}
}

func (h *held) revert(t testing.TB) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := h.inj.Revert(ctx, h.node, h.fault); err != nil && !errors.Is(err, targets.ErrGone) {
		t.Error(err)
	}
}

func stateOf(t testing.TB, f injectors.Fault) (s state) {
	t.Helper()
	if err := json.Unmarshal(f.State, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// volley measures count packets from one node to the other, with a pause between
// them, past the fault's own measure.
func volley(t testing.TB, l *netns.Lab, h *held, way Direction, to int, count int, wait time.Duration) *trip {
	t.Helper()
	s := h.state
	from, at := s.Mine, s.Peers[0].Addrs
	if way == ingress {
		from, at = at, from
	}
	addrs := peers.Meeting(at, from)
	if len(addrs) != 2 {
		t.Fatal(addrs)
	}
	v := &trip{peer: s.Peers[0].Name, path: s.Peers[0].Path, ns: s.Peers[0].NS, way: way, to: addrs[map[int]int{4: 0, 6: 1}[to]], count: count, wait: wait}
	site, err := peers.Stand(t.Context(), h.node)
	if err == nil {
		err = kernelGround{}.Travel(t.Context(), site, s, []*trip{v})
	}
	if err = errors.Join(err, v.err); err != nil {
		t.Fatal(err)
	}
	return v
}

// inside runs do in the node's network namespace.
func inside(t testing.TB, n *netns.Node, do func() error) {
	t.Helper()
	path, err := n.NetNS(context.WithoutCancel(t.Context()))
	if err == nil {
		err = kernel.InNetNS(path, do)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func addrOf(t testing.TB, n *netns.Node, version int) string {
	t.Helper()
	addrs, err := n.Addresses(t.Context())
	if err != nil || len(addrs) != 2 {
		t.Fatal(addrs, err)
	}
	return addrs[map[int]int{4: 0, 6: 1}[version]]
}

// fastest is how long a datagram takes from one node to a port of the other, at
// best: of some, until one took less than enough.
func fastest(t testing.TB, from, to *netns.Node, port string, enough time.Duration) time.Duration {
	t.Helper()
	var in net.PacketConn
	var out net.Conn
	inside(t, to, func() (err error) {
		in, err = net.ListenPacket("udp4", net.JoinHostPort(addrOf(t, to, 4), port))
		return err
	})
	defer in.Close()
	inside(t, from, func() (err error) { out, err = net.Dial("udp4", in.LocalAddr().String()); return err })
	defer out.Close()
	best := time.Hour
	for range 3 {
		begin := time.Now()
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := in.SetReadDeadline(begin.Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := in.ReadFrom(make([]byte, 10)); err != nil {
			t.Fatalf("from %s to %s:%s: %v", from.Name(), to.Name(), port, err)
		}
		if best = min(best, time.Since(begin)); best < enough {
			break
		}
	}
	return best
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
