package dns

import (
	"testing"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

func TestDNSKeepsTheLawsInEveryVariant(t *testing.T) {
	for _, with := range []string{
		`{"delay": "300ms"}`,
		`{"delay": "5s", "names": ["db.example.com"]}`,
		`{"refuse": "refused"}`,
		`{"refuse": "servfail", "names": ["db", "example.org"]}`,
		`{"refuse": "nxdomain", "servers": ["10.0.0.53", "fd00::53"]}`,
		`{"wrong": ["192.0.2.1", "2001:db8::1"]}`,
		`{"wrong": ["2001:db8::1"], "names": ["db"]}`,
		`{"drop": true}`,
	} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			p, err := made(t, with)
			if err != nil {
				t.Fatal(err)
			}
			node, met := faketarget.Patroni("pg1"), uint64(0)
			ground := func() ground { return fakeGround{node: node, met: &met, resolv: "nameserver 127.0.0.11\n"} }
			injectortest.Case{
				New:    func() injectors.Injector { return injectors.Of(kind, newLiar(p, ground())) },
				Reopen: func() injectors.Injector { return injectors.Of(kind, newLiar(Params{}, ground())) },
				Node:   func() *faketarget.Node { node, met = faketarget.Patroni("pg1"), 0; return node },
				Peers:  []targets.Node{faketarget.Patroni("pg2"), faketarget.Patroni("pg3")},
			}.Run(t)
		})
	}
}
