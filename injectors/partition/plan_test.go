package partition

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

func TestBadParametersAreRefusedWithTheWayOut(t *testing.T) {
	for with, want := range map[string]string{
		`{"ports": ["8100-8000"]}`:                          "the range is reversed: write 8000-8100",
		`{"ports": [0]}`:                                    "is no port",
		`{"ports": [65536]}`:                                "is no port",
		`{"ports": ["http"]}`:                               `"http" is no port: want a number`,
		`{"ports": ["80-"]}`:                                "is no port",
		`{"proto": "sctp"}`:                                 "use any or tcp or udp",
		`{"action": "deny"}`:                                "use drop or reject",
		`{"what": "old"}`:                                   "use all or new",
		`{"shape": "star"}`:                                 "use split or bridge or ring",
		`{"also": ["http"]}`:                                "use dns or ssh",
		`{"also": ["ssh"]}`:                                 "say clients: yes too",
		`{"groups": [["a"]]}`:                               "one group is cut from nothing",
		`{"groups": [["a"], []]}`:                           "the group at place 2 is empty",
		`{"groups": [["a", "a"], ["b"]]}`:                   `"a" is named twice`,
		`{"groups": [["a"], ["b"]], "peers": ["c"]}`:        "cannot stand beside them",
		`{"groups": [["a"], ["b"]], "clients": true}`:       "cannot stand beside them",
		`{"from": ["a"], "peers": ["c"]}`:                   "cannot stand beside them",
		`{"to": ["a"], "shape": "ring"}`:                    "cannot stand beside them",
		`{"shape": "bridge", "clients": true}`:              "cannot stand beside it",
		`{"what": "new", "proto": "udp"}`:                   "goes with TCP only",
		`{"reset": true, "proto": "udp"}`:                   "goes with TCP only",
		`{"reset": true, "what": "new"}`:                    "contradicts",
		`{"extra": ["pg9"]}`:                                "neither an IP address nor a network",
		`{"extra": ["10.0.0.1/24"]}`:                        "write 10.0.0.0/24",
		`{"extra": ["0.0.0.0/0"]}`:                          "say clients: yes",
		`{"extra": ["127.0.0.1"]}`:                          "no address of another machine",
		`{"extra": ["ff02::1"]}`:                            "no address of another machine",
		`{"peer": ["a"]}`:                                   "peer",
		`{"from": ["others"], "to": ["a"], "extra": ["b"]}`: "cannot stand beside them",
	} {
		if _, err := made(t, with); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", with, err, want)
		}
	}
}

// aim is at the named nodes of a, b, c, d, e.
func aim(on ...string) injectors.Aim {
	var x injectors.Aim
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		n := faketarget.Patroni(name)
		if slices.Contains(on, name) {
			x.On = append(x.On, n)
		} else {
			x.Peers = append(x.Peers, n)
		}
	}
	return x
}

// planned is what a plan cuts: "b>a" for "what b sends does not arrive at a".
func planned(t *testing.T, with string, on ...string) (ways string, err error) {
	t.Helper()
	p, err := made(t, with)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := injectors.Of(kind, newCutter(p, fakeGround{})).Plan(t.Context(), aim(on...))
	if err != nil {
		return "", err
	}
	var list []string
	for _, f := range faults {
		var s state
		if err := json.Unmarshal(f.State, &s); err != nil {
			t.Fatal(err)
		}
		for _, p := range s.From {
			list = append(list, p.Name+">"+f.Node)
		}
		for _, n := range s.FromNets {
			list = append(list, peers.Short(n)+">"+f.Node)
		}
		for _, n := range s.ToNets {
			list = append(list, f.Node+">"+peers.Short(n))
		}
		if s.FromClients {
			list = append(list, "clients>"+f.Node)
		}
		if s.ToClients {
			list = append(list, f.Node+">clients")
		}
	}
	slices.Sort(list)
	return strings.Join(list, " "), nil
}

// both is both directions between each of xs and each of ys.
func both(xs, ys string) string {
	var list []string
	for _, x := range strings.Fields(xs) {
		for _, y := range strings.Fields(ys) {
			list = append(list, x+">"+y, y+">"+x)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestWhoIsCutFromWhom(t *testing.T) {
	for _, c := range []struct{ with, on, want string }{
		{`{}`, "a", both("a", "b c d e")},
		{`{}`, "a b", both("a b", "c d e")},
		{`{"peers": ["b"]}`, "a", both("a", "b")},
		{`{"peers": ["b", "10.9.8.7"]}`, "a", both("a", "b 10.9.8.7")},
		{`{"extra": ["10.9.8.7", "fd00:1::/64"]}`, "a", both("a", "b c d e 10.9.8.7 fd00:1::/64")},
		{`{"clients": true}`, "a", both("a", "b c d e clients")},
		{`{"peers": ["clients"]}`, "a", both("a", "clients")},
		{`{"groups": [["a", "b"], ["c", "d", "e"]]}`, "a", both("a b", "c d e")},
		{`{"groups": [["on", "clients"], ["others"]]}`, "a", both("a clients", "b c d e")},
		{`{"groups": [["on"], ["b"], ["others"]]}`, "a", both("a", "b") + " " + both("a b", "c d e")},
		{`{"groups": [["a"], ["b"]]}`, "e", both("a", "b")},
		{`{"from": ["others"]}`, "a", "b>a c>a d>a e>a"},
		{`{"to": ["others"]}`, "a", "a>b a>c a>d a>e"},
		{`{"from": ["on"]}`, "a", "a>b a>c a>d a>e"},
		{`{"from": ["b"]}`, "a", "b>a"},
		{`{"from": ["a"], "to": ["10.9.8.7", "b"]}`, "a", "a>10.9.8.7 a>b"},
		{`{"from": ["10.9.8.7"]}`, "a b", "10.9.8.7>a 10.9.8.7>b"},
		{`{"to": ["clients"]}`, "a", "a>clients"},
		{`{"shape": "bridge"}`, "c", both("a b", "d e")},
		{`{"shape": "ring"}`, "a", both("a", "c d") + " " + both("b", "d e") + " " + both("c", "e")},
	} {
		got, err := planned(t, c.with, strings.Fields(c.on)...)
		want := strings.Fields(c.want)
		slices.Sort(want)
		if d := cmp.Diff(strings.Join(want, " "), got); d != "" || err != nil {
			t.Errorf("%s on %s: %v (-want +got):\n%s", c.with, c.on, err, d)
		}
	}
}

func TestOnARingEverybodyHearsAMajorityAndNoTwoTheSame(t *testing.T) {
	for n := 4; n < 40; n++ {
		c := peers.Cast{Nodes: map[string]targets.Node{}}
		for i := range n {
			c.All = append(c.All, fmt.Sprintf("n%02d", i))
		}
		ways, err := ringWays(c)
		if err != nil {
			t.Fatal(n, err)
		}
		deaf := map[string]map[string]bool{}
		for _, w := range ways {
			if deaf[w.to.Node] == nil {
				deaf[w.to.Node] = map[string]bool{}
			}
			deaf[w.to.Node][w.from.Node] = true
		}
		seen := map[string]string{}
		for _, x := range c.All {
			var hears []string
			for _, y := range c.All {
				if !deaf[x][y] {
					hears = append(hears, y)
				}
			}
			key := strings.Join(hears, " ")
			if len(hears) < n/2+1 || len(hears) == n || seen[key] != "" {
				t.Errorf("of %d nodes %s hears %s (%s hears the same)", n, x, key, seen[key])
			}
			seen[key] = x
		}
	}
}

func TestAPlanThatCannotBeIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	for _, c := range []struct{ with, on, want string }{
		{`{"peers": ["a"]}`, "a", "a is on both sides: a partition of it from itself"},
		{`{"groups": [["a", "b"], ["b", "c"]]}`, "a", "b is on both sides"},
		{`{"groups": [["10.0.0.1"], ["clients"]]}`, "a", "neither 10.0.0.1 nor clients is a node"},
		{`{"peers": ["pg9"]}`, "a", `no node is called "pg9", and it is no IP address; nodes: a, b, c, d, e`},
		{`{}`, "a b c d e", "there is no other node to cut them from"},
		{`{"peers": ["others"]}`, "a b c d e", `"others" means no node`},
		{`{"shape": "bridge"}`, "a b c d", "takes two nodes besides a, b, c, d, and there are 1"},
		{`{}`, "", "it is aimed at no node"},
		{fmt.Sprintf(`{"extra": [%q]}`, fakeAddr("c")), "a", "name nodes by their names"},
		{`{"from": ["others"], "to": ["others"]}`, "a", "both sides"},
	} {
		_, err := planned(t, c.with, strings.Fields(c.on)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s on %s: %v, want %q", c.with, c.on, err, c.want)
		}
	}
}

func TestNodesThatCannotBeToldApartAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		g    ground
		want string
	}{
		"one namespace": {sharedGround{}, "share one network namespace"},
		"our own":       {fakeGround{own: "a"}, "network namespace of dapple itself"},
		"no kernel":     {fakeGround{able: able{Cut: fmt.Errorf("no nf_tables: %w", targets.ErrUnsupported)}}, "no nf_tables"},
	} {
		p, err := made(t, `{}`)
		if err != nil {
			t.Fatal(err)
		}
		_, err = injectors.Of(kind, newCutter(p, c.g)).Plan(t.Context(), aim("a"))
		if !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want ErrUnsupported and %q", name, err, c.want)
		}
	}
}

// A sharedGround has all nodes in one namespace.
type sharedGround struct{ fakeGround }

func TestAnUnprovableKernelFeatureChangesTheWayAndIsSaid(t *testing.T) {
	g := fakeGround{able: able{Leave: targets.ErrUnsupported, Reject: targets.ErrUnsupported}}
	plan := func(with string) ([]injectors.Fault, error) {
		p, err := made(t, with)
		if err != nil {
			t.Fatal(err)
		}
		return injectors.Of(kind, newCutter(p, g)).Plan(t.Context(), aim("a"))
	}
	faults, err := plan(`{"peers": ["10.9.8.7"]}`)
	if err != nil || len(faults) != 1 || !strings.Contains(faults[0].Does, "EPERM") {
		t.Errorf("%v, %v: want to read what the sender will see", faults, err)
	}
	if _, err := plan(`{"action": "reject"}`); !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), "use action: drop") {
		t.Errorf("reject: %v", err)
	}
}

func TestTheDescriptionNamesAllThatIsCut(t *testing.T) {
	s := state{
		From:     []peer{{Name: "pg2", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fe80::1")}}},
		FromNets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, ToNets: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/32")},
		FromClients: true, Ports: []Ports{"5432", "8000-8100"}, Proto: tcp, What: onlyNew, Action: drop, DNS: true, LeaveBy: leaveDevice,
	}
	const want = "drops on arrival new connections of tcp port 5432, 8000-8100 from pg2 (10.0.0.2), 10.1.0.0/16, whatever is no node; " +
		"drops as it leaves new connections of tcp port 5432, 8000-8100 to 10.0.0.9; the engine's name server (127.0.0.11) does not answer"
	if d := cmp.Diff(want, s.does()); d != "" {
		t.Error(d)
	}
}

func FuzzPorts(f *testing.F) {
	for _, s := range []string{"1", "65535", "80-90", "90-80", "0", "-", "1-", "-1", " 80 - 90 ", "99999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var p Ports
		if p.UnmarshalText([]byte(text)) != nil {
			return
		}
		lo, hi, err := p.Bounds()
		if err != nil || lo == 0 || hi < lo {
			t.Errorf("%q became %q: %d to %d, %v", text, p, lo, hi, err)
		}
		var again Ports
		if err := again.UnmarshalText([]byte(p)); err != nil || again != p {
			t.Errorf("%q is read as %q the second time: %v", p, again, err)
		}
	})
}
