package netem

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

func TestBadParametersAreRefusedWithTheWayOut(t *testing.T) {
	for with, want := range map[string]string{
		`{}`:                                         "give delay, loss, bursts, duplicate, corrupt or rate",
		`{"loss": "101%"}`:                           "between 0% and 100%",
		`{"loss": "-1%"}`:                            "between 0% and 100%",
		`{"loss": "1"}`:                              "is no percentage: write 1%",
		`{"delay": "-1ms"}`:                          "negative",
		`{"delay": "11m"}`:                           "at most 10m0s",
		`{"jitter": "10ms"}`:                         "jitter without delay: give the delay",
		`{"delay": "5ms", "jitter": "10ms"}`:         "raise the delay or lower the jitter",
		`{"delay": "5ms", "jitter": "-1ms"}`:         "negative",
		`{"delay": "5ms", "correlation": "10%"}`:     "correlation without jitter",
		`{"delay": "5ms", "distribution": "normal"}`: "normal without jitter",
		`{"delay": "5ms", "jitter": "1ms", "distribution": "poisson"}`: "use uniform or normal or pareto",
		`{"reorder": "5%"}`: "reorder without delay",
		`{"loss": "5%", "bursts": {"begin": "1%", "end": "1%"}}`: "use one",
		`{"bursts": {"end": "1%"}}`:                              "give the chance at each packet that a burst begins",
		`{"bursts": {"begin": "1%"}}`:                            "the first one would never end",
		`{"bursts": {"begin": "1%", "end": "1%", "length": 7}}`:  "length",
		`{"rate": "10"}`:                                         "is no rate: write 512kbit",
		`{"rate": "10MB"}`:                                       "is no rate: write 512kbit",
		`{"rate": "1bit"}`:                                       "between 1kbit and 100gbit",
		`{"rate": "-1mbit"}`:                                     "between 1kbit and 100gbit",
		`{"rate": "10mbit", "delay": "1s", "limit": 100}`:        "leave limit out, or give at least 826",
		`{"delay": "1s", "limit": -1}`:                           "negative",
		`{"delay": "1s", "direction": "out"}`:                    "use egress or ingress or both",
		`{"delay": "1s", "engine": "tc"}`:                        "use auto or kernel or tbf or user",
		`{"delay": "1s", "ports": ["8100-8000"]}`:                "write 8000-8100",
		`{"delay": "1s", "peers": ["a", "a"]}`:                   `"a" is named twice`,
		`{"delay": "1s", "peers": ["on"]}`:                       "is the node itself",
	} {
		if _, err := made(t, with); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", with, err, want)
		}
	}
}

func aim(on ...string) injectors.Aim {
	var x injectors.Aim
	for _, name := range []string{"a", "b", "c"} {
		n := faketarget.Patroni(name)
		if slices.Contains(on, name) {
			x.On = append(x.On, n)
		} else {
			x.Peers = append(x.Peers, n)
		}
	}
	return x
}

// planned plans on the fake ground with engines that can, or cannot.
func planned(t *testing.T, with string, unable map[EngineName]error, on ...string) ([]injectors.Fault, error) {
	t.Helper()
	p, err := made(t, with)
	if err != nil {
		t.Fatal(err)
	}
	engines := map[EngineName]engine{userEngine: fakeEngine{unable: unable[userEngine]}, kernelEngine: fakeEngine{unable: unable[kernelEngine]}, bucketEngine: fakeEngine{unable: unable[bucketEngine]}}
	return injectors.Of(kind, newImpairer(p, fakeGround{own: "self"}, engines)).Plan(t.Context(), aim(on...))
}

func TestWhosePacketsAreMeant(t *testing.T) {
	far := func(f injectors.Fault) string {
		var s state
		if err := json.Unmarshal(f.State, &s); err != nil {
			t.Fatal(err)
		}
		list := []string{f.Node + ":"}
		for _, p := range s.Peers {
			list = append(list, p.Name)
		}
		for _, n := range s.Nets {
			list = append(list, peers.Short(n))
		}
		if s.Clients {
			list = append(list, fmt.Sprintf("clients but %d", len(s.Nodes)))
		}
		return strings.Join(list, " ")
	}
	for _, c := range []struct{ with, on, want string }{
		{`{"delay": "1ms"}`, "a", "a: b c"},
		{`{"delay": "1ms"}`, "a b", "a: c; b: c"},
		{`{"delay": "1ms", "peers": ["b"]}`, "a", "a: b"},
		{`{"delay": "1ms", "peers": ["b", "10.250.0.0/16", "clients"]}`, "a", "a: b 10.250.0.0/16 clients but 2"},
		{`{"delay": "1ms", "peers": ["a", "b"]}`, "a b", "a: b; b: a"},
		{`{"delay": "1ms", "peers": ["clients"]}`, "a b c", "a: clients but 2; b: clients but 2; c: clients but 2"},
		{`{"delay": "1ms"}`, "a b c", "there is no other node: name peers"},
		{`{"delay": "1ms", "peers": ["d"]}`, "a", `no node is called "d"`},
		{`{"delay": "1ms", "peers": ["a"]}`, "a", "on both ends"},
		{`{"delay": "1ms", "peers": ["10.0.0.0/8"]}`, "a", "name nodes by their names"},
		{`{"delay": "1ms", "interface": "eth9"}`, "a", `no network device called "eth9": it has eth0, eth1`},
	} {
		faults, err := planned(t, c.with, nil, strings.Fields(c.on)...)
		var got []string
		for _, f := range faults {
			got = append(got, far(f))
		}
		text := strings.Join(got, "; ")
		if err != nil {
			text = err.Error()
		}
		if text != c.want && (err == nil || !strings.Contains(text, c.want)) {
			t.Errorf("%s on %s: %s, want %s", c.with, c.on, text, c.want)
		}
	}
}

func TestThePlanSaysWhichEngineAndWhy(t *testing.T) {
	no := fmt.Errorf("no sch_netem: %w", targets.ErrUnsupported)
	for _, c := range []struct {
		engine string
		unable map[EngineName]error
		want   string
	}{
		{"auto", nil, "engine kernel"},
		{"auto", map[EngineName]error{kernelEngine: no}, "engine user (not engine kernel: no sch_netem"},
		{"user", nil, "engine user"},
		{"kernel", map[EngineName]error{kernelEngine: no}, "not engine kernel: no sch_netem"},
		{"auto", map[EngineName]error{kernelEngine: no, userEngine: no}, "not engine user: no sch_netem"},
	} {
		faults, err := planned(t, `{"delay": "200ms", "engine": "`+c.engine+`"}`, c.unable, "a")
		if err != nil {
			if !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.engine, err, c.want)
			}
			continue
		}
		if does := faults[0].Does; !strings.Contains(does, c.want) || !strings.Contains(does, "200ms more delay") {
			t.Errorf("%s: %s, want %q", c.engine, does, c.want)
		}
	}
}

func TestARateAloneIsATokenBucketsWhereThereIsNoNetem(t *testing.T) {
	no := fmt.Errorf("no sch_netem: %w", targets.ErrUnsupported)
	for with, want := range map[string]string{
		`{"rate": "1mbit"}`:                  "engine tbf (not engine kernel: no sch_netem",
		`{"rate": "1mbit", "limit": 1000}`:   "engine tbf",
		`{"rate": "1mbit", "delay": "1ms"}`:  "engine user",
		`{"rate": "1mbit", "loss": "1%"}`:    "engine user",
		`{"rate": "1mbit", "reorder": "0%"}`: "engine tbf",
	} {
		faults, err := planned(t, with, map[EngineName]error{kernelEngine: no}, "a")
		if err != nil || !strings.Contains(faults[0].Does, want) {
			t.Errorf("%s: %+v, %v, want %q", with, faults, err, want)
		}
	}
}

func TestTheLimitIsAmple(t *testing.T) {
	for with, want := range map[string]int{
		`{"delay": "1ms"}`:                                1000,
		`{"delay": "1s"}`:                                 100_000,
		`{"loss": "1%"}`:                                  1000,
		`{"rate": "1mbit"}`:                               1000,
		`{"rate": "1gbit", "delay": "100ms"}`:             4 * 8257,
		`{"rate": "10mbit", "delay": "1s", "limit": 826}`: 826,
	} {
		p, err := made(t, with)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.impairment().Limit; got != want {
			t.Errorf("%s: %d, want %d", with, got, want)
		}
	}
}

// The proof is by measured packets: each way in which they can differ from what was
// asked for is found.
func TestWhatTheEffectDoesNotBelieve(t *testing.T) {
	for _, c := range []struct {
		with string
		trip func(*trip)
		want string
	}{
		{`{"delay": "200ms"}`, func(t *trip) { t.took[2] = 199 * time.Millisecond }, "1 of 5 packets took less than 200ms"},
		{`{"delay": "200ms"}`, func(t *trip) { t.took, t.order = nil, nil }, "more is broken than was asked for"},
		{`{"delay": "200ms", "jitter": "20ms"}`, func(t *trip) { t.took[0] = 150 * time.Millisecond }, "took less than 180ms"},
		{`{"loss": "100%"}`, func(*trip) {}, "all should be lost"},
		{`{"rate": "10mbit"}`, func(t *trip) { t.since[len(t.since)-1] = 10 * time.Millisecond }, "at 10mbit they take"},
		{`{"delay": "1ms"}`, func(t *trip) { t.sent = 1001 }, "1001 packets of ours were sent (egress), and 1000 met"},
	} {
		p, err := made(t, c.with)
		if err != nil {
			t.Fatal(err)
		}
		node, met := faketarget.Patroni("a"), uint64(0)
		e := fakeEngine{node: node, met: &met}
		inj := injectors.Of(kind, newImpairer(p, fakeGround{trip: c.trip}, map[EngineName]engine{kernelEngine: e}))
		faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{node}, Peers: []targets.Node{faketarget.Patroni("b")}})
		if err == nil {
			err = inj.Inject(t.Context(), node, faults[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		held, proof, err := inj.Effect(t.Context(), node, faults[0])
		if held || err != nil || !strings.Contains(proof, c.want) {
			t.Errorf("%s: %v %q %v, want %q", c.with, held, proof, err, c.want)
		}
	}
}

func TestATextIsReadAsItIsWritten(t *testing.T) {
	for _, text := range []string{"0%", "0.1%", "12.5%", "100%", "0.000001%"} {
		var p Percent
		if err := p.UnmarshalText([]byte(text)); err != nil || p.String() != text {
			t.Errorf("%s: %v %v", text, p, err)
		}
	}
	for _, text := range []string{"1kbit", "512kbit", "10mbit", "1gbit", "1500bit"} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r.String() != text {
			t.Errorf("%s: %v %v", text, r, err)
		}
	}
}
