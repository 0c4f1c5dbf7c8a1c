package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
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

// A lab is a node, "app", and the real name server that it asks, "ns", which knows
// every name below example.com and no other, by UDP and TCP, IPv4 and IPv6.
type lab struct {
	*netns.Lab
	servers []netip.Addr
	asked   atomic.Int64 // how often the real server was
}

func newLab(t testing.TB) *lab {
	t.Helper()
	testenv.NeedRoot(t)
	ctx := context.WithoutCancel(t.Context())
	inner, err := netns.New(ctx, netns.Named("app", "ns", "other")...)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{Lab: inner}
	t.Cleanup(func() {
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	texts, err := l.Node("ns").Addresses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		l.servers = append(l.servers, netip.MustParseAddr(text))
	}
	var udp net.PacketConn
	var tcp net.Listener
	within(t, l.Node("ns"), func() (err error) {
		if udp, err = net.ListenPacket("udp", ":53"); err != nil {
			return err
		}
		tcp, err = net.Listen("tcp", ":53")
		return err
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: l}, {Listener: tcp, Handler: l}} {
		done := make(chan error, 1)
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); <-done })
	}
	return l
}

// The real address of every name below example.com.
var real4, real6 = net.ParseIP("10.99.0.1"), net.ParseIP("fd99::1")

func (l *lab) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	l.asked.Add(1)
	a := new(dns.Msg)
	a.SetRcode(q, dns.RcodeNameError)
	if name := q.Question[0].Name; strings.HasSuffix(name, "example.com.") {
		a.Rcode = dns.RcodeSuccess
		head := dns.RR_Header{Name: name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}
		switch head.Rrtype {
		case dns.TypeA:
			a.Answer = []dns.RR{&dns.A{Hdr: head, A: real4}}
		case dns.TypeAAAA:
			a.Answer = []dns.RR{&dns.AAAA{Hdr: head, AAAA: real6}}
		}
	}
	_ = w.WriteMsg(a)
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

// A client is a resolver's socket of the node "app".
func (l *lab) client(t testing.TB, network string, server netip.Addr) *dns.Conn {
	t.Helper()
	to := netip.AddrPortFrom(server, port).String()
	var c net.Conn
	if network == "tcp" {
		var err error
		if c, err = l.Node("app").DialContext(t.Context(), "tcp", to); err != nil {
			t.Fatal(err)
		}
	} else {
		within(t, l.Node("app"), func() (err error) { c, err = net.Dial("udp", to); return err })
	}
	t.Cleanup(func() { c.Close() })
	return &dns.Conn{Conn: c}
}

// ask is the answer in words, and when it came; "nothing" is none within wait.
func exchange(t testing.TB, c *dns.Conn, name string, kind uint16, wait time.Duration) (string, time.Duration) {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	begin := time.Now()
	if err := c.SetDeadline(begin.Add(wait)); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteMsg(q); err != nil {
		return err.Error(), 0
	}
	for {
		a, err := c.ReadMsg()
		took := time.Since(begin)
		var netErr net.Error
		switch {
		case errors.As(err, &netErr) && netErr.Timeout():
			return "nothing", took
		case err != nil:
			return err.Error(), took
		case a.Id != q.Id:
			continue
		}
		seen := question{answer: a}
		return strings.TrimSpace(dns.RcodeToString[a.Rcode] + " " + join(seen.addresses())), took
	}
}

// all asks every way that there is, and wants the same answer by each.
func (l *lab) all(t testing.TB, name string, kind uint16, wait time.Duration) (answer string, least time.Duration) {
	t.Helper()
	for _, server := range l.servers {
		for _, network := range []string{"udp", "tcp"} {
			got, took := exchange(t, l.client(t, network, server), name, kind, wait)
			if answer != "" && got != answer {
				t.Errorf("%s %v: %s, by other ways: %s", network, server, got, answer)
			}
			if answer == "" || took < least {
				least = took
			}
			answer = got
		}
	}
	return answer, least
}

func (l *lab) plan(t testing.TB, with string) (injectors.Fault, error) {
	t.Helper()
	var values map[string]any
	if err := json.Unmarshal([]byte(with), &values); err != nil {
		t.Fatal(err)
	}
	values["servers"] = l.servers
	data, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	p, err := made(t, string(data))
	if err != nil {
		t.Fatal(err)
	}
	faults, err := injectors.Of(kind, newLiar(p, kernelGround{})).Plan(t.Context(), injectors.Aim{
		On: []targets.Node{l.Node("app")}, Peers: []targets.Node{l.Node("ns"), l.Node("other")}, Drill: "01TEST",
	})
	if err != nil {
		return injectors.Fault{}, err
	}
	return faults[0], nil
}

// A held is a fault as an agent has it.
type held struct {
	l   *lab
	f   injectors.Fault
	inj injectors.Injector
}

func (l *lab) inject(t testing.TB, with string) *held {
	t.Helper()
	f, err := l.plan(t, with)
	if err != nil {
		t.Fatal(err)
	}
	h := &held{l, f, Kind().Reopen()}
	if err := h.inj.(injectors.Renewer).Renew(t.Context(), l.Node("app"), f, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := h.inj.Inject(t.Context(), l.Node("app"), f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.revert(t) })
	return h
}

func (h *held) effect(t testing.TB) (bool, string) {
	t.Helper()
	ok, proof, err := h.inj.Effect(t.Context(), h.l.Node("app"), h.f)
	if err != nil {
		t.Fatal(err)
	}
	return ok, proof
}

func (h *held) revert(t testing.TB) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := h.inj.Revert(ctx, h.l.Node("app"), h.f); err != nil && !errors.Is(err, targets.ErrGone) {
		t.Error(err)
	}
	if ok, proof, err := h.inj.(injectors.Reverted).Reverted(ctx, h.l.Node("app"), h.f); err != nil && !errors.Is(err, targets.ErrGone) || err == nil && !ok {
		t.Errorf("after revert: %v, %s, %v", ok, proof, err)
	}
}

// pause waits on the wall clock: for leases that run in the kernel there is nothing
// else to wait for.
func pause(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	<-ctx.Done()
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !is(); pause(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(fmt.Sprint("waited in vain: ", what))
		}
	}
}
