package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/targets/ssh/sshtest"
)

const freezeServer = `name: server freeze
workload: {rate: 150/s, clients: 4, fresh: 500ms, direct: 2s}
steady: 3s
steps:
  - inject: pause
    on: primary
    with: {process: all}
    for: %s
settle: 60s
stable_for: 3s
full_for: 3s
blast_radius: {nodes: 1}
expect: {failover: no}
`

// postgresOver writes a system file of a real PostgreSQL, which only its pidfile and
// its address name, on a machine behind ssh.
func postgresOver(t *testing.T, host string) (system string) {
	t.Helper()
	dsn, err := url.Parse(testenv.NeedPostgres(t))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("/tmp/dapple-pg-*/data/postmaster.pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if lines := strings.Split(string(data), "\n"); err != nil || len(lines) < 4 || lines[3] != dsn.Port() {
			continue // another test's
		}
		system = filepath.Join(t.TempDir(), "system.yaml")
		text := fmt.Sprintf("name: orders\nkind: postgres\nenvironment: ci\nnodes: {ssh: [{name: pg, host: %s, addr: %q, pidfile: %s}]}\nclients: {dsn: %q}\nsettings: {postgres_port: %s}\nobjectives: {split_brain: never}\n",
			host, dsn.Host, f, dsn, dsn.Port())
		if err := os.WriteFile(system, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return system
	}
	t.Fatalf("no postmaster.pid has port %s: %v", dsn.Port(), files)
	return ""
}

func scenarioFor(t *testing.T, held string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "scenario.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, freezeServer, held), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestADrillOfAServerBehindSSHBeginsAndEndsAsOneHere(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it takes minutes")
	}
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("db1", s)
	t.Setenv(sshEnv, strings.Join(c.Command(), " "))
	p := program{t, t.TempDir()}
	system := postgresOver(t, "db1")
	if said := p.run(0, "doctor", "--on", system); !strings.Contains(said, "pg primary") || !strings.Contains(said, "db1: Linux") {
		t.Errorf("doctor: %s", said)
	}
	if said := p.run(0, "plan", scenarioFor(t, "3s"), "--on", system); !strings.Contains(said, "would   pg: ") || !strings.Contains(said, "by hand: on db1: ") {
		t.Errorf("plan: %s", said)
	}
	if records, err := agent.Outstanding(s.Home); err != nil || len(records) > 0 {
		t.Errorf("plan left %v, %v", records, err)
	}
	rec, _ := p.drill(0, fmt.Sprintf(freezeServer, "3s"), system)
	trial := rec.Trials[0]
	if len(trial.Leftovers) > 0 || len(trial.Faults) != 1 || trial.Faults[0].Proof == "" {
		t.Errorf("%+v, left %v", trial.Faults, trial.Leftovers)
	}
	if o := trial.Metrics.Outage; o == nil || o.HiMS < 2000 || o.HiMS > 30000 {
		t.Errorf("a server that was frozen for 3 s was out for %+v", o)
	}
	if l := trial.Metrics.Loss; l == nil || l.Lost != 0 {
		t.Errorf("loss: %+v", l)
	}
	if said := p.run(0, "revert", "--on", system); !strings.Contains(said, "nothing is left") {
		t.Errorf("revert: %s", said)
	}
}

func TestADrillWhoseConnectionIsLostDoesNotCountAndLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it takes a minute")
	}
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("db1", s)
	t.Setenv(sshEnv, strings.Join(c.Command(), " "))
	p := program{t, t.TempDir()}
	system, out := postgresOver(t, "db1"), filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd, said := p.command(ctx, "run", scenarioFor(t, "60s"), "--on", system, "--out", out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	if p.faulty(ctx, out, done) == "" {
		t.Fatalf("no fault was seen\n%s", said)
	}
	signalAll(t, below(t, s.PID(), "sshd"), syscall.SIGKILL)
	<-done
	run, err := reports.Load(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	trial := run.Record.Trials[0]
	if v := trial.Verdict; v != verdict.Aborted && v != verdict.Invalid || len(trial.Leftovers) > 0 {
		t.Errorf("%s, left %v: %s\n%s", v, trial.Leftovers, trial.Reason, said)
	}
	if code := cmd.ProcessState.ExitCode(); code != 4 && code != 5 {
		t.Errorf("exit code %d\n%s", code, said)
	}
	if !strings.Contains(said.String(), "db1") {
		t.Errorf("it does not name the machine:\n%s", said)
	}
}
