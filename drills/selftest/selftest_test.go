package selftest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// The test's own binary stands in for dapple: as the agent of a run, and as a run
// that is held up.
const (
	modeAgent  = "selftest-agent"
	modeWorker = "selftest-worker"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == modeAgent || os.Args[1] == modeWorker) {
		if err := mode(context.Background(), os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// A race detector sleeps for a second before each exit, unless told not to.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func mode(ctx context.Context, mode string, args []string) error {
	if mode == modeAgent {
		return AgentMain(ctx, os.Stdin, os.Stdout, args)
	}
	return WorkerMain(ctx, os.Stdin, os.Stdout)
}

func options(t *testing.T) Options {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{Parallel: 2, Agent: []string{me, modeAgent}, Worker: []string{me, modeWorker}, Dir: t.TempDir()}
}

func TestEveryBrokenPipelineIsCaught(t *testing.T) {
	o := options(t)
	o.Controls = true
	var rep Report
	// Its servers are in this process: on a machine with no time left the bounds are
	// so wide that a broken pipeline may hide in them.
	for try := 1; try <= 5 && !(rep.Proven() && rep.Complete()) || try == 1; try++ {
		var err error
		if rep, err = Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if len(rep.Controls) != len(controls()) {
		t.Errorf("%d controls were run, of %d", len(rep.Controls), len(controls()))
	}
	for _, c := range rep.Controls {
		if !c.Caught {
			t.Errorf("%s: %s", c.Name, c.Said)
		}
	}
}

// The same broken pipeline, not as a control but as a run that is believed in.
func TestASelftestOfABrokenPipelineFailsAndSaysHowToSeeItAgain(t *testing.T) {
	o := options(t)
	c, err := controlOf("an audit skips what it misses")
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.one(t.Context(), job{seed: c.seed, control: c.name})
	if err != nil {
		t.Fatal(err)
	}
	rep := newReport(o)
	rep.add(r)
	rep.finish()
	var text bytes.Buffer
	if err := rep.Text(&text); err != nil {
		t.Fatal(err)
	}
	again := fmt.Sprintf("dapple selftest --runs 1 --seed %d", c.seed)
	if rep.Proven() || !strings.Contains(text.String(), "WRONG") || !strings.Contains(text.String(), again) {
		t.Errorf("proven: %v\n%s", rep.Proven(), &text)
	}
}

func TestAControlThatIsNotCaughtIsNoProof(t *testing.T) {
	for _, x := range []struct {
		name             string
		r                Result
		proven, complete bool
	}{
		{"another metric than the one that was broken was found wrong", Result{Readings: []Reading{{Metric: "outage", Wrong: outside}}}, false, true},
		{"it was measured finely, and not found wrong", Result{Readings: []Reading{{Metric: "promotion", Got: [2]float64{0, 60}}}}, false, true},
		{"it was measured too coarsely to be found wrong", Result{Readings: []Reading{{Metric: "promotion", Got: [2]float64{0, 250}}}}, true, false},
		{"the truth is not known well enough", Result{Readings: []Reading{{Metric: "promotion", Truth: [2]float64{0, 250}}}}, true, false},
		{"its drill was not made", Result{Why: "no time"}, true, false},
		{"it was caught", Result{Readings: []Reading{{Metric: "promotion", Wrong: outside}}}, true, true},
	} {
		rep := newReport(Options{})
		rep.control(controls()[0].name, x.r)
		if rep.Proven() != x.proven || rep.Complete() != x.complete {
			t.Errorf("%s: proven %v, complete %v, said %q", x.name, rep.Proven(), rep.Complete(), rep.Controls[0].Said)
		}
	}
}

func TestACaseFollowsFromItsSeed(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(10 * len(families())) {
		a, b := caseOf(seed), caseOf(seed)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("seed %d: %+v, and then %+v", seed, a, b)
		}
		seen[a.Family] = true
		s := a.Script
		if s.Failover && !(s.Begin <= s.Detect && s.Detect <= s.Elect && s.Elect <= s.Promote && s.Promote <= s.Route && s.Route < s.Hold) {
			t.Errorf("seed %d: its script is out of order: %+v", seed, s)
		}
	}
	if len(seen) != len(families()) {
		t.Errorf("seeds in a row go through %d of %d families", len(seen), len(families()))
	}
}

func TestAnAgentsClockIsBentInAllThatItTells(t *testing.T) {
	var out bytes.Buffer
	c := crooked{out: &out, clock: Clock{Offset: 1000, Drift: 0.5}}
	for _, line := range []string{
		`{"id":9007199254740993,"now_ns":100,"welcome":{"boot":"x"}}`,
		`{"id":2,"now_ns":300,"held":{"effect":{"lo_ns":200,"hi_ns":300}}}`,
	} {
		if n, err := c.Write([]byte(line + "\n")); err != nil || n != len(line)+1 {
			t.Fatalf("%d, %v", n, err)
		}
	}
	want := `{"id":9007199254740993,"now_ns":1100,"welcome":{"boot":"another machine"}}
{"held":{"effect":{"hi_ns":1400,"lo_ns":1250}},"id":2,"now_ns":1400}
`
	if out.String() != want {
		t.Errorf("got\n%s, want\n%s", &out, want)
	}
}
