package partition

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

func TestPartitionKeepsTheLawsInEveryVariant(t *testing.T) {
	for _, with := range []string{
		`{"from": ["others"]}`,
		`{"from": ["pg2"], "to": ["pg1"]}`,
		`{"peers": ["10.1.2.3"]}`,
		`{"peers": ["clients"]}`,
		`{"groups": [["on"], ["clients", "192.168.7.0/24"]]}`,
		`{"from": ["others"], "ports": ["5432", "8000-8100"]}`,
		`{"from": ["others"], "proto": "tcp", "what": "new"}`,
		`{"from": ["others"], "proto": "udp"}`,
		`{"from": ["others"], "action": "reject"}`,
		`{"from": ["others"], "reset": true}`,
		`{"from": ["others"], "also": ["dns"]}`,
		`{"from": ["clients"], "also": ["dns", "ssh"]}`,
	} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			p, err := made(t, with)
			if err != nil {
				t.Fatal(err)
			}
			node := faketarget.Patroni("pg1")
			shots := 0
			ground := func() ground { return grounded{node: node, shots: &shots} }
			injectortest.Case{
				New:    func() injectors.Injector { return injectors.Of(kind, newCutter(p, ground())) },
				Reopen: func() injectors.Injector { return injectors.Of(kind, newCutter(defaults(), ground())) },
				Node:   func() *faketarget.Node { node, shots = faketarget.Patroni("pg1"), 0; return node },
				Peers:  []targets.Node{faketarget.Patroni("pg2"), faketarget.Patroni("pg3")},
			}.Run(t)
		})
	}
}
