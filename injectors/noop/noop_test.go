package noop

import (
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

func made(t *testing.T) injectors.Injector {
	t.Helper()
	inj, err := Kind().New(func(any) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return inj
}

func TestTheNullControlKeepsTheLawsAndChangesNothing(t *testing.T) {
	injectortest.Case{
		New:    func() injectors.Injector { return made(t) },
		Reopen: Kind().Reopen,
		Node:   func() *faketarget.Node { return faketarget.Patroni("pg1") },
		Null:   true,
	}.Run(t)
}

func TestEveryNodeGetsANullControlOfItsOwnThatIsHeldAndNoHole(t *testing.T) {
	a, b := faketarget.Patroni("a"), faketarget.Patroni("b")
	faults, err := made(t).Plan(t.Context(), injectors.Aim{On: []targets.Node{a, b}})
	if err != nil || len(faults) != 2 || faults[0].Node != "a" || faults[1].Node != "b" {
		t.Fatalf("%+v, %v", faults, err)
	}
	for _, f := range faults {
		if f.Momentary || f.NodeDead {
			t.Errorf("%+v: it is held, and kills nothing", f)
		}
	}
	// The node dies of something else: that is the system's doing, and no hole.
	if err := a.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := Kind().Reopen().Effect(t.Context(), a, faults[0]); !held || err != nil || !strings.Contains(proof, "nothing") {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
}

func TestANullControlOfNoNodeIsRefused(t *testing.T) {
	if faults, err := made(t).Plan(t.Context(), injectors.Aim{}); err == nil {
		t.Errorf("planned %+v", faults)
	}
}
