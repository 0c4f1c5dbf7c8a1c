package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/reports"
)

func TestCtrlCRevertsSaysSoAndEndsWith4(t *testing.T) {
	p := program{t, t.TempDir()}
	out := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, said := p.command(ctx, "run", "etcd/leader-kill.yaml", "--on", "cluster:etcd", "--out", out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	if p.faulty(ctx, out, done) == "" {
		t.Fatalf("no fault was seen\n%s", said)
	}
	for range 2 { // a second one does not skip the revert
		if err := c.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	if got := c.ProcessState.ExitCode(); got != 4 {
		t.Errorf("exit code %d, want 4\n%s", got, said)
	}
	for _, want := range []string{"reverting", "ABORTED"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it did not say %q:\n%s", want, said)
		}
	}
	run, err := reports.Load(out)
	if err != nil {
		t.Fatal(err)
	}
	f := run.Record.Trials[0].Faults
	if run.Record.Verdict != verdict.Aborted || len(f) != 1 || f[0].Revert == nil {
		t.Errorf("verdict %s, faults %+v", run.Record.Verdict, f)
	}
	if got := p.run(0, "revert"); !strings.Contains(got, "nothing is left to revert") {
		t.Error(got)
	}
}

func TestADemoWhoseRunnerIsKilledLeavesNoProcess(t *testing.T) {
	p := program{t, t.TempDir()}
	out := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, said := p.command(ctx, "demo", "--out", out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	if p.faulty(ctx, out, done) == "" {
		t.Fatalf("no fault was seen\n%s", said)
	}
	if err := c.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-done
	p.eventually(ctx, 15*time.Second, "no process of the demo is left", func() bool { return len(p.children(c.Path)) == 0 })
	p.eventually(ctx, 15*time.Second, "nothing is left to revert", func() bool {
		return strings.Contains(p.run(0, "revert"), "nothing is left to revert")
	})
}

// children are the processes on this machine that run the program at path, and
// belong to this test's home.
func (p program) children(path string) []string {
	p.t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		p.t.Fatal(err)
	}
	var found []string
	for _, d := range dirs {
		exe, err := os.Readlink(filepath.Join(d, "exe"))
		env, eerr := os.ReadFile(filepath.Join(d, "environ"))
		if err == nil && eerr == nil && strings.HasPrefix(exe, path) && strings.Contains(string(env), "DAPPLE_HOME="+p.home+"\x00") {
			found = append(found, d)
		}
	}
	return found
}

func TestStopEndsARealDrillRevertedAndNoneBeginsUntilItIsLifted(t *testing.T) {
	p := program{t, t.TempDir()}
	out := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, said := p.command(ctx, "run", "etcd/leader-kill.yaml", "--on", "cluster:etcd", "--out", out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	if p.faulty(ctx, out, done) == "" {
		t.Fatalf("no fault was seen\n%s", said)
	}
	if err := c.Process.Signal(syscall.SIGUSR1); err != nil { // which writes the stop file
		t.Fatal(err)
	}
	<-done
	if got := c.ProcessState.ExitCode(); got != 4 {
		t.Errorf("exit code %d, want 4\n%s", got, said)
	}
	run, err := reports.Load(out)
	if err != nil {
		t.Fatal(err)
	}
	tr := run.Record.Trials[0]
	if run.Record.Verdict != verdict.Aborted || len(tr.Faults) != 1 || tr.Faults[0].Revert == nil || !strings.Contains(tr.Reason, "guardrail stop: ") {
		t.Errorf("verdict %s (%s), faults %+v", run.Record.Verdict, tr.Reason, tr.Faults)
	}
	if got := p.run(3, "run", "etcd/leader-kill.yaml", "--on", "cluster:etcd", "--quiet"); !strings.Contains(got, "guardrail stop: ") {
		t.Error(got)
	}
	p.run(0, "stop", "--clear")
	if got := p.run(0, "revert"); !strings.Contains(got, "nothing is left to revert") {
		t.Error(got)
	}
}
