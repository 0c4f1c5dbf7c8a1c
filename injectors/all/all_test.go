package all

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

func TestTheCatalogueIsSortedAndComplete(t *testing.T) {
	kinds := Kinds()
	if !slices.IsSortedFunc(kinds, func(a, b injectors.Kind) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		t.Errorf("two faults are called %s", a.Name)
		return 0
	}) {
		t.Error("the catalogue is not sorted by name")
	}
	for _, k := range kinds {
		if k.Summary == "" || k.Layers == "" || k.Params == nil || k.New == nil || k.Reopen == nil {
			t.Errorf("%s lacks something: %+v", k.Name, k)
		}
	}
}

// A bare node can do nothing but what every node can.
type bare struct{}

func (bare) Name() string { return "bare" }

func (bare) Exec(context.Context, ...string) ([]byte, error) { return nil, nil }

// Planning on a node that lacks what a fault needs must say what Carries says:
// otherwise doctor and plan would contradict each other.
func TestAPlaceThatCannotCarryAFaultIsRefusedByPlanAsWell(t *testing.T) {
	for _, k := range Kinds() {
		carries := k.Carries(bare{})
		if (carries == nil) != (len(k.Needs) == 0) || carries != nil && !errors.Is(carries, targets.ErrUnsupported) {
			t.Errorf("%s needs %v, and says of a node that can do nothing: %v", k.Name, k.Needs, carries)
		}
		if carries == nil {
			continue
		}
		inj := k.Reopen() // with the defaults of its parameters
		_, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{bare{}}, Peers: []targets.Node{bare{}}})
		if err == nil {
			t.Errorf("%s was planned on a node that cannot carry it", k.Name)
		}
	}
}

// What a drill needs of this machine can be asked before: but for the two that need
// nothing of it.
func TestEveryFaultThatNeedsSomethingOfTheMachineCanBeTriedHere(t *testing.T) {
	for _, k := range Kinds() {
		if nothing := k.Name == "command" || k.Name == "noop"; nothing != (k.Here == nil) {
			t.Errorf("%s: it can be tried here: %v", k.Name, k.Here != nil)
		}
	}
}

// Where this machine can be asked, it answers, in good time and without a trace of
// the question: a second one gets the same answer.
func TestWhatThisMachineCanCarryIsAnsweredTwiceAlike(t *testing.T) {
	for _, k := range Kinds() {
		if k.Here == nil {
			continue
		}
		first, second := k.Here(t.Context()), k.Here(t.Context())
		if (first == nil) != (second == nil) {
			t.Errorf("%s: first %v, then %v", k.Name, first, second)
		}
	}
}
