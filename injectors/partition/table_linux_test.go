package partition

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets/netns"
)

func ruleset(t *testing.T, n *netns.Node) string {
	t.Helper()
	out, err := n.Exec(t.Context(), "nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func needNft(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("nft")
	testenv.Need(t, "nft", err)
}

func TestOtherPeoplesRulesAreByteForByteWhatTheyWereAndCannotSaveAPacket(t *testing.T) {
	needNft(t)
	l := newLab(t, "a", "b")
	serve(t, l)
	// A firewall that accepts before us, after us, and one that tracks.
	theirs := `table inet filter {
		set mine { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
		chain early { type filter hook prerouting priority -450; policy accept; ip saddr 0.0.0.0/0 accept; meta nfproto ipv6 accept; }
		chain late { type filter hook prerouting priority 0; policy accept; ct state established,related accept; accept; }
		chain input { type filter hook input priority filter; policy accept; accept; }
	}
	table ip nat { chain out { type nat hook postrouting priority srcnat; oifname "nowhere" masquerade; }; }`
	for _, n := range []string{"a", "b"} {
		if out, err := l.Node(n).Exec(t.Context(), "nft", theirs); err != nil {
			t.Fatal(string(out), err)
		}
	}
	before := ruleset(t, l.Node("a"))
	h := cut(t, l.Nodes(), `{}`, "a")
	if talks(t, "tcp", l.Node("b"), net.JoinHostPort(addrOf(t, l.Node("a"), 4), "5432")) {
		t.Error("an accept of somebody else's chain saves packets")
	}
	with := ruleset(t, l.Node("a"))
	if !strings.HasPrefix(with, before) && !strings.Contains(with, strings.TrimSpace(before)) {
		t.Errorf("with the fault their rules read differently:\n%s\nbefore:\n%s", with, before)
	}
	h.revert(t)
	if d := cmp.Diff(before, ruleset(t, l.Node("a"))); d != "" {
		t.Errorf("-before +after:\n%s", d)
	}
}

func TestNobodyElseCanRemoveTheCutAndOurRevertSaysSo(t *testing.T) {
	needNft(t)
	l := newLab(t, "a", "b")
	serve(t, l)
	h := cut(t, l.Nodes(), `{"from": ["others"]}`, "a")
	if _, err := l.Node("a").Exec(t.Context(), "nft", "flush", "ruleset"); err != nil {
		t.Fatal(err)
	}
	if talks(t, "udp", l.Node("b"), net.JoinHostPort(addrOf(t, l.Node("a"), 4), "5432")) {
		t.Error("a flush of the ruleset, as a firewall does when it reloads, ended the fault")
	}
	f := h.faults[0]
	err := Kind().Reopen().Revert(t.Context(), l.Node("a"), f)
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "dapple revert") {
		t.Errorf("a revert by somebody else: %v, want to hear who holds it and the way out", err)
	}
	if ok, proof := h.effect(t, f); !ok {
		t.Errorf("it ended: %s", proof)
	}
	for range 2 {
		h.revert(t)
		if err := Kind().Reopen().Revert(t.Context(), l.Node("a"), f); err != nil {
			t.Errorf("a revert of what is reverted: %v", err)
		}
	}
}

func TestTheTableReadsAsWhatItIs(t *testing.T) {
	needNft(t)
	l := newLab(t, "a", "b", "c")
	h := cut(t, without(l, "c"), `{"groups": [["a"], ["b", "198.18.0.3", "192.0.2.0/24", "clients"]], "ports": [5432, "8000-8100"], "proto": "tcp", "also": ["dns"]}`, "a")
	got := ruleset(t, l.Node("a"))
	name := h.table(t, "a")
	if !strings.HasPrefix(name, "dapple_01TEST_") {
		t.Errorf("the table is called %s, want the drill's id in it", name)
	}
	got = strings.ReplaceAll(got, name, "NAME")
	golden(t, "testdata/ruleset.nft", volatile.ReplaceAllString(got, "${1}N"))
}

func TestTheEffectIsProvenOnlyByPacketsThatWereSeenToBeDropped(t *testing.T) {
	l := newLab(t, "a", "b")
	serve(t, l)
	h := inject(t, l.Nodes(), `{"from": ["others"]}`, "a")
	f, n := h.faults[0], l.Node("a")
	ok, proof := h.effect(t, f)
	if !ok || !strings.Contains(proof, "packets from b") {
		t.Errorf("with the cut: %v, %s", ok, proof)
	}
	h.revert(t)
	if ok, proof, err := h.inj["a"].Effect(t.Context(), n, f); ok || err != nil || !strings.Contains(proof, "there is no table") {
		t.Errorf("after the revert: %v, %s, %v", ok, proof, err)
	}
	// A table of that name which has everything but stops nothing: its lease is
	// over, or it is somebody's who means other addresses.
	c := newCutter(defaults(), kernelGround{})
	s := stateOf(t, f)
	if err := c.Renew(t.Context(), n, s, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := c.Inject(t.Context(), n, s); err != nil {
		t.Fatal(err)
	}
	until(t, "the lease is over", func() bool {
		ok, proof, err := c.Effect(t.Context(), n, s)
		return !ok && err == nil && strings.Contains(proof, "its lease is over")
	})
	if err := c.Renew(t.Context(), n, s, time.Minute); err == nil || !strings.Contains(err.Error(), "packets passed") {
		t.Errorf("renewing what had ended: %v, want a hole", err)
	}
	if ok, _, err := c.Reverted(t.Context(), n, s); ok || err != nil {
		t.Errorf("a table without a lease counts as reverted: %v", err)
	}
	if err := c.Revert(t.Context(), n, s); err != nil {
		t.Fatal(err)
	}
}

func TestAPacketThatPassesAllTheSameMakesTheFaultUnproven(t *testing.T) {
	l := newLab(t, "a", "b")
	serve(t, l)
	faults, err := plan(t, l.Nodes(), `{"from": ["others"]}`, "a")
	if err != nil {
		t.Fatal(err)
	}
	// The bad twin: the peer has one more address than was known, and sends from
	// that one.
	s := stateOf(t, faults[0])
	for i := range s.From {
		for k := range s.From[i].Addrs {
			s.From[i].Addrs[k] = s.From[i].Addrs[k].Next().Next().Next()
		}
	}
	c := newCutter(defaults(), kernelGround{})
	if err := c.Inject(t.Context(), l.Node("a"), s); err != nil {
		t.Fatal(err)
	}
	ok, proof, err := c.Effect(t.Context(), l.Node("a"), s)
	if ok || err != nil || !strings.Contains(proof, "not cut") {
		t.Errorf("%v, %q, %v", ok, proof, err)
	}
	if err := c.Revert(t.Context(), l.Node("a"), s); err != nil {
		t.Fatal(err)
	}
}

// A lesserGround is a kernel that cannot drop silently what leaves.
type lesserGround struct{ kernelGround }

func (lesserGround) Able(context.Context) (able, error) {
	return able{Leave: errors.New("no egress hook")}, nil
}

func TestWithoutTheEgressHookWhatIsSentIsDroppedAndTheSenderToldAsThePlanSays(t *testing.T) {
	l := newLab(t, "a", "c")
	serve(t, l)
	p, err := made(t, fmt.Sprintf(`{"to": [%q]}`, addrOf(t, l.Node("c"), 4)))
	if err != nil {
		t.Fatal(err)
	}
	c := newCutter(p, lesserGround{})
	steps, err := c.Plan(t.Context(), injectors.Aim{On: without(l, "c")})
	if err != nil || len(steps) != 1 || !strings.Contains(steps[0].Does, "EPERM") {
		t.Fatalf("%+v, %v", steps, err)
	}
	s := steps[0].State
	if err := c.Inject(t.Context(), l.Node("a"), s); err != nil {
		t.Fatal(err)
	}
	if ok, proof, err := c.Effect(t.Context(), l.Node("a"), s); !ok || err != nil {
		t.Errorf("not proven: %s, %v", proof, err)
	}
	conn := dial(t, "udp", l.Node("a"), net.JoinHostPort(addrOf(t, l.Node("c"), 4), "5432"))
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); !errors.Is(err, unix.EPERM) {
		t.Errorf("the sender is told %v, want EPERM", err)
	}
	if err := c.Revert(t.Context(), l.Node("a"), s); err != nil {
		t.Fatal(err)
	}
	if !echo(t, conn) {
		t.Error("nothing passes after the revert")
	}
}

func TestANodeThatGotANewNamespaceIsSeenToBeWithoutTheCut(t *testing.T) {
	l := newLab(t, "a", "b")
	h := cut(t, l.Nodes(), `{"from": ["others"]}`, "a")
	c, s := h.by["a"], stateOf(t, h.faults[0])
	s.NS.Cookie++ // the kernel has given the number of the one that was planned for again
	ok, proof, err := c.Effect(t.Context(), l.Node("a"), s)
	if ok || err != nil || !strings.Contains(proof, "new network namespace") {
		t.Errorf("%v, %q, %v", ok, proof, err)
	}
	again := newCutter(defaults(), kernelGround{})
	if err := again.Inject(t.Context(), l.Node("a"), s); !errors.Is(err, peers.ErrMoved) {
		t.Errorf("making it in another namespace than was planned for: %v", err)
	}
	if err := again.Revert(t.Context(), l.Node("a"), s); err != nil {
		t.Errorf("there is nothing to revert there: %v", err)
	}
}
