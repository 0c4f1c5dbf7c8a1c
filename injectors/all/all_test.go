package all

import (
	"slices"
	"testing"

	"github.com/dapple-drills/dapple/injectors"
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
