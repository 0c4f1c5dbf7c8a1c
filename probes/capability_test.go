package probes_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/probes"
)

// bare can what every system can; telling tells less than it has methods for.
type bare struct{ probes.System }

type telling struct {
	bare
	untold map[string]string
}

func (telling) Members(context.Context) ([]probes.Member, error) { return nil, nil }
func (t telling) Untold() map[string]string                      { return t.untold }

func lacked(s probes.System) (names []string) {
	for _, c := range probes.Capabilities() {
		if c.Lacks(s) != "" {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestACapabilityIsThereIfTheSystemHasItAndWasToldHow(t *testing.T) {
	if got := lacked(bare{}); slices.Contains(got, "roles") || !slices.Contains(got, "redundancy") {
		t.Errorf("a bare system lacks %v", got)
	}
	if got := lacked(telling{}); slices.Contains(got, "redundancy") {
		t.Errorf("one that tells of its members lacks %v", got)
	}
	silent := telling{untold: map[string]string{"redundancy": "http.ids is not declared", probes.UntoldRoles: "nobody said how"}}
	if got := lacked(silent); !slices.Contains(got, "redundancy") || !slices.Contains(got, "roles") {
		t.Errorf("one that was not told how lacks only %v", got)
	}
}

func TestWhyACapabilityIsNotThereIsSaid(t *testing.T) {
	for _, c := range probes.Capabilities() {
		if why := c.Lacks(bare{}); why != "" && !strings.Contains(why, c.Summary) {
			t.Errorf("%s: %q", c.Name, why)
		}
	}
	if !slices.IsSortedFunc(probes.Capabilities(), func(a, b probes.Capability) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("they are not sorted")
	}
}
