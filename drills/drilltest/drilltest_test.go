package drilltest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/drilltest"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/scenarios"
)

// fakeEnv makes this test binary stand for dapple: it leaves the record that the
// variable holds, and exits with its exit code.
const fakeEnv = "DRILLTEST_FAKE"

// A fake is what the program is to do.
type fake struct {
	Record *drills.Record
	Code   int
	Wait   bool   // until it is interrupted
	Out    string // what it prints
	Log    string // a file to which it appends "+" when it begins and "-" when it ends
}

func TestMain(m *testing.M) {
	if data := os.Getenv(fakeEnv); data != "" {
		os.Exit(play(data))
	}
	os.Exit(m.Run())
}

func play(data string) int {
	var f fake
	if err := json.Unmarshal([]byte(data), &f); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	log := func(s string) {
		if out, err := os.OpenFile(f.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			fmt.Fprint(out, s)
			_ = out.Close()
		}
	}
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	log("+")
	defer log("-")
	fmt.Fprintln(os.Stderr, "said:", strings.Join(os.Args[1:], " "))
	if f.Wait {
		<-ch
	}
	fmt.Print(f.Out)
	if len(os.Args) > 2 {
		log(" " + os.Args[1] + " " + os.Args[2] + " ")
	}
	if i := slices.Index(os.Args, "--out"); i > 0 && f.Record != nil {
		dir := os.Args[i+1]
		e := timeline.Event{I: 7, Kind: "write", Node: "n1", Value: "failed", By: "fresh-1", Evidence: "connection refused"}
		line, err := json.Marshal(e)
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "timeline.jsonl"), append(line, '\n'), 0o600)
		}
		if err == nil {
			err = drills.WriteRecord(dir, *f.Record)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 98
		}
	}
	return f.Code
}

// A tb is a test whose failing is watched.
type tb struct {
	testing.TB
	t      *testing.T
	ctx    context.Context
	failed bool
	said   strings.Builder
	attrs  map[string]string
}

func (b *tb) Helper()                     {}
func (b *tb) Context() context.Context    { return b.ctx }
func (b *tb) ArtifactDir() string         { return b.t.ArtifactDir() }
func (b *tb) Attr(k, v string)            { b.attrs[k] = v }
func (b *tb) Output() io.Writer           { return &b.said }
func (b *tb) Logf(f string, a ...any)     { fmt.Fprintf(&b.said, f+"\n", a...) }
func (b *tb) Errorf(f string, a ...any)   { b.Logf(f, a...); b.failed = true }
func (b *tb) Fatalf(f string, a ...any)   { b.Errorf(f, a...); runtime.Goexit() }
func (b *tb) Deadline() (time.Time, bool) { return b.t.Deadline() }

// pretend has this test binary stand for dapple, and do what f says.
func pretend(t *testing.T, f fake) {
	t.Helper()
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(fakeEnv, string(data))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(agent.BinaryEnv, exe)
	t.Setenv("DAPPLE_HOME", t.TempDir())
}

// drilled runs a drill of the fake, and says what became of the test.
func drilled(t *testing.T, ctx context.Context, f fake, d drilltest.Drill) (rec drills.Record, b *tb) {
	t.Helper()
	if testing.Short() {
		t.Skip("drills are skipped with -short")
	}
	pretend(t, f)
	b = &tb{t: t, ctx: ctx, attrs: map[string]string{}}
	var wg sync.WaitGroup
	wg.Go(func() { rec = drilltest.Run(b, d) })
	wg.Wait()
	return rec, b
}

func record(v verdict.Verdict) *drills.Record {
	r := &drills.Record{Schema: drills.Schema, Run: "r1", Verdict: v, Reason: "because", Drill: drills.DrillInfo{Name: "kill"}, System: drills.SystemInfo{Name: "db"}}
	r.Trials = []verdict.Trial{{N: 1, Verdict: v, Reason: "because"}}
	switch v {
	case verdict.Fail:
		r.Trials[0].Findings = []verdict.Finding{{Objective: "rto", Want: "≤ 5 s", Got: "9 s", Outcome: verdict.Missed, Events: []int{7}}, {Objective: "rpo", Outcome: verdict.Met, Want: "0 writes"}}
	case verdict.Inconclusive:
		r.Trials[0].Findings = []verdict.Finding{{Objective: "rto", Want: "≤ 5 s", Got: "4 to 6 s", Outcome: verdict.Unproven, Text: "too coarse"}}
	}
	return r
}

func onEtcd() drilltest.Drill {
	return drilltest.Drill{Scenario: "etcd/leader-kill.yaml", On: "cluster:etcd", Trials: 2, Seed: 7}
}

func TestAPassIsAPassAndTheRecordComesBack(t *testing.T) {
	rec, b := drilled(t, t.Context(), fake{Record: record(verdict.Pass)}, onEtcd())
	if b.failed || rec.Run != "r1" || b.attrs["dapple.verdict"] != "pass" {
		t.Errorf("failed %v, record %q, attributes %v\n%s", b.failed, rec.Run, b.attrs, b.said.String())
	}
	if want := "said: run etcd/leader-kill.yaml --on cluster:etcd --out "; !strings.Contains(b.said.String(), want) || !strings.Contains(b.said.String(), "--trials 2 --seed 7") {
		t.Errorf("no %q in\n%s", want, b.said.String())
	}
}

func TestAMissFailsTheTestWithTheFindingAndTheEventsThatShowIt(t *testing.T) {
	rec, b := drilled(t, t.Context(), fake{Record: record(verdict.Fail), Code: 1}, onEtcd())
	if !b.failed || rec.Run != "r1" {
		t.Errorf("failed %v, record %q", b.failed, rec.Run)
	}
	for _, want := range []string{"FAIL: kill on db", "missed in trial 1: rto: wanted ≤ 5 s, got 9 s", "event 7, at 0.000 s: write n1 failed connection refused (fresh-1)", "report.html"} {
		if !strings.Contains(b.said.String(), want) {
			t.Errorf("no %q in\n%s", want, b.said.String())
		}
	}
	if strings.Contains(b.said.String(), "rpo") {
		t.Errorf("what was met is told as a failure:\n%s", b.said.String())
	}
}

func TestOnlyAVerdictIsTolerated(t *testing.T) {
	d := onEtcd()
	d.Tolerate = []verdict.Verdict{verdict.Inconclusive, verdict.Invalid}
	if _, b := drilled(t, t.Context(), fake{Record: record(verdict.Inconclusive), Code: 5}, d); b.failed || !strings.Contains(b.said.String(), "too coarse") {
		t.Errorf("failed %v\n%s", b.failed, b.said.String())
	}
	if _, b := drilled(t, t.Context(), fake{Record: record(verdict.Fail), Code: 1}, d); !b.failed {
		t.Error("a miss was tolerated")
	}
	left := record(verdict.Inconclusive)
	left.Trials[0].Leftovers = []verdict.Left{{What: "a qdisc", Node: "n1", Command: "tc qdisc del"}}
	if rec, b := drilled(t, t.Context(), fake{Record: left, Code: 6}, d); !b.failed || rec.Run != "" || !strings.Contains(b.said.String(), "tc qdisc del") {
		t.Errorf("failed %v\n%s", b.failed, b.said.String())
	}
	if _, b := drilled(t, t.Context(), fake{Record: record(verdict.Pass), Code: 4}, d); !b.failed {
		t.Error("a pass whose program says 4 was believed")
	}
}

func TestWithoutARecordTheTestEndsWithWhatDappleSaid(t *testing.T) {
	rec, b := drilled(t, t.Context(), fake{Code: 3}, onEtcd())
	if !b.failed || rec.Run != "" || !strings.Contains(b.said.String(), "exit code 3 (refused: nothing was touched)\nsaid: run") {
		t.Errorf("failed %v\n%s", b.failed, b.said.String())
	}
	for _, d := range []drilltest.Drill{{On: "x"}, {Scenario: "x"}, {Scenario: "x", Made: &scenarios.Scenario{}, On: "x"}} {
		if _, b := drilled(t, t.Context(), fake{}, d); !b.failed || strings.Contains(b.said.String(), "said: ") {
			t.Errorf("%+v was run:\n%s", d, b.said.String())
		}
	}
}

func TestWhatIsMadeInGoIsHandedOverAsFiles(t *testing.T) {
	d := drilltest.Drill{
		Made:   &scenarios.Scenario{Name: "made", Steps: []scenarios.Step{{Inject: "kill", On: scenarios.Strings{"primary"}}}},
		System: &scenarios.System{Name: "orders", Kind: "patroni", Nodes: scenarios.Nodes{Docker: &scenarios.DockerNodes{Names: scenarios.Strings{"pg1", "pg2"}}}},
	}
	_, b := drilled(t, t.Context(), fake{Record: record(verdict.Pass)}, d)
	var scenario, system string
	for line := range strings.Lines(b.said.String()) {
		if words := strings.Fields(line); len(words) > 4 && words[0] == "said:" {
			scenario, system = words[2], words[4]
		}
	}
	if sc, err := scenarios.LoadScenario(scenario, nil); err != nil || sc.Name != "made" {
		t.Errorf("%v\n%s", err, b.said.String())
	}
	if sys, err := scenarios.LoadSystem(system, nil); err != nil || len(sys.Nodes.Docker.Names) != 2 {
		t.Errorf("%v", err)
	}
}

func TestWhenTheContextEndsTheDrillIsInterruptedAndItsRecordIsRead(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := fake{Record: record(verdict.Aborted), Code: 4, Wait: true, Log: filepath.Join(t.TempDir(), "log")}
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if data, err := os.ReadFile(f.Log); err == nil && string(data) == "+" {
				cancel()
				return
			}
		}
	}()
	rec, b := drilled(t, ctx, f, onEtcd())
	if !b.failed || rec.Verdict != verdict.Aborted || !strings.Contains(b.said.String(), "ABORTED: kill on db") {
		t.Errorf("failed %v, %q\n%s", b.failed, rec.Verdict, b.said.String())
	}
}

func TestDrillsOfParallelTestsWaitForEachOther(t *testing.T) {
	f := fake{Record: record(verdict.Pass), Log: filepath.Join(t.TempDir(), "log")}
	drilled(t, t.Context(), f, onEtcd()) // sets the environment
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { drilltest.Run(&tb{t: t, ctx: t.Context(), attrs: map[string]string{}}, onEtcd()) })
	}
	wg.Wait()
	data, err := os.ReadFile(f.Log)
	if err != nil || string(data) != strings.Repeat("+ run etcd/leader-kill.yaml -", 4) {
		t.Errorf("%q, %v: want one after the other", data, err)
	}
}

func TestAClusterThatATestBroughtUpIsRemovedWhenItEnds(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Run("inner", func(t *testing.T) {
		pretend(t, fake{Out: "name: c\nkind: etcd\nnodes: {hosts: [{name: n1, url: \"http://127.0.0.1:1\"}]}\n", Log: log})
		if sys := drilltest.Up(t, "etcd"); sys.Kind != "etcd" || len(sys.Nodes.Hosts) != 1 {
			t.Errorf("%+v", sys)
		}
	})
	if data, err := os.ReadFile(log); err != nil || string(data) != "+ cluster up -+ cluster down -" && !testing.Short() {
		t.Errorf("%q, %v", data, err)
	}
}
