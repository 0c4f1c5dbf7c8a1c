package cgroups

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

func TestAGroupToTryInIsEmptyAndGoneAfterwards(t *testing.T) {
	testenv.NeedRoot(t)
	dir, asked := "", errors.New("asked")
	err := Scratch(Want{V1: "freezer", V2: "cgroup.freeze"}, func(g Group) error {
		dir = g.Dir
		if pids, err := g.Members(); len(pids) > 0 || err != nil {
			t.Errorf("%v are in it, %v", pids, err)
		}
		return asked
	})
	if !errors.Is(err, asked) || dir == "" {
		t.Fatalf("%q, %v", dir, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", dir, err)
	}
}

// A kernel that takes a value and does not keep it cannot do what is asked.
func TestAValueThatIsNotKeptIsNoYes(t *testing.T) {
	g := Group{Dir: t.TempDir()}
	if err := g.Sets("limit", "5", "5"); err != nil {
		t.Error(err)
	}
	if err := g.Sets("limit", "5", "6"); !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), `says "5"`) {
		t.Error(err)
	}
}

func TestAControllerThatIsNowhereIsNoWithTheWayToGetIt(t *testing.T) {
	testenv.NeedRoot(t)
	err := Scratch(Want{V1: "nonsense", V2: "nonsense.max"}, func(Group) error { return nil })
	if !errors.Is(err, targets.ErrUnsupported) || len(diag.Hints(err)) == 0 {
		t.Error(err)
	}
}
