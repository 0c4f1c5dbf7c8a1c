package library_test

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	injectors "github.com/dapple-drills/dapple/injectors/all"
	"github.com/dapple-drills/dapple/internal/diag"
	probes "github.com/dapple-drills/dapple/probes/all"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/scenarios/library"
)

func TestEveryScenarioOfTheLibraryReadsWithoutAProblem(t *testing.T) {
	for _, name := range library.Names() {
		path, data, err := library.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		sc, err := scenarios.ParseScenario(path, data, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		if sc.Why == "" || len(sc.Requires.Kind) == 0 || len(sc.Abort) == 0 || sc.Expect.Failover == nil {
			t.Errorf("%s: a scenario of the library says why, on which kind, when to abort and what to expect", path)
		}
		if kind, _, _ := strings.Cut(name, "/"); !slices.Contains(sc.Requires.Kind, kind) {
			t.Errorf("%s: it is for %v and lies in the folder of %s", path, sc.Requires.Kind, kind)
		}
		if !strings.HasPrefix(string(data), "# yaml-language-server: $schema=../../schema/scenario.json\n") {
			t.Errorf("%s: the first line does not name the schema for editors", path)
		}
		if strings.Count(string(data), " #") < 3 {
			t.Errorf("%s: a scenario of the library explains itself in comments", path)
		}
	}
}

func TestEveryScenarioOfTheLibraryCanBeMadeWithTheInjectorsThatThereAre(t *testing.T) {
	v := &scenarios.Vocabulary{}
	for _, k := range injectors.Kinds() {
		v.Injectors = append(v.Injectors, scenarios.InjectorWord{
			Name: k.Name, Params: k.Params, Excludes: k.Excludes,
			Check: func(p scenarios.Params) error { _, err := k.New(p.Decode); return err },
		})
	}
	for _, k := range probes.Kinds() {
		v.Kinds = append(v.Kinds, scenarios.KindWord{Name: k.Name, Phases: k.Lock})
	}
	for _, name := range library.Names() {
		path, data, err := library.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := scenarios.ParseScenario(path, data, v); err != nil {
			t.Error(err)
		}
	}
}

func TestTheLibraryHasTheScenariosThatTheContractNames(t *testing.T) {
	for _, path := range []string{"scenarios/library/patroni/primary-kill.yaml", "scenarios/library/patroni/agent-freeze.yaml", "scenarios/library/etcd/leader-kill.yaml"} {
		if _, _, err := library.Find(path); err != nil {
			t.Error(err)
		}
	}
}

func TestTheReadmeListsEveryScenarioAndNoOther(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^\| \[(.+?)\]\((.+?)\) \|`).FindAllStringSubmatch(string(readme), -1) {
		if m[1] != m[2] {
			t.Errorf("the link of %s leads to %s", m[1], m[2])
		}
		listed = append(listed, m[1])
	}
	if d := cmp.Diff(library.Names(), listed); d != "" {
		t.Errorf("-library +README:\n%s", d)
	}
}

func TestAScenarioIsFoundByEachOfItsNames(t *testing.T) {
	for _, name := range []string{"scenarios/library/etcd/leader-kill.yaml", "./scenarios/library/etcd/leader-kill.yaml", "etcd/leader-kill.yaml", "etcd/leader-kill"} {
		path, data, err := library.Find(name)
		if err != nil || path != "scenarios/library/etcd/leader-kill.yaml" || len(data) == 0 {
			t.Errorf("Find(%q) = %q, %d bytes, %v", name, path, len(data), err)
		}
	}
}

func TestAScenarioThatIsNotThereIsAnErrorWithTheNearestName(t *testing.T) {
	for name, want := range map[string]string{
		"etcd/leader-kil":   "did you mean scenarios/library/etcd/leader-kill.yaml?",
		"../../etc/passwd":  "ready scenarios: ",
		"":                  "ready scenarios: ",
		"scenarios/library": "ready scenarios: ",
	} {
		_, _, err := library.Find(name)
		if hints := diag.Hints(err); !errors.Is(err, fs.ErrNotExist) || len(hints) != 1 || !strings.HasPrefix(hints[0], want) {
			t.Errorf("Find(%q): %v, hints %q", name, err, hints)
		}
	}
}
