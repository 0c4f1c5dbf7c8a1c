package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/reports"
)

const unproven = 5

// The scenarios of the library with shorter windows, and with few new connections:
// CI drills several clusters, on machines where a process is dear.
const (
	killPrimary = `name: primary kill
workload: {rate: 200/s, clients: 4, fresh: 500ms, direct: 2s}
steady: 5s
steps:
  - inject: kill
    on: primary
    with: {signal: KILL, process: main, mode: crash}
    for: 45s
settle: 90s
stable_for: 5s
full_for: 5s
expect: {failover: yes}
`
	freezeManager = `name: agent freeze
workload: {rate: 200/s, clients: 4, fresh: 500ms, direct: 2s}
steady: 5s
steps:
  - inject: kill
    on: primary
    with: {signal: STOP, process: manager}
    for: 45s
settle: 90s
stable_for: 5s
full_for: 5s
expect: {failover: yes}
`
)

// a program is dapple with a home of its own.
type program struct {
	t    *testing.T
	home string
}

func newProgram(t *testing.T) program {
	t.Helper()
	testenv.NeedDocker(t)
	testenv.NeedRoot(t)
	if testing.Short() {
		t.Skip("-short: it takes minutes")
	}
	return program{t, t.TempDir()}
}

func (p program) command(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer) {
	bin, err := built()
	if err != nil {
		p.t.Fatal(err)
	}
	var said bytes.Buffer
	c := exec.CommandContext(ctx, filepath.Join(bin, "dapple"), args...)
	c.Env = append(os.Environ(), "DAPPLE_HOME="+p.home, "NO_COLOR=1")
	c.Stdout, c.Stderr = &said, &said
	return c, &said
}

// run runs a command, and fails the test unless it ends with the exit code.
func (p program) run(want int, args ...string) string {
	p.t.Helper()
	said, got := p.try(args...)
	if got != want {
		p.t.Fatalf("dapple %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, want, said)
	}
	return said
}

func (p program) try(args ...string) (output string, code int) {
	p.t.Helper()
	c, said := p.command(context.Background(), args...)
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return said.String(), c.ProcessState.ExitCode()
}

// drill runs a scenario on a cluster and returns its record.
func (p program) drill(want int, scenario, on string) (drills.Record, reports.Run) {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "scenario.yaml")
	if err := os.WriteFile(file, []byte(scenario), 0o600); err != nil {
		p.t.Fatal(err)
	}
	var said, out string
	got := unproven
	// On a machine that is too busy the drill says that it could not tell, or
	// that the system was not steady. That is an answer, but not to the question
	// of the test: it is asked again.
	for try := 1; got == unproven && try <= 3; try++ {
		out = filepath.Join(p.t.TempDir(), "run")
		said, got = p.try("run", file, "--on", on, "--out", out)
		p.t.Logf("try %d:\n%s", try, said)
	}
	if got != want {
		p.t.Fatalf("exit code %d, want %d", got, want)
	}
	run, err := reports.Load(out)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, said)
	}
	return run.Record, run
}

func (p program) up(cluster string) {
	p.t.Helper()
	p.run(0, "cluster", "up", cluster)
	p.t.Cleanup(func() { p.run(0, "cluster", "down", cluster) })
}

func TestAPrimaryOfPatroniThatDiesIsReplacedWithinTheExpectationAndNothingIsLost(t *testing.T) {
	p := newProgram(t)
	p.up("patroni")
	t.Run("the drill", func(t *testing.T) {
		p := program{t, p.home}
		rec, _ := p.drill(0, killPrimary, "cluster:patroni")
		m := rec.Trials[0].Metrics
		if m.Loss == nil || m.Loss.Lost != 0 || m.Loss.AtRisk < 100 {
			t.Errorf("loss: %+v", m.Loss)
		}
		if got := m.Expectation["rto"].Class; got != "inside" {
			t.Errorf("the measured RTO is %q of the expectation: %+v, %+v", got, m.RTO, m.Expectation["rto"])
		}
		for name, metric := range map[string]*verdict.Metric{"detection": m.Detection, "election": m.Election, "promotion": m.Promotion, "routing": m.Routing, "rejoin": m.Rejoin, "redundancy": m.Redundancy} {
			if metric == nil || len(metric.Events) == 0 {
				t.Errorf("%s: no interval with its events: %+v, %s", name, metric, m.Reasons[name])
			}
		}
		if !m.SplitBrain.ProvenAbsent || m.SplitBrain.Level != 0 {
			t.Errorf("split-brain: %+v", m.SplitBrain)
		}
	})
	t.Run("kill -9 of the runner ends the fault", func(t *testing.T) {
		program{t, p.home}.killedRunner("cluster:patroni")
	})
}

// killedRunner kills the runner in the middle of the fault: within the lease the
// node runs again, and nothing is left to revert.
func (p program) killedRunner(on string) {
	t := p.t
	file := filepath.Join(t.TempDir(), "scenario.yaml")
	if err := os.WriteFile(file, []byte(killPrimary), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c, said := p.command(ctx, "run", file, "--on", on, "--out", out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	node := p.faulty(ctx, out, done)
	if node == "" {
		t.Fatalf("no fault was seen\n%s", said)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-done
	// The lease is 5 s; the pipe that closes ends the fault much sooner. The
	// rest is the engine's start of the container, on a busy machine.
	p.eventually(ctx, 15*time.Second, "nothing is left", func() bool {
		return strings.Contains(p.run(0, "revert"), "nothing is left to revert")
	})
	// Its lease of 30 s may not have ended: then it is the primary again.
	p.eventually(ctx, 2*time.Minute, "the node takes part again", func() bool {
		said := p.run(0, "doctor", "--on", on)
		return strings.Contains(said, node+" replica") || strings.Contains(said, node+" primary")
	})
}

// faulty waits until a fault is in effect, and returns its node.
func (p program) faulty(ctx context.Context, out string, done <-chan error) string {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if f, err := os.Open(filepath.Join(out, "timeline.jsonl")); err == nil {
			dec := json.NewDecoder(f)
			for {
				var e struct{ Kind, Node string }
				if err := dec.Decode(&e); err != nil {
					if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
						p.t.Fatal(err)
					}
					break
				}
				if e.Kind == "fault.effect" {
					f.Close()
					return e.Node
				}
			}
			f.Close()
		}
		select {
		case <-tick.C:
		case <-done:
			return ""
		case <-ctx.Done():
			return ""
		}
	}
}

func (p program) eventually(ctx context.Context, within time.Duration, what string, ok func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func TestAFrozenManagerWithoutAWatchdogIsASplitBrainThatIsCaught(t *testing.T) {
	p := newProgram(t)
	rec, _ := p.drill(1, freezeManager, "cluster:patroni-async")
	s := rec.Trials[0].Metrics.SplitBrain
	if s.Level != 3 || s.Overlap == nil || len(s.Events) < 2 {
		t.Errorf("want level 3 with the pair of writes, got %+v", s)
	}
	if l := rec.Trials[0].Metrics.Loss; l == nil || l.LostAfterPromote == 0 {
		t.Errorf("no loss after the promotion: %+v", l)
	}
}

func TestReplicationThatLagsLosesAcknowledgedWritesAndTheyAreNamed(t *testing.T) {
	p := newProgram(t)
	// A standby that is always 2 s behind never follows without a lag: there is
	// nothing to wait for.
	scenario := strings.Replace(killPrimary, "settle: 90s", "settle: 20s", 1)
	rec, _ := p.drill(1, scenario, "cluster:patroni-async-lag")
	l := rec.Trials[0].Metrics.Loss
	if l == nil || l.Lost == 0 || l.LostBeforePromote == 0 || len(l.LostIDs) == 0 {
		t.Errorf("%+v", l)
	}
}
