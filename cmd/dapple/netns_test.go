package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/reports"
)

// isolated cuts the leader off, from its clients too; then come all other faults that
// nodes in namespaces carry, on one of the others and one after the other. The cut
// comes first, since the detection counts from the first fault.
const isolated = `name: leader isolated
workload: {rate: 200/s, clients: 2}
steady: 2s
steps:
  - {inject: partition, on: leader, with: {clients: yes}, for: 4s}
  - {inject: netem, on: any replica, with: {delay: 20ms}, at: 6s, for: 1s}
  - {inject: pause, on: any replica, with: {process: main}, at: 8s, for: 300ms}
  - {inject: clockskew, on: any replica, with: {offset: +60s}, at: 9s, for: 1s}
  - {inject: diskfill, on: any replica, with: {path: /mnt, free: 100MiB}, at: 11s, for: 1s}
settle: 15s
stable_for: 2s
full_for: 2s
blast_radius: {nodes: 3}
expect: {failover: yes}
`

// a stranger is dapple as a user without any rights has it, with a home of his own.
type stranger struct {
	program
	exe  string
	attr *syscall.SysProcAttr
}

func newStranger(t *testing.T) stranger {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	// Not below t.TempDir, whose parents are its user's alone.
	dir, err := os.MkdirTemp("/var/tmp", "dapple-stranger-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := stranger{program{t, filepath.Join(dir, "home")}, filepath.Join(dir, "dapple"), &syscall.SysProcAttr{}}
	data, err := os.ReadFile(filepath.Join(bin, "dapple"))
	if err == nil {
		err = errors.Join(os.WriteFile(s.exe, data, 0o755), os.Mkdir(s.home, 0o700), os.Chmod(dir, 0o755))
	}
	if os.Getuid() == 0 && err == nil {
		const nobody = 65534
		s.attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		err = os.Chown(s.home, nobody, nobody)
	}
	if err != nil {
		t.Fatal(err)
	}
	testenv.Need(t, "userns", s.may())
	return s
}

// may says whether he may have namespaces of his own: the trial of the doctor is
// made in one.
func (s stranger) may() error {
	c := exec.CommandContext(context.Background(), "unshare", "--user", "--map-root-user", s.exe, "trial")
	c.Env, c.Dir, c.SysProcAttr = append(os.Environ(), "DAPPLE_HOME="+s.home, "HOME="+s.home), s.home, s.attr
	if said, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

func (s stranger) command(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer) {
	var said bytes.Buffer
	c := exec.CommandContext(ctx, s.exe, args...)
	c.Env = append(os.Environ(), "DAPPLE_HOME="+s.home, "HOME="+s.home, "NO_COLOR=1")
	c.Dir, c.Stdout, c.Stderr, c.SysProcAttr = s.home, &said, &said, s.attr
	return c, &said
}

func (s stranger) try(args ...string) (output string, code int) {
	s.t.Helper()
	c, said := s.command(context.Background(), args...)
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return said.String(), c.ProcessState.ExitCode()
}

func (s stranger) scenario() string {
	file := filepath.Join(s.home, "scenario.yaml")
	if err := os.WriteFile(file, []byte(isolated), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// What is promised is that every fault is proven and taken back; whether the numbers
// can be told is the machine's as well, so that it is asked again, and in the end
// let be, as long as the faults are proven.
func TestWhoeverHasNoRightsDrillsEtcdInNamespacesWithEveryFaultProven(t *testing.T) {
	s := newStranger(t)
	var said string
	var proven []string // what falls short of it
	got := unproven
	for try := 1; got == unproven && try <= 5 && (try <= 2 || len(proven) > 0); try++ {
		if err := os.RemoveAll(filepath.Join(s.home, "run")); err != nil {
			t.Fatal(err)
		}
		said, got = s.try("run", s.scenario(), "--on", "cluster:etcd-netns", "--out", "run")
		proven = s.unprovenFaults()
	}
	if got != 0 && got != unproven || len(proven) > 0 {
		t.Fatalf("exit code %d; of the faults: %v\n%s", got, proven, said)
	}
	if said, got := s.try("revert"); got != 0 || !strings.Contains(said, "nothing is left to revert") {
		t.Errorf("revert: %d, %s", got, said)
	}
	if left := s.children(s.exe); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// unprovenFaults names what of the scenario's faults the record does not prove.
func (s stranger) unprovenFaults() (short []string) {
	run, err := reports.Load(filepath.Join(s.home, "run"))
	if err != nil {
		return []string{err.Error()}
	}
	trial := run.Record.Trials[0]
	for _, f := range trial.Faults {
		if f.Effect == nil || f.Revert == nil {
			short = append(short, fmt.Sprintf("%s on %s: effect %v, revert %v", f.Kind, f.Node, f.Effect, f.Revert))
		}
	}
	if want := 4 + 3; len(trial.Faults) != want { // the cut is made on each of the three
		short = append(short, fmt.Sprintf("%d faults, want %d", len(trial.Faults), want))
	}
	return short
}

func TestNothingIsLeftOfNamespacesWhoseRunnerIsKilled(t *testing.T) {
	s := newStranger(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out := filepath.Join(s.home, "run")
	c, said := s.command(ctx, "run", s.scenario(), "--on", "cluster:etcd-netns", "--out", out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	if s.faulty(ctx, out, done) == "" {
		t.Fatalf("no fault was seen\n%s", said)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-done
	s.eventually(ctx, 15*time.Second, "no process is left", func() bool { return len(s.children(s.exe)) == 0 })
	if said, got := s.try("revert"); got != 0 || !strings.Contains(said, "nothing is left to revert") {
		t.Errorf("revert: %d, %s", got, said)
	}
}
