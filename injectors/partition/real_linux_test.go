package partition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/targets/netns"
)

// talking is who talks to whom on the first port: "a>b" stands for TCP and UDP,
// IPv4 and IPv6 alike; what holds for some of them only is named in full.
func talking(t *testing.T, l *netns.Lab, port int) string {
	t.Helper()
	m := matrix(t, l, port)
	var list []string
	pairs := map[string][]string{}
	for key, ok := range m {
		pair, way, _ := strings.Cut(key, " ")
		if ok {
			pairs[pair] = append(pairs[pair], way)
		}
	}
	for _, pair := range slices.Sorted(maps.Keys(pairs)) {
		switch ways := pairs[pair]; len(ways) {
		case 4:
			list = append(list, pair)
		case 0:
		default:
			slices.Sort(ways)
			list = append(list, pair+"("+strings.Join(ways, ",")+")")
		}
	}
	return strings.Join(list, " ")
}

func TestWhoHearsWhomIsWhatTheParametersSay(t *testing.T) {
	const everybody = "a>b a>c a>d b>a b>c b>d c>a c>b c>d d>a d>b d>c"
	l := newLab(t, "a", "b", "c", "d")
	serve(t, l)
	if got := talking(t, l, 5432); got != everybody {
		t.Fatalf("before any fault: %s", got)
	}
	for _, c := range []struct {
		with, on string
		port     int
		want     string
	}{
		{`{}`, "a", 5432, "b>c b>d c>b c>d d>b d>c"},
		{`{}`, "a b", 5432, "a>b b>a c>d d>c"},
		{`{"peers": ["c"]}`, "a", 5432, "a>b a>d b>a b>c b>d c>b c>d d>a d>b d>c"},
		{`{"groups": [["a", "b"], ["c", "d"]]}`, "a", 5432, "a>b b>a c>d d>c"},
		{`{"groups": [["a"], ["b"], ["others"]]}`, "a", 5432, "c>d d>c"},
		{`{"shape": "bridge"}`, "b", 5432, "a>b b>a b>c b>d c>b c>d d>b d>c"},
		{`{"shape": "ring"}`, "a", 5432, "a>b a>d b>a b>c c>b c>d d>a d>c"},
		{`{"ports": [5432]}`, "a", 5432, "b>c b>d c>b c>d d>b d>c"},
		{`{"ports": [5432]}`, "a", 8008, everybody},
		{`{"ports": ["8000-8100", 9, "8050-9000"]}`, "a", 8008, "b>c b>d c>b c>d d>b d>c"},
		{`{"ports": ["1-65535"]}`, "a", 8008, "b>c b>d c>b c>d d>b d>c"},
		{`{"ports": [5432], "proto": "tcp"}`, "a", 5432, "a>b(udp4,udp6) a>c(udp4,udp6) a>d(udp4,udp6) b>a(udp4,udp6) b>c b>d c>a(udp4,udp6) c>b c>d d>a(udp4,udp6) d>b d>c"},
		{`{"proto": "udp"}`, "a", 5432, "a>b(tcp4,tcp6) a>c(tcp4,tcp6) a>d(tcp4,tcp6) b>a(tcp4,tcp6) b>c b>d c>a(tcp4,tcp6) c>b c>d d>a(tcp4,tcp6) d>b d>c"},
		{`{"action": "reject"}`, "a", 5432, "b>c b>d c>b c>d d>b d>c"},
		{`{"what": "new"}`, "a", 5432, "a>b(udp4,udp6) a>c(udp4,udp6) a>d(udp4,udp6) b>a(udp4,udp6) b>c b>d c>a(udp4,udp6) c>b c>d d>a(udp4,udp6) d>b d>c"},
	} {
		t.Run(c.with+" on "+c.on+fmt.Sprintf(" port %d", c.port), func(t *testing.T) {
			h := cut(t, l.Nodes(), c.with, strings.Fields(c.on)...)
			if d := cmp.Diff(c.want, talking(t, l, c.port)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			h.revert(t)
			if got := talking(t, l, c.port); got != everybody {
				t.Errorf("after the revert: %s", got)
			}
		})
	}
}

func TestOneWayIsOneWayForDatagrams(t *testing.T) {
	l := newLab(t, "a", "b")
	for _, c := range []struct {
		with       string
		aToB, bToA bool
	}{
		{`{"from": ["others"]}`, true, false},
		{`{"to": ["others"]}`, false, true},
		{`{"from": ["a"], "to": ["b"]}`, false, true},
	} {
		t.Run(c.with, func(t *testing.T) {
			cut(t, l.Nodes(), c.with, "a")
			for _, way := range []struct {
				from, to string
				want     bool
			}{{"a", "b", c.aToB}, {"b", "a", c.bToA}} {
				stop := make(chan struct{})
				s := streamOf(t, l.Node(way.from), l.Node(way.to), time.Millisecond, stop)
				time.AfterFunc(50*time.Millisecond, func() { close(stop) })
				if r := <-s; r.sent == 0 || way.want && r.got != r.sent || !way.want && r.got != 0 {
					t.Errorf("%s to %s: %d of %d arrived", way.from, way.to, r.got, r.sent)
				}
			}
		})
	}
}

func TestTheSenderIsToldNothing(t *testing.T) {
	l := newLab(t, "a", "b")
	serve(t, l)
	for _, version := range []int{4, 6} {
		to := net.JoinHostPort(addrOf(t, l.Node("b"), version), "5432")
		established := dial(t, "tcp", l.Node("a"), to)
		if established == nil || !echo(t, established) {
			t.Fatal("there is no connection to begin with")
		}
		h := cut(t, l.Nodes(), `{}`, "a")
		// What two machines know of each other is forgotten, as it is after a
		// while: they must be able to find each other all the same.
		for _, n := range []string{"a", "b"} {
			if out, err := l.Node(n).Exec(t.Context(), "ip", "neigh", "flush", "all"); err != nil {
				t.Fatal(string(out), err)
			}
		}
		c := dial(t, "udp", l.Node("a"), to)
		for range 20 {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Errorf("IPv%d: sending a datagram: %v", version, err)
			}
		}
		c.Close()
		if _, err := established.Write([]byte("y")); err != nil {
			t.Errorf("IPv%d: sending on an established connection: %v", version, err)
		}
		if err := established.SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// 4 s: a machine that cannot find its neighbour says so after 3.
		if _, err := established.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("IPv%d: waiting on an established connection: %v, want silence", version, err)
		}
		h.revert(t)
		if err := established.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if k, err := established.Read(make([]byte, 1)); k != 1 || err != nil {
			t.Errorf("IPv%d: the connection does not go on after the revert: %v", version, err)
		}
		established.Close()
	}
}

func TestNewConnectionsAreCutAndEstablishedOnesGoOn(t *testing.T) {
	l := newLab(t, "a", "b")
	serve(t, l)
	to := net.JoinHostPort(addrOf(t, l.Node("b"), 4), "5432")
	c := dial(t, "tcp", l.Node("a"), to)
	defer c.Close()
	cut(t, l.Nodes(), `{"what": "new"}`, "a")
	if !echo(t, c) {
		t.Error("an established connection is cut")
	}
	if talks(t, "tcp", l.Node("a"), to) {
		t.Error("a new connection can be made")
	}
}

func TestRejectIsAnsweredAtOnce(t *testing.T) {
	l := newLab(t, "a", "b")
	serve(t, l)
	cut(t, l.Nodes(), `{"action": "reject"}`, "a")
	for _, version := range []int{4, 6} {
		to := net.JoinHostPort(addrOf(t, l.Node("b"), version), "5432")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := l.Node("a").DialContext(ctx, "tcp", to); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("TCP to %s: %v, want refused", to, err)
		}
		c := dial(t, "udp", l.Node("a"), to)
		defer c.Close()
		_, _ = c.Write([]byte("x"))
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("UDP to %s: %v, want refused", to, err)
		}
	}
}

func TestResetEndsEstablishedConnectionsAcrossTheCutAndNoOthers(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	serve(t, l)
	for _, version := range []int{4, 6} {
		across := dial(t, "tcp", l.Node("a"), net.JoinHostPort(addrOf(t, l.Node("b"), version), "5432"))
		other := dial(t, "tcp", l.Node("a"), net.JoinHostPort(addrOf(t, l.Node("c"), version), "5432"))
		if !echo(t, across) || !echo(t, other) {
			t.Fatal("no connections to begin with")
		}
		h := cut(t, l.Nodes(), `{"peers": ["b"], "reset": true}`, "a")
		_ = across.SetReadDeadline(time.Now().Add(patience))
		if _, err := across.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNABORTED) {
			t.Errorf("IPv%d: the connection across: %v, want aborted", version, err)
		}
		if !echo(t, other) {
			t.Errorf("IPv%d: another connection was ended", version)
		}
		h.revert(t)
		across.Close()
		other.Close()
	}
}

func TestMachinesThatAreNoNodesAreCutBothWaysAtTheNodeItself(t *testing.T) {
	// c plays a machine that is no node: it is not in the aim.
	l := newLab(t, "a", "b", "c")
	serve(t, l)
	v4, v6 := addrOf(t, l.Node("c"), 4), addrOf(t, l.Node("c"), 6)
	with := fmt.Sprintf(`{"groups": [["a"], [%q, "%s/128"]]}`, v4, v6)
	if _, err := plan(t, l.Nodes(), with, "a"); err == nil || !strings.Contains(err.Error(), "holds node c") {
		t.Errorf("the address of a node: %v, want its name to be asked for", err)
	}
	h := cut(t, without(l, "c"), with, "a")
	for _, version := range []int{4, 6} {
		in := net.JoinHostPort(addrOf(t, l.Node("a"), version), "5432")
		out := net.JoinHostPort(addrOf(t, l.Node("c"), version), "5432")
		for _, network := range []string{"tcp", "udp"} {
			if talks(t, network, l.Node("c"), in) || talks(t, network, l.Node("a"), out) {
				t.Errorf("%s%d passes", network, version)
			}
		}
	}
	stop := make(chan struct{})
	s := streamOf(t, l.Node("a"), l.Node("c"), time.Millisecond, stop)
	time.AfterFunc(50*time.Millisecond, func() { close(stop) })
	if r := <-s; r.got != 0 || r.sent == 0 {
		t.Errorf("%d of %d datagrams left the node", r.got, r.sent)
	}
	c := dial(t, "udp", l.Node("a"), net.JoinHostPort(v4, "5432"))
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("the sender is told: %v", err)
	}
	if !talks(t, "tcp", l.Node("a"), net.JoinHostPort(addrOf(t, l.Node("b"), 4), "5432")) {
		t.Error("a node is cut as well")
	}
	h.revert(t)
	if !talks(t, "tcp", l.Node("a"), net.JoinHostPort(v4, "5432")) {
		t.Error("it is still cut after the revert")
	}
}

func TestClientsAreWhateverIsNoNodeAndSSHAndLoopbackStay(t *testing.T) {
	l := newLab(t, "a", "b", "client")
	serve(t, l)
	serveOn(t, l.Node("a"), ":22")
	serveOn(t, l.Node("a"), "127.0.0.11:53")
	a := func(port string) string { return net.JoinHostPort(addrOf(t, l.Node("a"), 4), port) }
	for _, c := range []struct {
		with          string
		node, client  bool
		ssh, dns      bool
		clientNewOnly bool
	}{
		{`{"clients": true}`, false, false, true, true, false},
		{`{"peers": ["clients"]}`, true, false, true, true, false},
		{`{"clients": true, "also": ["ssh"]}`, false, false, false, true, false},
		{`{"clients": true, "also": ["ssh", "dns"]}`, false, false, false, false, false},
		{`{"peers": ["clients"], "ports": [5432]}`, true, false, true, true, false},
	} {
		t.Run(c.with, func(t *testing.T) {
			h := cut(t, without(l, "client"), c.with, "a")
			for what, x := range map[string]struct{ got, want bool }{
				"a node":       {talks(t, "tcp", l.Node("b"), a("5432")), c.node},
				"a client":     {talks(t, "tcp", l.Node("client"), a("5432")), c.client},
				"ssh":          {talks(t, "tcp", l.Node("client"), a("22")), c.ssh},
				"itself":       {talks(t, "tcp", l.Node("a"), a("5432")), true},
				"its loopback": {talks(t, "tcp", l.Node("a"), "127.0.0.1:5432"), true},
				"names":        {talks(t, "udp", l.Node("a"), "127.0.0.11:53"), c.dns},
			} {
				if x.got != x.want {
					t.Errorf("%s talks to it: %v, want %v", what, x.got, x.want)
				}
			}
			h.revert(t)
		})
	}
}
