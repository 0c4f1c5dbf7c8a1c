package archtest_test

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/dapple-drills/dapple/internal/archtest"
)

// tree is the source of this repository, parsed once.
var tree = sync.OnceValues(func() (*archtest.Tree, error) { return archtest.Load(os.DirFS("../..")) })

func repository(t *testing.T) *archtest.Tree {
	t.Helper()
	r, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Files) < 50 {
		t.Fatalf("only %d files were found: the rules would hold for nothing", len(r.Files))
	}
	return r
}

func none(t *testing.T, bad []string) {
	t.Helper()
	if len(bad) > 0 {
		t.Errorf("%d violations:\n%s", len(bad), strings.Join(bad, "\n"))
	}
}

func TestEveryPackageImportsOnlyWhatItsLayerMay(t *testing.T) {
	none(t, archtest.Imports(repository(t), archtest.Layers()))
}

func TestTheVerdictIsPure(t *testing.T) { none(t, archtest.Pure(repository(t))) }

func TestEveryDependencyIsUsedByItsOwnerAlone(t *testing.T) {
	none(t, archtest.Dependencies(repository(t), archtest.Owners()))
}

func TestNothingForbiddenIsCalled(t *testing.T) { none(t, archtest.Forbidden(repository(t))) }

func TestNoPackageHasANameThatSaysNothing(t *testing.T) { none(t, archtest.Names(repository(t))) }

func TestEveryPackageAndExportedNameIsDocumented(t *testing.T) {
	none(t, archtest.Documented(repository(t)))
}

func TestFilesAndFunctionsAreShort(t *testing.T) { none(t, archtest.Sizes(repository(t))) }

func TestEveryRowOfTheTablesHasAReason(t *testing.T) {
	for _, l := range archtest.Layers() {
		if l.Because == "" {
			t.Errorf("%s: why?", l.Who)
		}
	}
}
