package scenarios_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/scenarios"
)

func TestDurationsAreReadInEveryUnit(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"200ms": 200 * time.Millisecond, "1.5s": 1500 * time.Millisecond, "2m": 2 * time.Minute, "1h": time.Hour,
		"1d": 24 * time.Hour, "1w": 168 * time.Hour, "1m30s": 90 * time.Second, "0s": 0, "3us": 3000, "3µs": 3000, "7ns": 7, "0.5ms": 500000,
	} {
		got, err := scenarios.ParseDuration(text)
		if err != nil || got.D() != want {
			t.Errorf("%q = %v, %v; want %v", text, got, err, want)
		}
		again, err := scenarios.ParseDuration(got.String())
		if err != nil || again != got {
			t.Errorf("%q is written %q, which reads as %v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", " ", "s", "1", "1.", ".5s", "1,5s", "-1s", "+1s", "1e3s", "1 s", "1S", "1y", "1m30", "1:30", "0x1s", "∞s", "1s ", "999999d9999999d"} {
		if d, err := scenarios.ParseDuration(text); err == nil {
			t.Errorf("%q is read as %v", text, d)
		}
	}
}

func TestADurationIsWrittenInTheLargestUnitThatDividesIt(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "90s", 2 * time.Minute: "2m", 48 * time.Hour: "2d", 1500 * time.Millisecond: "1500ms", 7: "7ns",
	} {
		if got := scenarios.Duration(d).String(); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}

func TestRatesAndObjectivesOfLossAreReadWithTheirUnits(t *testing.T) {
	for text, want := range map[string]scenarios.Rate{"200/s": 200, "30/m": 0.5, "7200/h": 2, "0.5/s": 0.5} {
		var r scenarios.Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%q = %v, %v", text, r, err)
		}
	}
	for text, want := range map[string]*scenarios.RPO{
		"0 writes": scenarios.RPOWrites(0), "1 write": scenarios.RPOWrites(1), "100 writes": scenarios.RPOWrites(100), "5s": scenarios.RPOAge(5 * time.Second),
	} {
		var r scenarios.RPO
		if err := r.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if d := cmp.Diff(want, &r); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
	for _, text := range []string{"", "200", "200 /s", "NaN/s", "Inf/s", "1e9/s", "/s", "200/", "200/s/s"} {
		if err := new(scenarios.Rate).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a rate", text)
		}
	}
	for _, text := range []string{"", "0", "none", "writes", " writes", "+1 writes", "1.5 writes", "0  writes"} {
		if err := new(scenarios.RPO).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is an rpo", text)
		}
	}
}

func TestOfTwoObjectivesTheStricterOneHolds(t *testing.T) {
	d := func(n time.Duration) *scenarios.Duration { x := scenarios.Duration(n * time.Second); return &x }
	never := scenarios.Never(true)
	sys := scenarios.Objectives{Detection: d(35), RTO: d(60), RPO: scenarios.RPOWrites(10), Rejoin: d(100)}
	sc := scenarios.Objectives{RTO: d(40), RPO: scenarios.RPOWrites(0), SplitBrain: &never, Rejoin: d(120)}
	want := scenarios.Objectives{Detection: d(35), RTO: d(40), RPO: scenarios.RPOWrites(0), SplitBrain: &never, Rejoin: d(100)}
	if diff := cmp.Diff(want, scenarios.Tighten(sys, sc)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, scenarios.Tighten(sc, sys)); diff != "" {
		t.Errorf("the order must not matter:\n%s", diff)
	}
	for _, c := range []struct{ sys, sc, want *scenarios.RPO }{
		{scenarios.RPOAge(5e9), scenarios.RPOWrites(0), scenarios.RPOWrites(0)},
		{scenarios.RPOWrites(0), scenarios.RPOAge(5e9), scenarios.RPOWrites(0)},
		{scenarios.RPOAge(5e9), scenarios.RPOAge(4e9), scenarios.RPOAge(4e9)},
		{scenarios.RPOWrites(5), nil, scenarios.RPOWrites(5)},
		{nil, nil, nil},
	} {
		got := scenarios.Tighten(scenarios.Objectives{RPO: c.sys}, scenarios.Objectives{RPO: c.sc}).RPO
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v and %v: %s", c.sys, c.sc, diff)
		}
	}
}

func TestDefaultsFillWhatWasLeftOutAndNothingElse(t *testing.T) {
	sc := &scenarios.Scenario{Name: "n", Settle: scenarios.Duration(30 * time.Second), Steps: []scenarios.Step{{Inject: "kill", On: scenarios.Strings{"primary"}}}}
	full := sc.WithDefaults()
	if sc.Steady != 0 || sc.Steps[0].For != 0 || sc.Steps[0].Phase != "" {
		t.Error("the original was changed")
	}
	want := &scenarios.Scenario{
		Name: "n", Workload: scenarios.Workload{Rate: 200, Clients: 4}, Steady: scenarios.Duration(15 * time.Second),
		Steps:  []scenarios.Step{{Inject: "kill", On: scenarios.Strings{"primary"}, For: scenarios.Duration(time.Minute), Phase: scenarios.Random}},
		Settle: scenarios.Duration(30 * time.Second), StableFor: scenarios.Duration(10 * time.Second), FullFor: scenarios.Duration(30 * time.Second),
		BlastRadius: scenarios.Radius{Nodes: 1}, Trials: 1,
	}
	if d := cmp.Diff(want, full, sameFile); d != "" {
		t.Error(d)
	}
	clients := (&scenarios.System{Clients: scenarios.Clients{Connect: scenarios.Duration(3 * time.Second)}}).WithDefaults().Clients
	if d := cmp.Diff(scenarios.Clients{
		Connect: scenarios.Duration(3 * time.Second), Statement: scenarios.Duration(2 * time.Second),
		Backoff: scenarios.Backoff{From: scenarios.Duration(50 * time.Millisecond), To: scenarios.Duration(500 * time.Millisecond)},
	}, clients); d != "" {
		t.Error(d)
	}
}

func TestParametersKeepTheirPlacesUntilSomebodyReadsThem(t *testing.T) {
	sc, err := scenarios.ParseScenario("s.yaml", []byte("name: n\nsteps:\n  - inject: any\n    on: primary\n    with: {signal: STOP, delay: 1d, nested: {a: [x, 2], b: [{c: 1}]}}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	with := sc.Steps[0].With
	if d := cmp.Diff(map[string]string{"signal": "STOP", "delay": "1d", "nested.a": "x,2", "nested.b[0].c": "1"}, with.Map()); d != "" {
		t.Error(d)
	}
	p := killParams{Mode: "default", Signal: "KILL"}
	err = with.Decode(&p)
	if got, want := err.Error(), `s.yaml:5:37: unknown key "nested" in steps[0].with`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if d := cmp.Diff(killParams{Mode: "default", Signal: "STOP", Delay: 24 * time.Hour}, p); d != "" {
		t.Error(d)
	}
	if err := with.Decode(p); err == nil {
		t.Error("decoding into what is no pointer is no error")
	}
}

func TestParametersMadeInGoAreReadAsStrictly(t *testing.T) {
	with, err := scenarios.NewParams(killParams{Signal: "STOP", Count: 3, Delay: time.Second, Peers: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	var p killParams
	if err := with.Decode(&p); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(killParams{Signal: "STOP", Count: 3, Delay: time.Second, Peers: []string{"a"}}, p); d != "" {
		t.Error(d)
	}
	with, err = scenarios.NewParams(map[string]any{"singal": "STOP"})
	if err != nil {
		t.Fatal(err)
	}
	if err := with.Decode(&p); err == nil || err.Error() != `unknown key "singal"` {
		t.Errorf("got %v", err)
	}
	if _, err := scenarios.NewParams([]int{1}); err == nil {
		t.Error("a list became parameters")
	}
	var none scenarios.Params
	if err := none.Decode(&p); err != nil || !none.IsZero() || none.Map() != nil {
		t.Errorf("no parameters: %v", err)
	}
}

func TestParametersAreEqualIfTheyMeanTheSame(t *testing.T) {
	made := func(v any) scenarios.Params {
		p, err := scenarios.NewParams(v)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	type m = map[string]any
	a := made(m{"x": "a,b", "y": m{"z": 1}})
	for _, c := range []struct {
		other scenarios.Params
		same  bool
	}{
		{made(m{"y": m{"z": 1}, "x": "a,b"}), true},
		{made(m{"x": []string{"a", "b"}, "y": m{"z": 1}}), false},
		{made(m{"x": "a,b", "y": m{"z": 2}}), false},
		{made(m{"x": "a,b"}), false},
		{made(m{"x": "a,b", "y": m{"z": 1}, "w": 1}), false},
		{scenarios.Params{}, false},
	} {
		if a.Equal(c.other) != c.same || c.other.Equal(a) != c.same {
			t.Errorf("%v and %v: want equal %v", a.Map(), c.other.Map(), c.same)
		}
	}
	if !made(m{}).Equal(scenarios.Params{}) {
		t.Error("no parameters differ from no parameters")
	}
}

func TestASecretIsReadFromWhereItIs(t *testing.T) {
	t.Setenv("DAPPLE_TEST_PW", "s3cret ")
	file := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(file, []byte("from file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for s, want := range map[scenarios.Secret]string{{Env: "DAPPLE_TEST_PW"}: "s3cret ", {File: file}: "from file"} {
		if got, err := s.Resolve(); err != nil || got != want {
			t.Errorf("%v = %q, %v", s, got, err)
		}
	}
	_, err := scenarios.Secret{Env: "DAPPLE_TEST_UNSET"}.Resolve()
	if err == nil || !strings.Contains(err.Error(), "DAPPLE_TEST_UNSET is not set") || len(diag.Hints(err)) != 1 {
		t.Errorf("got %v", err)
	}
	if _, err := (scenarios.Secret{File: file + "x"}).Resolve(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := (scenarios.Secret{}).Resolve(); err == nil {
		t.Error("no secret was read")
	}
}

func TestAPhaseThatAKindCannotBeLockedOnIsRefused(t *testing.T) {
	v := vocabulary()
	for _, c := range []struct {
		kind  string
		phase scenarios.Phase
		ok    bool
	}{{"patroni", scenarios.Worst, true}, {"etcd", scenarios.Random, true}, {"etcd", "", true}, {"etcd", scenarios.Best, false}} {
		if err := v.CheckPhase(c.kind, c.phase); (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.kind, c.phase, err)
		}
	}
	if err := v.CheckCluster("etdc"); err == nil || diag.Hints(err)[0] != `did you mean "etcd"?` {
		t.Errorf("got %v", err)
	}
	if v.CheckCluster("etcd") != nil || (*scenarios.Vocabulary)(nil).CheckCluster("x") != nil {
		t.Error("a cluster that there is was refused")
	}
}

func TestFilesThatAreNotThereOrEndlessAreErrors(t *testing.T) {
	if _, err := scenarios.LoadScenario("testdata/none.yaml", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := scenarios.LoadSystem(t.TempDir(), nil); err == nil {
		t.Error("a folder was read")
	}
	if _, err := scenarios.LoadSystem("/dev/zero", nil); err == nil || !strings.Contains(err.Error(), "at most 1048576 are read") {
		t.Errorf("/dev/zero: %v", err)
	}
}

func TestAFileIsTakenForWhatItIsMeantToBeAlsoWithMistakesInIt(t *testing.T) {
	for text, want := range map[string]scenarios.FileKind{
		"name: n\nsteps: [\n":             scenarios.IsScenario,
		"name: n\nkind: etcd\nnodes: {\n": scenarios.IsSystem,
		"name: n\nnodse: {}\nkind: x\n":   scenarios.IsSystem,
		"hello":                           scenarios.Unclear,
		"":                                scenarios.Unclear,
		`{"steps": []}`:                   scenarios.IsScenario,
	} {
		if got := scenarios.Sniff([]byte(text)); got != want {
			t.Errorf("%q is taken for %q", text, got)
		}
	}
	_, err := scenarios.Check("x.yaml", []byte("hello: world\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "neither a scenario nor a system file") {
		t.Errorf("got %v", err)
	}
	if _, err := scenarios.Check("x.yaml", []byte("a: [\n"), nil); err == nil || !strings.Contains(err.Error(), "x.yaml:1:5:") {
		t.Errorf("got %v", err)
	}
}
