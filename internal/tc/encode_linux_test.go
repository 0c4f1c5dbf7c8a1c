package tc

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

func TestEveryAttributeIsSentAlsoTheZeros(t *testing.T) {
	for _, i := range []Impairment{{}, {Delay: 1, Rate: 64_000_000_000}} {
		b, err := i.encode()
		if err != nil {
			t.Fatal(err)
		}
		has, err := attributes(b[optSize:])
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []uint16{nl.TCA_NETEM_CORR, nl.TCA_NETEM_REORDER, nl.TCA_NETEM_CORRUPT, nl.TCA_NETEM_RATE, attrLatency64, attrJitter64} {
			if has[kind] == nil {
				t.Errorf("%+v: attribute %d is not sent", i, kind)
			}
		}
	}
}

func TestAQueueThatIsNotAsItWasMadeIsSeen(t *testing.T) {
	full := Impairment{Delay: 50 * time.Millisecond, Jitter: time.Millisecond, DelayCorrelation: 10, Distribution: "normal",
		Burst: &GilbertElliott{ToBad: 1, ToGood: 20, InBad: 90}, Duplicate: 3, Corrupt: 4, Reorder: 5, Rate: 64_000_000_000}
	for says, change := range map[string]func(*Impairment){
		"delay":       func(i *Impairment) { i.Delay++ },
		"jitter":      func(i *Impairment) { i.Jitter++ },
		"correlation": func(i *Impairment) { i.DelayCorrelation = 0 },
		"bursts":      func(i *Impairment) { i.Burst = nil },
		"duplicate":   func(i *Impairment) { i.Duplicate = 0 },
		"corrupt":     func(i *Impairment) { i.Corrupt = 5 },
		"reorder":     func(i *Impairment) { i.Reorder = 6 },
		"rate":        func(i *Impairment) { i.Rate = 8000 },
	} {
		other := full
		change(&other)
		got, err := other.encode()
		if err != nil {
			t.Fatal(err)
		}
		if same, err := other.differs(got); err != nil || len(same) > 0 {
			t.Errorf("%s: from itself it differs in %v, %v", says, same, err)
		}
		if list, err := full.differs(got); err != nil || !strings.Contains(strings.Join(list, " "), says) {
			t.Errorf("%s: seen %v, %v", says, list, err)
		}
	}
	if list, err := full.differs(nil); err != nil || len(list) == 0 {
		t.Errorf("nothing: %v, %v", list, err)
	}
	if _, err := attributes([]byte{200, 0, 1, 0}); err == nil {
		t.Error("an attribute longer than the message is read")
	}
}

func TestTheLongestNetworkSaysWhoIsMeant(t *testing.T) {
	node, client := netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.0.0.0/24")
	s := Spec{Clients: true, Nodes: []netip.Addr{node}}
	if got := s.far(); got[netip.PrefixFrom(node, 32)] != 0 || got[netip.MustParsePrefix("::/0")] != 1 || len(got) != 2 {
		t.Errorf("clients: %v", got)
	}
	s.Nets = []netip.Prefix{client}
	if got, has := s.far()[netip.PrefixFrom(node, 32)]; has {
		t.Errorf("a node in a network that is meant: %v", got)
	}
	if got := trieKey(client); len(got) != 20 || got[0] != 96+24 || got[14] != 0xff || got[16] != 10 {
		t.Errorf("key of %s: %v", client, got)
	}
}

func TestAKernelWithoutNetemSaysHowToGetIt(t *testing.T) {
	testenv.NeedRoot(t)
	err := Try()
	if err == nil {
		return // it has it: the tests on it say more
	}
	if !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), "modprobe") {
		t.Errorf("got %v, want unsupported, and the module", err)
	}
}
