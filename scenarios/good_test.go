package scenarios_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	injectors "github.com/dapple-drills/dapple/injectors/all"
	probes "github.com/dapple-drills/dapple/probes/all"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/scenarios/library"
)

// A goodFile is one that must be read without a problem.
type goodFile struct {
	path  string
	kind  scenarios.FileKind
	data  []byte
	words *scenarios.Vocabulary // those that the file may use
}

func goodFiles(t testing.TB) []goodFile {
	t.Helper()
	var files []goodFile
	paths, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		kind := scenarios.IsScenario
		if strings.HasSuffix(p, ".system.yaml") {
			kind = scenarios.IsSystem
		}
		if strings.HasSuffix(p, ".schedule.yaml") {
			kind = scenarios.IsSchedule
		}
		files = append(files, goodFile{p, kind, data, vocabulary()})
	}
	real := catalogued()
	for _, name := range library.Names() {
		path, data, err := library.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, goodFile{path, scenarios.IsScenario, data, real})
	}
	return files
}

// catalogued is the vocabulary of the faults and systems that there are: what a
// scenario of the library may use, which the made-up words of other tests are not.
func catalogued() *scenarios.Vocabulary {
	v := &scenarios.Vocabulary{}
	for _, k := range injectors.Kinds() {
		v.Injectors = append(v.Injectors, scenarios.InjectorWord{Name: k.Name, Params: k.Params, Excludes: k.Excludes})
	}
	for _, k := range probes.Kinds() {
		v.Kinds = append(v.Kinds, scenarios.KindWord{Name: k.Name, Phases: k.Lock})
	}
	return v
}

// parse reads a file of any kind.
func parse(f goodFile, v *scenarios.Vocabulary) (any, error) {
	switch f.kind {
	case scenarios.IsSystem:
		return scenarios.ParseSystem(f.path, f.data, v)
	case scenarios.IsSchedule:
		return scenarios.ParseSchedule(f.path, f.data, v)
	}
	return scenarios.ParseScenario(f.path, f.data, v)
}

func TestGoodFilesAreReadWithAndWithoutAVocabulary(t *testing.T) {
	for _, f := range goodFiles(t) {
		for _, v := range []*scenarios.Vocabulary{nil, {}, f.words} {
			if _, err := parse(f, v); err != nil {
				t.Error(err)
			}
			if err := valid(t, compiled(t, string(f.kind), v), f.data); err != nil {
				t.Errorf("%s: refused by the schema: %v", f.path, err)
			}
		}
		if kind := scenarios.Sniff(f.data); kind != f.kind {
			t.Errorf("%s is taken for %q", f.path, kind)
		}
		if kind, err := scenarios.Check(f.path, f.data, f.words); kind != f.kind || err != nil {
			t.Errorf("Check(%s) = %q, %v", f.path, kind, err)
		}
	}
}

// sameFile compares what two files mean: not where it stands in them.
var sameFile = cmp.Options{
	cmpopts.IgnoreUnexported(scenarios.Scenario{}, scenarios.System{}, scenarios.Schedule{}),
	cmpopts.IgnoreFields(scenarios.Step{}, "Pos"),
	cmpopts.EquateEmpty(),
}

func TestWhatIsWrittenReadsBackAsTheSame(t *testing.T) {
	for _, f := range goodFiles(t) {
		first, err := parse(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		written, err := first.(interface{ Format() ([]byte, error) }).Format()
		if err != nil {
			t.Fatal(err)
		}
		second, err := parse(goodFile{path: f.path, kind: f.kind, data: written}, f.words)
		if err != nil {
			t.Errorf("%s, written as\n%s\n%v", f.path, written, err)
			continue
		}
		if d := cmp.Diff(first, second, sameFile); d != "" {
			t.Errorf("%s, written as\n%s\n%s", f.path, written, d)
		}
		if err := first.(interface {
			Validate(*scenarios.Vocabulary) error
		}).Validate(f.words); err != nil {
			t.Error(err)
		}
	}
}

func TestTheContractsScenarioMeansWhatItSays(t *testing.T) {
	sc, err := scenarios.LoadScenario("testdata/good/contract.scenario.yaml", vocabulary())
	if err != nil {
		t.Fatal(err)
	}
	yes, second := scenarios.YesNo(true), scenarios.Duration(1e9)
	with, err := scenarios.NewParams(map[string]string{"signal": "KILL", "process": "main", "mode": "crash"})
	if err != nil {
		t.Fatal(err)
	}
	want := &scenarios.Scenario{
		Name:     "patroni primary kill",
		Why:      "Losing the primary must cost at most the declared RTO and no acknowledged write.",
		Requires: scenarios.Requires{Kind: scenarios.Strings{"patroni"}},
		Workload: scenarios.Workload{Rate: 200, Clients: 4},
		Steady:   15 * second,
		Steps:    []scenarios.Step{{Inject: "kill", On: scenarios.Strings{"primary"}, With: with, For: 60 * second, Phase: scenarios.Random}},
		Settle:   120 * second, StableFor: 10 * second, FullFor: 30 * second,
		BlastRadius: scenarios.Radius{Nodes: 1},
		Abort:       []scenarios.Abort{{Outage: 90 * second}},
		Expect:      scenarios.Expect{Failover: &yes},
		Trials:      1,
	}
	if d := cmp.Diff(want, sc, sameFile); d != "" {
		t.Error(d)
	}
	if got := sc.Steps[0].Pos.String(); got != "testdata/good/contract.scenario.yaml:7:5" {
		t.Errorf("the step stands at %s", got)
	}
	if d := cmp.Diff(sc, sc.WithDefaults(), sameFile); d != "" {
		t.Errorf("the contract's scenario names every default but:\n%s", d)
	}
}

func TestTheContractsSystemMeansWhatItSays(t *testing.T) {
	sys, err := scenarios.LoadSystem("testdata/good/contract.system.yaml", vocabulary())
	if err != nil {
		t.Fatal(err)
	}
	second := scenarios.Duration(1e9)
	d := func(n int) *scenarios.Duration { x := scenarios.Duration(n) * second; return &x }
	never := scenarios.Never(true)
	want := &scenarios.System{
		Name: "orders-db", Kind: "patroni", Environment: scenarios.Staging,
		Nodes: scenarios.Nodes{Docker: &scenarios.DockerNodes{Label: scenarios.Strings{"app=orders"}}},
		Clients: scenarios.Clients{
			DSN:      "postgres://app@pg1,pg2,pg3/orders?target_session_attrs=read-write",
			Password: scenarios.Secret{Env: "ORDERS_PW"}, Connect: second, Statement: 2 * second,
			Backoff: scenarios.Backoff{From: second / 20, To: second / 2},
		},
		Health: scenarios.Health{HTTP: "http://{node}:8008/primary"},
		Objectives: scenarios.Objectives{
			Detection: d(35), RTO: d(60), RPO: scenarios.RPOWrites(0), SplitBrain: &never, Rejoin: d(120), Redundancy: d(300),
			FalseGreen: d(5), StaleReads: &never, LateWrites: &never,
		},
		Design: scenarios.Design{Pattern: "active-passive", Detection: "lease", State: "replicated-sync", Recovery: "automatic"},
	}
	if d := cmp.Diff(want, sys, sameFile); d != "" {
		t.Error(d)
	}
}

func TestAFileMadeInGoIsCheckedLikeOneThatWasWritten(t *testing.T) {
	sc := &scenarios.Scenario{Name: "n", Steps: []scenarios.Step{{Inject: "kil", On: scenarios.Strings{"primary"}}}, Trials: 3}
	err := sc.Validate(vocabulary())
	if err == nil || !strings.Contains(err.Error(), `scenario made in Go:`) || !strings.Contains(err.Error(), `unknown injector "kil"`) {
		t.Errorf("got %v", err)
	}
	sys := &scenarios.System{Name: "n", Kind: "etcd"}
	if err := sys.Validate(vocabulary()); err == nil || !strings.Contains(err.Error(), "does not say where they are") {
		t.Errorf("got %v", err)
	}
	sc.Steps[0].Inject, sc.Objectives.RPO = "kill", scenarios.RPOAge(0)
	sys.Objectives.RPO = scenarios.RPOWrites(0)
	if err := scenarios.CheckPair(sc, sys); err != nil {
		t.Errorf("a pair made in Go: %v", err)
	}
	sc.Requires.Kind = scenarios.Strings{"patroni"}
	if err := scenarios.CheckPair(sc, sys); err == nil || err.Error() != "the scenario is for patroni, and the system n is of kind etcd" {
		t.Errorf("a pair made in Go: %v", err)
	}
}
