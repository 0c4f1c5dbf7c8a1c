package partition

import (
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s: -want +got (-update writes it anew):\n%s", path, d)
	}
}

// volatile are counts, times, owners and addresses by chance in what nft lists.
var volatile = regexp.MustCompile(`((?:packets|bytes|expires|timeout|progname) |fe80:)[^\s,]+`)

func stateOf(t testing.TB, f injectors.Fault) (s state) {
	t.Helper()
	if err := json.Unmarshal(f.State, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *held) table(t testing.TB, node string) string {
	t.Helper()
	for _, f := range h.faults {
		if f.Node == node {
			return stateOf(t, f).Table
		}
	}
	t.Fatalf("no fault on %s", node)
	return ""
}

// without are the nodes of the lab but the named ones.
func without(l *netns.Lab, names ...string) (list []targets.Node) {
	for _, n := range l.Nodes() {
		if !slices.Contains(names, n.Name()) {
			list = append(list, n)
		}
	}
	return list
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
