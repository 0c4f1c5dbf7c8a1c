package netem

import (
	"encoding/json"
	"testing"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// made makes the parameters as a scenario does.
func made(t testing.TB, with string) (Params, error) {
	t.Helper()
	var values map[string]any
	if err := json.Unmarshal([]byte(with), &values); err != nil {
		t.Fatal(err)
	}
	params, err := scenarios.NewParams(values)
	if err != nil {
		t.Fatal(err)
	}
	p := defaults()
	if err := params.Decode(&p); err != nil {
		return p, err
	}
	return p, p.check()
}

func TestNetemKeepsTheLawsInEveryVariant(t *testing.T) {
	for _, with := range []string{
		`{"delay": "200ms"}`,
		`{"delay": "200ms", "jitter": "20ms", "distribution": "normal", "correlation": "25%"}`,
		`{"delay": "50ms", "jitter": "5ms", "distribution": "pareto", "direction": "both"}`,
		`{"loss": "10%", "direction": "ingress"}`,
		`{"loss": "100%"}`,
		`{"bursts": {"begin": "1%", "end": "20%"}}`,
		`{"bursts": {"begin": "1%", "end": "20%", "loss": "90%", "between": "0.1%"}}`,
		`{"duplicate": "5%", "corrupt": "1%"}`,
		`{"delay": "20ms", "reorder": "25%"}`,
		`{"rate": "10mbit", "delay": "10ms", "limit": 1000}`,
		`{"rate": "1mbit", "engine": "tbf"}`,
		`{"delay": "1ms", "peers": ["clients", "192.168.7.0/24"], "ports": ["5432", "8000-8100"]}`,
		`{"delay": "1ms", "interface": "eth0", "engine": "user"}`,
		`{"delay": "1ms", "engine": "kernel"}`,
	} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			p, err := made(t, with)
			if err != nil {
				t.Fatal(err)
			}
			node, met := faketarget.Patroni("pg1"), uint64(0)
			remade := func(p Params) injectors.Injector {
				e := fakeEngine{node: node, met: &met}
				return injectors.Of(kind, newImpairer(p, fakeGround{trip: lawfully(p.impairment())}, map[EngineName]engine{userEngine: e, kernelEngine: e, bucketEngine: e}))
			}
			injectortest.Case{
				New:    func() injectors.Injector { return remade(p) },
				Reopen: func() injectors.Injector { return remade(p) },
				Node:   func() *faketarget.Node { node, met = faketarget.Patroni("pg1"), 0; return node },
				Peers:  []targets.Node{faketarget.Patroni("pg2"), faketarget.Patroni("pg3")},
			}.Run(t)
		})
	}
}

// lawfully has packets that are all to be lost not arrive.
func lawfully(m impairment) func(*trip) {
	return func(t *trip) {
		if m.loses() == 1 {
			t.took, t.order = nil, nil
		}
	}
}
