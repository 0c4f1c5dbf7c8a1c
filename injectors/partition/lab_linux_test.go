package partition

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

// rootless says that this test binary was started again in a user namespace, in
// which it has all rights and the machine's root has none.
const rootless = "DAPPLE_TEST_ROOTLESS"

func TestMain(m *testing.M) {
	if os.Getenv(holderEnv) != "" {
		os.Exit(holder())
	}
	os.Exit(m.Run())
}

// newLab makes a lab of nodes whose echo servers listen.
func newLab(t testing.TB, names ...string) *netns.Lab {
	t.Helper()
	if os.Getenv(rootless) == "" {
		testenv.NeedRoot(t)
	}
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

// The ports on which every node answers, TCP and UDP.
var ports = []int{5432, 8008}

// serve has every node of the lab answer on all its addresses.
func serve(t testing.TB, l *netns.Lab) {
	t.Helper()
	for _, n := range l.Nodes() {
		for _, port := range ports {
			serveOn(t, n.(*netns.Node), fmt.Sprintf(":%d", port))
		}
	}
}

func serveOn(t testing.TB, n *netns.Node, addr string) {
	t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	within(t, n, func() (err error) {
		if tcp, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		udp, err = net.ListenPacket("udp", addr)
		return err
	})
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 100)
				for {
					k, err := c.Read(buf)
					if err != nil {
						return
					}
					_, _ = c.Write(buf[:k])
				}
			}()
		}
	}()
	go func() {
		buf := make([]byte, 100)
		for {
			k, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(buf[:k], from)
		}
	}()
}

// within runs do in the node's namespace.
func within(t testing.TB, n *netns.Node, do func() error) {
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

// patience is how long a test waits for an answer that it expects not to come:
// the machine may be busy, but a packet that passes takes microseconds.
const patience = 150 * time.Millisecond

// talks says whether an answer comes: of the echo server for UDP, and for TCP
// whether a new connection can be made and used.
func talks(t testing.TB, network string, from *netns.Node, to string) bool {
	t.Helper()
	c := dial(t, network, from, to)
	if c == nil {
		return false
	}
	defer c.Close()
	return echo(t, c)
}

func dial(t testing.TB, network string, from *netns.Node, to string) (c net.Conn) {
	t.Helper()
	if network == "tcp" {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := from.DialContext(ctx, "tcp", to)
		if err != nil {
			return nil
		}
		return c
	}
	within(t, from, func() (err error) {
		c, err = net.Dial("udp", to)
		return err
	})
	return c
}

func echo(t testing.TB, c net.Conn) bool {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	k, err := c.Read(make([]byte, 10))
	return k == 1 && err == nil
}

// matrix is who talks to whom, by protocol and version: "a>b tcp4".
func matrix(t testing.TB, l *netns.Lab, port int) map[string]bool {
	t.Helper()
	m := map[string]bool{}
	type pair struct {
		key string
		ok  chan bool
	}
	var list []pair
	for _, from := range l.Nodes() {
		for _, to := range l.Nodes() {
			if from == to {
				continue
			}
			for _, version := range []int{4, 6} {
				for _, network := range []string{"tcp", "udp"} {
					p := pair{fmt.Sprintf("%s>%s %s%d", from.Name(), to.Name(), network, version), make(chan bool, 1)}
					list = append(list, p)
					addr := net.JoinHostPort(addrOf(t, to.(*netns.Node), version), fmt.Sprint(port))
					go func() { p.ok <- talks(t, network, from.(*netns.Node), addr) }()
				}
			}
		}
	}
	for _, p := range list {
		m[p.key] = <-p.ok
	}
	return m
}

// A held is a partition that stands, with one cutter for each node, as an agent
// has it.
type held struct {
	faults []injectors.Fault
	by     map[string]*cutter
	inj    map[string]injectors.Injector
	nodes  map[string]targets.Node
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
	return injectors.Of(kind, newCutter(p, kernelGround{})).Plan(t.Context(), aim)
}

// cut plans, injects and proves.
func cut(t testing.TB, nodes []targets.Node, with string, on ...string) *held {
	t.Helper()
	h := inject(t, nodes, with, on...)
	for _, f := range h.faults {
		ok, proof := h.effect(t, f)
		if !ok {
			t.Fatalf("%s: %s: not proven: %s", f.Node, f.Does, proof)
		}
	}
	return h
}

func inject(t testing.TB, nodes []targets.Node, with string, on ...string) *held {
	t.Helper()
	faults, err := plan(t, nodes, with, on...)
	if err != nil {
		t.Fatal(err)
	}
	h := &held{faults: faults, by: map[string]*cutter{}, inj: map[string]injectors.Injector{}, nodes: map[string]targets.Node{}}
	for _, n := range nodes {
		h.nodes[n.Name()] = n
	}
	for _, f := range faults {
		c := newCutter(defaults(), kernelGround{})
		h.by[f.Node], h.inj[f.Node] = c, injectors.Of(kind, c)
		if err := h.inj[f.Node].(injectors.Renewer).Renew(t.Context(), h.nodes[f.Node], f, time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := h.inj[f.Node].Inject(t.Context(), h.nodes[f.Node], f); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { h.revert(t) })
	return h
}

func (h *held) effect(t testing.TB, f injectors.Fault) (bool, string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Second); ; {
		ok, proof, err := h.inj[f.Node].Effect(t.Context(), h.nodes[f.Node], f)
		if err != nil {
			t.Fatal(err)
		}
		if ok || time.Now().After(deadline) {
			return ok, proof
		}
	}
}

func (h *held) revert(t testing.TB) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for _, f := range h.faults {
		if err := h.inj[f.Node].Revert(ctx, h.nodes[f.Node], f); err != nil && !errors.Is(err, targets.ErrGone) {
			t.Errorf("%s: %v", f.Node, err)
		}
	}
}
