// Package drilltest runs drills from go test: a failover drill in ten lines.
//
//	func TestTheLeaderMayDie(t *testing.T) {
//		drilltest.Run(t, drilltest.Drill{Scenario: "etcd/leader-kill.yaml", On: "cluster:etcd"})
//	}
//
// A drill is done by the program dapple, not in the process of the test: the race
// detector, parallel tests and garbage of a test would be measured otherwise, and
// what holds the faults must outlive a test that is killed. The program is found
// or built (see Binary). The record comes back as a Go value, and the reports are
// artefacts of the test.
//
// It chooses no injectors and judges nothing: scenarios and systems say what is
// done, package verdict what it proves.
package drilltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/scenarios"
)

// A Drill is what is to be done: a scenario and a system, each by a file or made
// in Go.
type Drill struct {
	// Scenario is a file, or the name of one that is built in
	// ("etcd/leader-kill.yaml"). Steps of one made in Go go into Made instead.
	Scenario string
	Made     *scenarios.Scenario

	// On is a system file, or cluster:NAME for a built-in cluster that is started
	// for the drill. A system made in Go, such as one of containers that the test
	// started, goes into System instead.
	On     string
	System *scenarios.System

	Trials int   // 0: the scenario's
	Seed   int64 // 0: a new one; it is in the record
	// Tolerate are verdicts besides pass that do not fail the test: Inconclusive,
	// say, where the machines of CI are busy. What is left in place always does.
	Tolerate []verdict.Verdict
	// Args are further flags of "dapple run", such as --phase=worst.
	Args []string
}

// Run does the drill, and fails the test unless every objective was met: it says
// which was not, with the events that show it. Where there is no record (a
// mistake, a refusal) or something was left in place, the test ends there;
// otherwise it goes on with the record.
//
// With -short the test is skipped. Drills that are run at once, also by other
// packages, wait for each other: on one machine they would disturb each other's
// figures. When the test's deadline is near, or its context ends, the drill is
// interrupted and takes everything back.
func Run(t testing.TB, d Drill) drills.Record {
	t.Helper()
	if testing.Short() {
		t.Skip("a drill breaks a real system and waits until it has recovered: not with -short")
	}
	ctx, stop := deadline(t)
	defer stop()
	argv, dir, err := d.command(t)
	if err != nil {
		t.Fatalf("drill: %v", err)
	}
	binary := Binary(t)
	release, err := turn(ctx)
	if err != nil {
		t.Fatalf("drill: wait for another drill on this machine: %v", err)
	}
	code, said, err := execute(ctx, t, append([]string{binary}, argv...))
	if rerr := release(); rerr != nil || err != nil {
		t.Fatalf("drill: %v", errors.Join(err, rerr))
	}
	run, err := reports.Load(dir)
	if err != nil {
		t.Fatalf("drill: there is no record: exit code %d (%s)\n%s", code, codes(code), said)
	}
	d.judge(t, run, code, said)
	return run.Record
}

// command is the command line without the program, and the run directory.
func (d Drill) command(t testing.TB) (argv []string, dir string, err error) {
	base, err := os.MkdirTemp(t.ArtifactDir(), "drill-")
	if err != nil {
		return nil, "", err
	}
	dir = filepath.Join(base, "run")
	scenario, err := fileOr(base, "scenario.yaml", d.Scenario, d.Made != nil, func() ([]byte, error) { return d.Made.Format() })
	if err != nil {
		return nil, "", err
	}
	on, err := fileOr(base, "system.yaml", d.On, d.System != nil, func() ([]byte, error) { return d.System.Format() })
	if err != nil {
		return nil, "", err
	}
	argv = []string{"run", scenario, "--on", on, "--out", dir, "--format", "junit=" + filepath.Join(base, "junit.xml")}
	if d.Trials > 0 {
		argv = append(argv, "--trials", strconv.Itoa(d.Trials))
	}
	if d.Seed != 0 {
		argv = append(argv, "--seed", strconv.FormatInt(d.Seed, 10))
	}
	return append(argv, d.Args...), dir, nil
}

// fileOr is the file that was named, or the one into which what was made is
// written.
func fileOr(dir, name, file string, made bool, format func() ([]byte, error)) (string, error) {
	what := strings.TrimSuffix(name, ".yaml")
	switch {
	case made && file != "":
		return "", fmt.Errorf("the %s was given twice: as the file %s, and made in Go", what, file)
	case file != "":
		return file, nil
	case !made:
		return "", fmt.Errorf("no %s was given", what)
	}
	data, err := format()
	if err != nil {
		return "", fmt.Errorf("write the %s: %w", what, err)
	}
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, data, 0o600)
}

// grace is how long before the test's deadline a drill is interrupted, so that it
// takes its faults back, and its record is written, while the test still runs.
const grace = 45 * time.Second

// deadline is the context of the test, which ends in time before its deadline.
func deadline(t testing.TB) (context.Context, context.CancelFunc) {
	d, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return context.WithCancel(t.Context())
	}
	at, set := d.Deadline()
	if !set {
		return context.WithCancel(t.Context())
	}
	return context.WithDeadlineCause(t.Context(), at.Add(-grace), errors.New("the deadline of the test is near: see go test -timeout"))
}

// judge fails the test if the verdict is to.
func (d Drill) judge(t testing.TB, run reports.Run, code int, said string) {
	t.Helper()
	rec := run.Record
	t.Attr("dapple.verdict", string(rec.Verdict))
	t.Attr("dapple.run", rec.Run)
	switch {
	case rec.Left() || code == 6:
		t.Fatalf("%s\n%s", explain(run), said)
	case rec.Verdict == verdict.Pass && code == 0:
		t.Logf("%s: %s", rec.Drill.Name, rec.Claim)
	case code != verdict.ExitCode(rec.Verdict, false):
		t.Fatalf("drill: exit code %d (%s)\n%s", code, codes(code), said)
	case slices.Contains(d.Tolerate, rec.Verdict):
		t.Logf("tolerated:\n%s", explain(run))
	default:
		t.Errorf("%s", explain(run))
	}
}
