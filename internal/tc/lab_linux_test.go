package tc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/internal/vmtest"
	"github.com/dapple-drills/dapple/targets/netns"
)

func TestOnDebiansKernel(t *testing.T) {
	vmtest.Run(t, vmtest.Guest{
		Modules: []string{"veth", "bridge", "ifb", "sch_netem", "sch_ingress", "cls_bpf", "act_mirred", "cls_u32"},
		Have:    "root,netem",
		Tests:   []string{"TestNetem"},
		Timeout: 10 * time.Minute, // on a busy machine; 1 minute on an idle one
	})
}

// needNetem ends the test unless this kernel has netem and what leads to it.
func needNetem(t testing.TB) {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.Need(t, "netem", Try())
}

// A place is one node of a lab.
type place struct {
	path   string
	v4, v6 netip.Addr
}

func lab(t *testing.T, n int) []place {
	t.Helper()
	needNetem(t)
	return places(t, n)
}

func places(t *testing.T, n int) []place {
	t.Helper()
	names := []string{"a", "b", "c"}[:n]
	l, err := netns.New(t.Context(), netns.Named(names...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	var list []place
	for _, name := range names {
		n := l.Node(name)
		path, err := n.NetNS(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		addrs, err := n.Addresses(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, place{path, netip.MustParseAddr(addrs[0]), netip.MustParseAddr(addrs[1])})
	}
	return list
}

// to is a Spec for what leaves for the addresses.
func to(i Impairment, addrs ...netip.Addr) Spec {
	return Spec{Name: fmt.Sprintf("dapple-test-%d", os.Getpid()), Out: true, Addrs: addrs, Impairment: i}
}

// raised makes it, and takes it away when the test ends.
func raised(t *testing.T, at place, s Spec) *Hold {
	t.Helper()
	h, err := Raise(at.path, s, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.Close(), Remove(at.path, s)); err != nil {
			t.Error(err)
		}
	})
	return h
}

func socket(t *testing.T, at place, a netip.Addr, port uint16) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := kernel.InNetNS(at.path, func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadBuffer(8 << 20); err != nil {
		t.Fatal(err)
	}
	return c
}

// A volley is a number of packets.
type volley struct {
	count  int
	every  time.Duration // 0: all at once
	size   int
	port   uint16
	during func()
}

// An arrival is of one packet.
type arrival struct {
	number int
	took   time.Duration
	sent   time.Duration // since the first
}

// send sends packets and returns those that arrived, in their order. It ends when
// nothing has arrived for a while.
func (v volley) send(t *testing.T, from place, src netip.Addr, at place, dst netip.Addr) (got []arrival) {
	t.Helper()
	if v.port == 0 {
		v.port = 4711
	}
	rx, tx := socket(t, at, dst, v.port), socket(t, from, src, 0)
	defer rx.Close()
	defer tx.Close()
	begin := time.Now()
	done := make(chan struct{})
	var last time.Time
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, err := rx.Read(buf)
			if err != nil {
				return // the deadline
			}
			if n >= 16 {
				sent := time.Duration(binary.LittleEndian.Uint64(buf[8:]))
				got = append(got, arrival{int(binary.LittleEndian.Uint64(buf)), time.Since(begin) - sent, sent})
				if len(got) >= v.count { // those that come twice come soon
					_ = rx.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				}
			}
		}
	}()
	if v.during != nil {
		go v.during()
	}
	buf := make([]byte, max(16, v.size))
	tick := time.NewTicker(max(time.Microsecond, v.every))
	defer tick.Stop()
	for i := range v.count {
		binary.LittleEndian.PutUint64(buf, uint64(i))
		binary.LittleEndian.PutUint64(buf[8:], uint64(time.Since(begin)))
		if _, err := tx.WriteToUDPAddrPort(buf, netip.AddrPortFrom(dst, v.port)); err != nil {
			t.Fatal(err)
		}
		if v.every > 0 {
			<-tick.C
		}
	}
	last = time.Now()
	if err := rx.SetReadDeadline(last.Add(1500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	<-done
	return got
}

// figures are what is made of arrivals.
type figures struct {
	lost, twice, overtaken float64 // of those sent
	bursts                 float64 // mean number of losses in a row
	min, median, max, sd   time.Duration
}

func figuresOf(got []arrival, sent int) (f figures) {
	times := map[int]int{}
	var took []time.Duration
	high, sum, squares := -1, 0.0, 0.0
	for _, a := range got {
		times[a.number]++
		if times[a.number] > 1 {
			f.twice++
			continue
		}
		if a.number < high {
			f.overtaken++
		}
		high = max(high, a.number)
		took = append(took, a.took)
		sum += float64(a.took)
	}
	n := float64(len(took))
	for _, d := range took {
		squares += (float64(d) - sum/n) * (float64(d) - sum/n)
	}
	runs, lost := 0.0, 0.0
	for i := range sent {
		if times[i] == 0 {
			lost++
			if i == 0 || times[i-1] > 0 {
				runs++
			}
		}
	}
	if runs > 0 {
		f.bursts = lost / runs
	}
	f.lost, f.twice, f.overtaken = lost/float64(sent), f.twice/float64(sent), f.overtaken/float64(sent)
	if n > 0 {
		slices.Sort(took)
		f.min, f.median, f.max = took[0], took[len(took)/2], took[len(took)-1]
		f.sd = time.Duration(math.Sqrt(squares / n))
	}
	return f
}

func (f figures) String() string {
	return fmt.Sprintf("lost %.3f (%.1f in a row), twice %.3f, overtaken %.3f, took min %v median %v max %v sd %v", f.lost, f.bursts, f.twice, f.overtaken, f.min, f.median, f.max, f.sd)
}

// inside calls do in the namespace.
func inside(t *testing.T, at place, do func() error) {
	t.Helper()
	if err := kernel.InNetNS(at.path, do); err != nil {
		t.Fatal(err)
	}
}

// until waits for what is to come true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		<-tick.C
	}
}

func addrsOf(t *testing.T, list string) (addrs []netip.Addr) {
	t.Helper()
	for a := range strings.SplitSeq(list, ",") {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs
}
