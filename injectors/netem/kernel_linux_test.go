package netem

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/tc"
)

func TestTheEngineOfTheKernelMeansWhatTheStateSays(t *testing.T) {
	a, mine, node := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.3")
	s := state{
		Name: "dapple-x", Mine: []netip.Addr{mine}, Nodes: []netip.Addr{node}, Clients: true,
		Peers: []peer{{Name: "b", Addrs: []netip.Addr{a}}}, Nets: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")},
		Ports: []Ports{"5432", "8000-8100"}, Direction: both, Interface: "eth0",
		Harm: impairment{Delay: time.Second, Jitter: time.Millisecond, Distribution: pareto, Correlation: 0.25, Bursts: &Bursts{Begin: 0.01, End: 0.2, Loss: 0.9, Between: 0.001},
			Duplicate: 0.05, Corrupt: 0.5, Reorder: 1, Rate: 1_000_000, Limit: 1000},
	}
	got, err := s.spec()
	if err != nil {
		t.Fatal(err)
	}
	want := tc.Spec{
		Name: "dapple-x", Interface: "eth0", Out: true, In: true, Addrs: []netip.Addr{a}, Nets: s.Nets, Clients: true, Nodes: []netip.Addr{node, mine},
		Ports: []tc.Range{{Lo: 5432, Hi: 5432}, {Lo: 8000, Hi: 8100}},
		Impairment: tc.Impairment{Delay: time.Second, Jitter: time.Millisecond, DelayCorrelation: 25, Distribution: "pareto", KeepOrder: true,
			Burst: &tc.GilbertElliott{ToBad: 1, ToGood: 20, InBad: 90, InGood: 0.1}, Duplicate: 5, Corrupt: 50, Reorder: 100, Rate: 1_000_000, Limit: 1000},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for way, want := range map[Direction][2]bool{egress: {true, false}, ingress: {false, true}} {
		s.Direction = way
		if got, err := s.spec(); err != nil || got.Out != want[0] || got.In != want[1] {
			t.Errorf("%s: %+v, %v", way, got, err)
		}
	}
	if err := got.Impairment.Check(); err != nil {
		t.Error(err)
	}
	if s.Ports = []Ports{"x"}; true {
		if _, err := s.spec(); err == nil {
			t.Error("a port that is none")
		}
	}
}
