package kill

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

var parts = map[string][]string{"server": {"postgres"}, "manager": {"patroni"}}

// quick is a killer for nodes that do at once what they do.
func quick(p Params) injectors.Injector {
	k := newKiller(p)
	k.obey, k.linger, k.look = time.Millisecond, time.Millisecond, time.Millisecond
	return injectors.Of(kind, k)
}

// made makes the injector as a scenario does.
func made(t *testing.T, with string) (Params, error) {
	t.Helper()
	p := Params{Signal: "KILL", Process: procs.Main, Mode: Crash}
	if err := json.Unmarshal([]byte(with), &p); err != nil {
		return p, err
	}
	return p, p.check()
}

func TestKillKeepsTheLawsInEveryVariant(t *testing.T) {
	for _, with := range []string{
		`{}`,
		`{"process": "all"}`,
		`{"process": "server"}`,
		`{"process": "manager"}`,
		`{"process": "relay"}`,
		`{"mode": "fence"}`,
		`{"signal": "TERM"}`,
		`{"signal": "TERM", "process": "server"}`,
		`{"signal": "QUIT", "process": "all"}`,
		`{"signal": "STOP"}`,
		`{"signal": "STOP", "process": "all"}`,
		`{"signal": "STOP", "process": "server"}`,
		`{"signal": "STOP", "process": "manager"}`,
		`{"signal": "19", "process": "relay"}`,
	} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			p, err := made(t, with)
			if err != nil {
				t.Fatal(err)
			}
			injectortest.Case{
				New:       func() injectors.Injector { return quick(p) },
				Reopen:    func() injectors.Injector { return quick(Params{}) },
				Node:      func() *faketarget.Node { return faketarget.Patroni("pg1") },
				Processes: parts,
			}.Run(t)
		})
	}
}
