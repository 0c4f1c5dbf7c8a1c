package netem

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets/netns"
)

func TestTheDeathOfTheHolderEndsItAtOnce(t *testing.T) {
	l := newLab(t, "a", "b")
	faults, err := plan(t, l.Nodes(), `{"delay": "1s", "direction": "both"}`, "a")
	if err != nil {
		t.Fatal(err)
	}
	before := ruleset(t, l.Node("a"))
	cmd := hire(t, l, faults[0], order{Lease: time.Hour})
	if took := fastest(t, l.Node("a"), l.Node("b"), "0", time.Second); took < time.Second {
		t.Fatalf("a packet took %v, with a delay of 1s", took)
	}
	killed := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is gone", func() bool {
		ok, _, err := newImpairer(defaults(), kernelGround{}, engines()).Reverted(t.Context(), l.Node("a"), stateOf(t, faults[0]))
		return ok && err == nil
	})
	t.Logf("the table was gone %v after the kill", time.Since(killed))
	if took := fastest(t, l.Node("a"), l.Node("b"), "0", time.Second/2); took >= time.Second {
		t.Errorf("a packet took %v after that", took)
	}
	if d := cmp.Diff(before, ruleset(t, l.Node("a"))); d != "" {
		t.Error(d)
	}
}

func TestAHolderThatHangsLosesItWhenItsLeaseEnds(t *testing.T) {
	l := newLab(t, "a", "b")
	faults, err := plan(t, l.Nodes(), `{"delay": "10ms"}`, "a")
	if err != nil {
		t.Fatal(err)
	}
	const lease = 500 * time.Millisecond
	cmd := hire(t, l, faults[0], order{Lease: lease, Every: lease / 5})
	pause(lease + lease/2) // it is renewed beyond its first lease
	if took := fastest(t, l.Node("a"), l.Node("b"), "0", time.Millisecond); took < 10*time.Millisecond {
		t.Fatalf("a packet took %v, with a delay of 10ms", took)
	}
	stopped := time.Now()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// What is handed to a program that is stopped does not come back. After the
	// lease, packets pass as if the table were not there.
	passed := firstThrough(t, l.Node("a"), l.Node("b"))
	if after := passed.Sub(stopped); after < lease/4 || after > lease+5*time.Second {
		t.Errorf("packets passed %v after it was stopped, want the rest of the lease of %v", after, lease)
	}
	t.Logf("packets passed %v after the holder was stopped, lease %v", passed.Sub(stopped), lease)
	// Then it is killed, so that nothing waits for it any more.
	dead := make(chan error, 1)
	go func() { dead <- cmd.Wait() }()
	select {
	case err := <-dead:
		if took := time.Since(stopped); took < lease || !strings.Contains(err.Error(), "killed") {
			t.Errorf("it ended after %v: %v", took, err)
		}
		t.Logf("the holder was killed %v after it was stopped", time.Since(stopped))
	case <-time.After(30 * time.Second):
		t.Error("it still lives")
	}
}

// firstThrough sends datagrams until one arrives, each from a socket of its own:
// what waits in a queue counts as not sent, and a socket with much of that sends no
// more.
func firstThrough(t testing.TB, from, to *netns.Node) time.Time {
	t.Helper()
	var in net.PacketConn
	inside(t, to, func() (err error) { in, err = net.ListenPacket("udp4", addrOf(t, to, 4)+":0"); return err })
	defer in.Close()
	buf := make([]byte, 100)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		inside(t, from, func() error {
			out, err := net.Dial("udp4", in.LocalAddr().String())
			if err == nil {
				_, err = out.Write([]byte("x"))
				err = errors.Join(err, out.Close())
			}
			return err
		})
		if err := in.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := in.ReadFrom(buf); err == nil {
			return time.Now()
		}
	}
	t.Fatal("nothing passed within 20 s")
	return time.Time{}
}

// numbered sends a datagram every pause until stop is closed, and then returns how
// many were sent and how many of them arrived at least once.
func numbered(t testing.TB, from, to *netns.Node, every time.Duration, stop <-chan struct{}) <-chan [2]int {
	t.Helper()
	var in net.PacketConn
	var out net.Conn
	inside(t, to, func() (err error) { in, err = net.ListenPacket("udp4", addrOf(t, to, 4)+":0"); return err })
	inside(t, from, func() (err error) { out, err = net.Dial("udp4", in.LocalAddr().String()); return err })
	done, received := make(chan [2]int, 1), make(chan map[uint32]bool, 1)
	go func() {
		got, buf := map[uint32]bool{}, make([]byte, 100)
		for {
			k, _, err := in.ReadFrom(buf)
			if err != nil {
				received <- got
				return
			}
			if k == 4 {
				got[binary.BigEndian.Uint32(buf)] = true
			}
		}
	}()
	go func() {
		sent := 0
		tick := time.NewTicker(every)
		defer tick.Stop()
		for going := true; going; {
			select {
			case <-stop:
				going = false
			case <-tick.C:
				if _, err := out.Write(binary.BigEndian.AppendUint32(nil, uint32(sent))); err == nil {
					sent++
				}
			}
		}
		_ = in.SetReadDeadline(time.Now().Add(time.Second))
		got := len(<-received)
		in.Close()
		out.Close()
		done <- [2]int{sent, got}
	}()
	return done
}

func TestMakingAndTakingBackLosesNotOnePacket(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	stop := make(chan struct{})
	out, in := numbered(t, l.Node("a"), l.Node("b"), time.Millisecond, stop), numbered(t, l.Node("b"), l.Node("a"), time.Millisecond, stop)
	bystander := numbered(t, l.Node("a"), l.Node("c"), time.Millisecond, stop)
	for range 5 {
		h := impair(t, l.Nodes(), `{"delay": "100ms", "peers": ["b"], "direction": "both"}`)
		h.revert(t)
	}
	close(stop)
	for what, c := range map[string]<-chan [2]int{"out": out, "in": in, "bystander": bystander} {
		if n := <-c; n[0] < 50 || n[1] != n[0] {
			t.Errorf("%s: %d of %d packets arrived", what, n[1], n[0])
		}
	}
}

func TestRenewalsLetNotOnePacketPassUndelayed(t *testing.T) {
	l := newLab(t, "a", "b")
	h := impair(t, l.Nodes(), `{"delay": "50ms", "direction": "both"}`)
	ctx, cancel := context.WithCancel(t.Context())
	renewed := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := h.imp.Renew(context.WithoutCancel(ctx), h.node, h.state, 2*time.Second); err != nil {
				renewed <- err
				return
			}
		}
		renewed <- nil
	}()
	for range 5 {
		for _, way := range []Direction{egress, ingress} {
			for _, took := range volley(t, l, h, way, 4, 100, 5*time.Second).took {
				if took < 50*time.Millisecond {
					t.Errorf("%s: a packet took %v", way, took)
				}
			}
		}
	}
	cancel()
	if err := <-renewed; err != nil {
		t.Error(err)
	}
}

func TestALeaseThatIsOverIsNoEffectAndCannotBeRenewed(t *testing.T) {
	l := newLab(t, "a", "b")
	h := impair(t, l.Nodes(), `{"delay": "1ms"}`)
	if err := h.imp.Renew(t.Context(), h.node, h.state, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	until(t, "the lease is over", func() bool {
		ok, proof, err := h.inj.Effect(t.Context(), h.node, h.fault)
		return !ok && err == nil && strings.Contains(proof, "its lease is over")
	})
	if err := h.imp.Renew(t.Context(), h.node, h.state, time.Minute); err == nil || !strings.Contains(err.Error(), "packets passed") {
		t.Errorf("%v, want that packets passed", err)
	}
}

// The bad twin: the table is there, and nobody reads the queue.
func TestATableWithoutAReaderIsNoEffect(t *testing.T) {
	l := newLab(t, "a", "b")
	h := impair(t, l.Nodes(), `{"delay": "20ms"}`)
	if err := h.imp.holds[h.state.Name].(*queued).pump.stop(); err != nil {
		t.Fatal(err)
	}
	ok, proof, err := h.inj.Effect(t.Context(), h.node, h.fault)
	if ok || err != nil || !strings.Contains(proof, "lacks a reader of queue") {
		t.Errorf("%v %q %v", ok, proof, err)
	}
	if took := fastest(t, l.Node("a"), l.Node("b"), "0", 20*time.Millisecond); took >= 20*time.Millisecond {
		t.Errorf("without a reader packets are to pass at once; one took %v", took)
	}
}

// ruleset is what nft lists.
func ruleset(t *testing.T, n *netns.Node) string {
	t.Helper()
	_, err := exec.LookPath("nft")
	testenv.Need(t, "nft", err)
	out, err := n.Exec(t.Context(), "nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestOtherPeoplesRulesAreAsTheyWereAndStillApply(t *testing.T) {
	l := newLab(t, "a", "b")
	theirs := `table inet filter {
		chain early { type filter hook prerouting priority -450; policy accept; ip saddr 0.0.0.0/0 accept; }
		chain input { type filter hook input priority filter; policy accept; ct state established,related counter accept; udp dport 7 drop; }
		chain output { type filter hook output priority filter; policy accept; udp dport 7 drop; }
	}
	table ip nat { chain out { type nat hook postrouting priority srcnat; oifname "nowhere" masquerade; }; }`
	if out, err := l.Node("a").Exec(t.Context(), "nft", theirs); err != nil {
		t.Fatal(string(out), err)
	}
	before := ruleset(t, l.Node("a"))
	h := impair(t, l.Nodes(), `{"delay": "20ms", "direction": "both"}`)
	if took := fastest(t, l.Node("b"), l.Node("a"), "0", 0); took < 20*time.Millisecond {
		t.Errorf("an accept of somebody else's chain lets packets pass: %v", took)
	}
	if with := ruleset(t, l.Node("a")); !strings.Contains(with, h.state.Name) {
		t.Errorf("the table is not there:\n%s", with)
	}
	h.revert(t)
	if d := cmp.Diff(before, ruleset(t, l.Node("a"))); d != "" {
		t.Error(d)
	}
	if ok, proof, err := h.imp.Reverted(t.Context(), h.node, h.state); !ok || err != nil {
		t.Errorf("%q %v", proof, err)
	}
}

func TestTwoFaultsOnOneNodeAddUp(t *testing.T) {
	l := newLab(t, "a", "b")
	for range 4 { // which of them is met first is by chance
		one, two := inject(t, l.Nodes(), `{"delay": "30ms", "direction": "both"}`), inject(t, l.Nodes(), `{"delay": "50ms", "direction": "both"}`)
		if one.state.level() == two.state.level() {
			continue // one in a hundred: then only one of them is met
		}
		for _, way := range []Direction{egress, ingress} {
			v := volley(t, l, one, way, 4, 20, 5*time.Second)
			if len(v.took) != 20 {
				t.Errorf("%s: %d of 20 arrived", way, len(v.took))
			}
			for _, took := range v.took {
				if took < 80*time.Millisecond {
					t.Errorf("%s: a packet took %v, want 80ms", way, took)
				}
			}
		}
		one.revert(t)
		two.revert(t)
	}
}

func TestANodeThatIsGoneHasNothingToRevert(t *testing.T) {
	l := newLab(t, "a", "b")
	h := impair(t, l.Nodes(), `{"delay": "5ms"}`)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.revert(t)
	if err := Kind().Reopen().Revert(t.Context(), h.node, h.fault); err != nil && !strings.Contains(err.Error(), "not there any more") {
		t.Error(err)
	}
}

// pause waits on the wall clock: for leases that run in the kernel there is
// nothing else to wait for.
func pause(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	<-ctx.Done()
}
