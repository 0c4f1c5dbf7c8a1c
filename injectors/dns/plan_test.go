package dns

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

func TestWhatCannotBeIsRefusedWithTheWayOut(t *testing.T) {
	for with, want := range map[string]string{
		`{}`:                                                        "say one of delay: 2s, refuse: servfail",
		`{"delay": "1s", "drop": true}`:                             "exclude each other",
		`{"delay": "-1s"}`:                                          "is negative",
		`{"delay": "10m"}`:                                          "say drop: yes",
		`{"refuse": "maybe"}`:                                       "use refused or servfail or nxdomain",
		`{"wrong": ["db.example.com"]}`:                             "db.example.com",
		`{"wrong": ["fe80::1%eth0"]}`:                               "no zone",
		`{"wrong": ["192.0.2.1", "192.0.2.1"]}`:                     "named twice",
		`{"drop": true, "servers": ["0.0.0.0"]}`:                    "no address of a name server",
		`{"drop": true, "names": ["*.example.com"]}`:                "write example.com",
		`{"drop": true, "names": ["10.0.0.1"]}`:                     "is an address",
		`{"drop": true, "names": ["."]}`:                            "is no name",
		`{"drop": true, "names": ["a..b"]}`:                         "is no name",
		`{"drop": true, "names": ["http://x"]}`:                     "is no name",
		`{"drop": true, "names": ["bücher.example"]}`:               "xn--",
		`{"drop": true, "names": ["A.example", "a.example."]}`:      "a.example is named twice",
		`{"drop": true, "names": ["example.com", "b.example.com"]}`: "b.example.com is below example.com",
	} {
		if _, err := made(t, with); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", with, err, want)
		}
	}
}

func planned(t *testing.T, with string, g fakeGround) ([]injectors.Step[state], error) {
	t.Helper()
	p, err := made(t, with)
	if err != nil {
		t.Fatal(err)
	}
	return newLiar(p, g).Plan(t.Context(), injectors.Aim{On: []targets.Node{faketarget.Patroni("pg1")}, Peers: []targets.Node{faketarget.Patroni("pg2")}, Drill: "01TEST"})
}

func TestThePlanNamesServersNamesAndWhatBecomesOfThem(t *testing.T) {
	g := fakeGround{resolv: "# x\nsearch example.com\nnameserver 10.0.0.53\nnameserver fd00::53\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\noptions ndots:0\n"}
	steps, err := planned(t, `{"delay": "2s", "names": ["DB.example.com."]}`, g)
	if err != nil || len(steps) != 1 {
		t.Fatal(steps, err)
	}
	// Without an IPv6 address of its own, the node cannot ask fd00::53.
	if d := cmp.Diff("answers for db.example.com and what is below come 2s later; name server 10.0.0.53", steps[0].Does); d != "" {
		t.Error(d)
	}
	if got := steps[0].State.Known; got != "7.0.0.10.in-addr.arpa." {
		t.Errorf("known: %s", got)
	}
	if !strings.HasPrefix(steps[0].State.Table, "dapple_01TEST_") {
		t.Errorf("table %s", steps[0].State.Table)
	}
}

func TestThePlanRefusesWhatWouldNotBeMet(t *testing.T) {
	const one = "nameserver 10.0.0.53\n"
	for name, c := range map[string]struct {
		with string
		g    fakeGround
		want string
	}{
		"no server":         {`{"drop": true}`, fakeGround{resolv: "search x\n"}, "names no name server"},
		"only IPv6 servers": {`{"drop": true}`, fakeGround{resolv: "nameserver fd00::53\n"}, "asks nobody"},
		"hosts":             {`{"drop": true, "names": ["pg2"]}`, fakeGround{resolv: one, hosts: "127.0.0.1 localhost\n10.0.0.8\tpg2.x PG2 # it\n"}, "PG2 stands in its /etc/hosts as 10.0.0.8"},
		"kernel":            {`{"drop": true}`, fakeGround{resolv: one, able: errFake}, "not on this kernel"},
		"others":            {`{"drop": true}`, fakeGround{resolv: one, others: errors.New("chain x")}, "node pg1: chain x"},
	} {
		if _, err := planned(t, c.with, c.g); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 10.0.0.1\nnameserver ::1 # x\n")
	f.Add("nameserver\nnameserver fe80::1%eth0")
	f.Fuzz(func(t *testing.T, text string) {
		list := nameservers([]byte(text))
		if len(list) > 3 {
			t.Errorf("%d servers", len(list))
		}
		for _, a := range list {
			if !a.IsValid() || a.Zone() != "" || a == (netip.Addr{}) {
				t.Errorf("%v", a)
			}
		}
		_ = inHosts([]byte(text), []string{"a."})
	})
}
