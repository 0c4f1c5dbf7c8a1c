package peers

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

func TestSpansAreInOrderAndDoNotTouch(t *testing.T) {
	got := Spans([]Ports{"8000-8100", "22", "8050-8200", "23", "65535", "8201"})
	want := []Span{{22, 23}, {8000, 8201}, {65535, 65535}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for port, is := range map[uint16]bool{22: true, 21: false, 8201: true, 8202: false, 65535: true} {
		if Means([]Ports{"8000-8100", "22", "8050-8201", "65535"}, port) != is {
			t.Errorf("port %d: want %v", port, is)
		}
	}
	if !Means(nil, 1) {
		t.Error("no ports are all ports")
	}
}

func TestASideIsOfNodesClientsAndAddresses(t *testing.T) {
	node := func(name string) targets.Node { return faketarget.Patroni(name) }
	c, err := CastOf([]targets.Node{node("a")}, []targets.Node{node("b"), node("c")})
	if err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"on":                    "a",
		"others":                "b c",
		"others b":              "c b",
		"clients 10.0.0.9":      "clients 10.0.0.9",
		"fd00::/64":             "fd00::/64",
		"b b":                   "b",
		"d":                     `no node is called "d"`,
		"10.0.0.1/24":           `no node is called "10.0.0.1/24"`,
		"a b c others":          `"others" means no node`,
		"192.0.2.0/24 192.0.2.": `no node is called "192.0.2."`,
	} {
		list, err := c.Side(strings.Fields(words), c.On)
		var got []string
		for _, m := range list {
			got = append(got, m.String())
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = err.Error()
		}
		if !strings.HasPrefix(text, want) {
			t.Errorf("%s: %s, want %s", words, text, want)
		}
	}
	if _, err := CastOf([]targets.Node{node("a")}, []targets.Node{node("a")}); err == nil {
		t.Error("two nodes of one name were let pass")
	}
	if _, err := CastOf(nil, nil); err == nil {
		t.Error("an aim at nothing was let pass")
	}
}
