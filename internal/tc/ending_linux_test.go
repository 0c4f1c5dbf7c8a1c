package tc

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// snapshot is all that the kernel tells of a namespace's devices, queues and
// filters, byte for byte, but for what counts packets and time.
func snapshot(t *testing.T, at place) []string {
	t.Helper()
	var list []string
	dump := func(what, get, answer int, head []byte, skip int, leave ...uint16) {
		r := nl.NewNetlinkRequest(get, unix.NLM_F_DUMP)
		r.AddRawData(head)
		messages, err := r.Execute(unix.NETLINK_ROUTE, uint16(answer))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			has, err := attributes(m[skip:])
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range leave {
				delete(has, kind)
			}
			list = append(list, fmt.Sprintf("%d %x %x", what, m[:skip], has))
		}
	}
	err := kernel.InNetNS(at.path, func() error {
		// The bytes of struct ifinfomsg, and of struct tcmsg for all devices.
		dump(1, unix.RTM_GETLINK, unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg), unix.SizeofIfInfomsg,
			unix.IFLA_STATS, unix.IFLA_STATS64, unix.IFLA_AF_SPEC)
		dump(2, unix.RTM_GETQDISC, unix.RTM_NEWQDISC, make([]byte, nl.SizeofTcMsg), nl.SizeofTcMsg, nl.TCA_STATS, nl.TCA_STATS2)
		links, err := netlink.LinkList()
		for _, l := range links {
			for w := range parents {
				fs, err := filters(l.Attrs().Index, w)
				if err != nil {
					return err
				}
				list = append(list, fmt.Sprintf("3 %s %+v", w, fs))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func same(t *testing.T, before, after []string) {
	t.Helper()
	for _, x := range before {
		if !slices.Contains(after, x) {
			t.Errorf("before, and not after: %s", x)
		}
	}
	for _, x := range after {
		if !slices.Contains(before, x) {
			t.Errorf("after, and not before: %s", x)
		}
	}
}

func TestNetemLeavesNothingBehindAndLosesNothing(t *testing.T) {
	nodes := lab(t, 2)
	a, b := nodes[0], nodes[1]
	volley{count: 5}.send(t, a, a.v4, b, b.v4) // neighbours know each other
	before := snapshot(t, a)
	s := to(Impairment{Delay: 50 * time.Millisecond}, b.v4, b.v6)
	s.In = true
	removed := make(chan error, 1)
	h, err := Raise(a.path, s, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	v := volley{count: 400, every: time.Millisecond, during: func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C { // until it is at work
			if seen, err := Look(a.path, s); err != nil || seen.MetOut > 100 {
				break
			}
		}
		removed <- Remove(a.path, s)
	}}
	got := v.send(t, a, a.v4, b, b.v4)
	if err := errors.Join(<-removed, h.Close()); err != nil {
		t.Fatal(err)
	}
	if f := figuresOf(got, v.count); f.lost > 0.1 || f.max < 50*time.Millisecond { // those that passed while qdiscs changed
		t.Errorf("while it was removed: %v", f)
	} else {
		t.Log("while it was removed:", f)
	}
	same(t, before, snapshot(t, a))
	if err := Remove(a.path, s); err != nil {
		t.Errorf("once more: %v", err)
	}
	same(t, before, snapshot(t, a))
	if seen, err := Look(a.path, s); err != nil || seen.There || seen.Lease > 0 {
		t.Errorf("%+v, %v", seen, err)
	}
}

func TestNetemEndsWithItsLease(t *testing.T) {
	nodes := lab(t, 2)
	a, b := nodes[0], nodes[1]
	delay := 100 * time.Millisecond
	s := to(Impairment{Delay: delay}, b.v4)
	begin := time.Now()
	h, err := Raise(a.path, s, 400*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(h.Close(), Remove(a.path, s)) })
	if err := h.Renew(time.Second); err != nil {
		t.Fatalf("in time: %v", err)
	}
	renewed := time.Since(begin)
	v := volley{count: 1500, every: time.Millisecond}
	offset := time.Since(begin)
	got := v.send(t, a, a.v4, b, b.v4)
	var lastLate time.Duration // sent, since begin
	free := 0
	for _, x := range got {
		if x.took >= delay {
			lastLate = max(lastLate, offset+x.sent)
		} else {
			free++
		}
	}
	// What a busy machine itself makes late would count too: the bound is generous,
	// and the packets that were not late are the proof.
	if free < 50 {
		t.Errorf("only %d of %d packets passed untouched after the lease", free, len(got))
	}
	t.Logf("renewed after %v for 1s; the last late packet was sent at %v; %d of %d untouched", renewed, lastLate, free, len(got))
	if err := h.Renew(time.Second); err == nil {
		t.Error("a renewal that comes too late is no hole")
	}
}

const holderEnv = "DAPPLE_TEST_HOLDER"

// A process that is nothing but a holder: it says "held" and waits to be killed.
func TestHolderOfAnother(t *testing.T) {
	path := os.Getenv(holderEnv)
	if path == "" {
		return // a helper, not a test: it is started by the one below
	}
	s := to(Impairment{Delay: time.Second}, addrsOf(t, os.Getenv(holderEnv+"_TO"))...)
	s.Name = "dapple-held"
	h, err := Raise(path, s, 700*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("held")
	tick := time.NewTicker(100 * time.Millisecond)
	for range tick.C {
		if err := h.Renew(700 * time.Millisecond); err != nil {
			fmt.Println("hole:", err)
		}
	}
}

func TestNetemEndsWhenItsHolderIsKilled(t *testing.T) {
	nodes := lab(t, 2)
	a, b := nodes[0], nodes[1]
	before := snapshot(t, a)
	s := to(Impairment{Delay: time.Second}, b.v4)
	s.Name = "dapple-held"
	// A namespace by the descriptor of this process.
	path := strings.Replace(a.path, "/proc/self/", fmt.Sprintf("/proc/%d/", os.Getpid()), 1)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHolderOfAnother$")
	cmd.Env = append(os.Environ(), holderEnv+"="+path, holderEnv+"_TO="+b.v4.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 5)
	if _, err := out.Read(said); err != nil || !bytes.HasPrefix(said, []byte("held")) {
		_ = cmd.Process.Kill()
		t.Fatalf("%q, %v", said, err)
	}
	until(t, "it is renewed", func() bool {
		seen, err := Look(a.path, s)
		return err == nil && seen.Lease > 0 && len(seen.Missing) == 0
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	killed := time.Now()
	until(t, "its lease is over", func() bool { seen, err := Look(a.path, s); return err == nil && seen.There && seen.Lease == 0 })
	t.Logf("over %v after its holder was killed (lease 700ms)", time.Since(killed))
	if f := figuresOf(volley{count: 20, every: time.Millisecond}.send(t, a, a.v4, b, b.v4), 20); f.lost > 0 || f.min >= time.Second {
		t.Errorf("after its end: %v", f)
	}
	if err := Remove(a.path, s); err != nil {
		t.Fatal(err)
	}
	same(t, before, snapshot(t, a))
}

func TestNetemLeavesWhatOthersHaveSetUp(t *testing.T) {
	nodes := lab(t, 2)
	a, b := nodes[0], nodes[1]
	eth0 := 0
	inside(t, a, func() error {
		d, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		eth0 = d.Index
		return netlink.QdiscAdd(&netlink.GenericQdisc{QdiscType: "fq_codel", QdiscAttrs: netlink.QdiscAttrs{LinkIndex: eth0, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}})
	})
	before := snapshot(t, a)
	t.Run("a queue of somebody's own stays, and it works", func(t *testing.T) {
		s := to(Impairment{Delay: 300 * time.Millisecond}, b.v4)
		if err := Able(a.path, s); err != nil {
			t.Fatal(err)
		}
		h, err := Raise(a.path, s, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		f := figuresOf(volley{count: 5, every: time.Millisecond}.send(t, a, a.v4, b, b.v4), 5)
		if f.min < 300*time.Millisecond || f.lost > 0 {
			t.Error(f)
		}
		if err := errors.Join(Remove(a.path, s), h.Close()); err != nil {
			t.Fatal(err)
		}
		same(t, before, snapshot(t, a))
	})
	t.Run("filters of somebody's own are refused", func(t *testing.T) {
		inside(t, a, func() error {
			if err := netlink.QdiscAdd(clsact(eth0)); err != nil {
				return err
			}
			return netlink.FilterAdd(&netlink.U32{FilterAttrs: netlink.FilterAttrs{LinkIndex: eth0, Parent: netlink.HANDLE_MIN_EGRESS, Priority: 1, Protocol: unix.ETH_P_IP}})
		})
		before := snapshot(t, a)
		s := to(Impairment{Loss: 1}, b.v4)
		if err := Able(a.path, s); !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), "u32") {
			t.Errorf("able: %v", err)
		}
		if h, err := Raise(a.path, s, time.Hour); err == nil {
			t.Errorf("raised: %v", h)
		}
		same(t, before, snapshot(t, a))
		// What arrives is looked at elsewhere, where nobody has filters.
		s.Out, s.In = false, true
		h, err := Raise(a.path, s, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(h.Close(), Remove(a.path, s)); err != nil {
			t.Error(err)
		}
		same(t, before, snapshot(t, a))
	})
}

func TestNetemOfTwoFaultsEndsInAnyOrder(t *testing.T) {
	nodes := lab(t, 3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	before := snapshot(t, a)
	first, second := to(Impairment{Delay: time.Second}, b.v4), to(Impairment{Loss: 100}, c.v4)
	second.Name += "-2"
	for _, s := range []Spec{first, second} {
		h, err := Raise(a.path, s, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := Remove(a.path, first); err != nil {
		t.Fatal(err)
	}
	if got := (volley{count: 5}).send(t, a, a.v4, c, c.v4); len(got) > 0 {
		t.Errorf("the second one ended with the first: %v", got)
	}
	// Half of it is gone already.
	inside(t, a, func() error {
		l, err := netlink.LinkByName(second.link(out))
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	if seen, err := Look(a.path, second); err != nil || !seen.There || len(seen.Missing) == 0 {
		t.Errorf("a half of it: %+v, %v", seen, err)
	}
	if err := Remove(a.path, second); err != nil {
		t.Fatal(err)
	}
	same(t, before, snapshot(t, a))
}
