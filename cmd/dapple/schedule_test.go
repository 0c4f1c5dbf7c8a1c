package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
)

const scheduledScenario = `name: etcd leader kill, quick
requires: {kind: etcd}
workload: {rate: 150/s}
steady: 2s
steps:
  - {inject: kill, on: leader, for: 4s}
settle: 30s
stable_for: 2s
full_for: 2s
`

// A scheduler of the built program, with a home and a schedule of its own.
type scheduling struct {
	t         *testing.T
	bin       string
	home, dir string
}

func newScheduling(t *testing.T) *scheduling {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	s := &scheduling{t, filepath.Join(bin, "dapple"), t.TempDir(), t.TempDir()}
	s.write("quick.yaml", scheduledScenario)
	return s
}

func (s *scheduling) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// due writes a schedule whose last firing, of this year, has been missed and is to
// be made up for.
func (s *scheduling) due(name string) {
	s.t.Helper()
	s.write(name+".yaml", fmt.Sprintf("name: %s\nowner: tests\nscenario: quick.yaml\non: cluster:etcd\ncron: \"@yearly\"\ntime_zone: UTC\ncatch_up: 53w\n", name))
	s.run("schedule", "--list", s.dir) // makes the database, if there is none
	s.run("schedule", "--once", s.dir) // notes that the schedule is known
	db, err := sql.Open("sqlite", filepath.Join(s.home, "schedule.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE dapple_schedules SET first_ms = 0 WHERE name = $1", name); err != nil {
		s.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scheduling) command(args ...string) *exec.Cmd {
	c := exec.Command(s.bin, args...)
	c.Env = append(c.Environ(), "DAPPLE_HOME="+s.home, "NO_COLOR=1")
	return c
}

func (s *scheduling) run(args ...string) string {
	s.t.Helper()
	var out, errs bytes.Buffer
	c := s.command(args...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		s.t.Fatalf("%v: %v\n%s%s", args, err, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

// last is what became of the last firing of a schedule.
func (s *scheduling) last(name string) (state, run string) {
	s.t.Helper()
	out, err := s.command("schedule", "--list", "--json", s.dir).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	var list []listed
	if err := json.Unmarshal(out, &list); err != nil {
		s.t.Fatal(err)
	}
	for _, l := range list {
		if l.Name == name && l.Last != nil {
			return string(l.Last.State), l.Last.Run
		}
	}
	return "none", ""
}

func (s *scheduling) runs() []string {
	s.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(s.home, "runs", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	return dirs
}

// killedInADrill has a schedule fire, and kills the scheduler when its fault holds. On
// a machine that is too busy for a steady cluster a drill makes none: then another
// schedule's is tried.
func (s *scheduling) killedInADrill() (name string) {
	s.t.Helper()
	for try := range 4 {
		name = fmt.Sprintf("first%d", try)
		s.due(name)
		if said, ok := s.killedWhenInEffect(name); ok {
			return name
		} else if try == 3 {
			s.t.Fatalf("no fault was made; at last it said:\n%s", said)
		}
	}
	return name
}

func (s *scheduling) killedWhenInEffect(name string) (said string, inEffect bool) {
	s.t.Helper()
	killed := s.command("schedule", s.dir)
	stderr, err := killed.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := killed.Start(); err != nil {
		s.t.Fatal(err)
	}
	guard := time.AfterFunc(2*time.Minute, func() { _ = killed.Process.Kill() }) // the loop below then ends
	defer guard.Stop()
	ended := regexp.MustCompile(name + ".* (done|refused)")
	for lines := bufio.NewScanner(stderr); !inEffect && lines.Scan(); {
		said += lines.Text() + "\n"
		if inEffect = strings.Contains(lines.Text(), "in effect within"); ended.MatchString(lines.Text()) {
			break
		}
	}
	_ = killed.Process.Signal(syscall.SIGKILL) // it may have ended
	_ = killed.Wait()                          // it was killed
	return said, inEffect
}

// A schedule fires a real drill of a real etcd, once; the scheduler is killed in it;
// the next one takes back, says so, and does not do it again; another schedule then
// has its drill.
func TestAScheduleFiresARealDrillOnceThroughTheDeathOfTheScheduler(t *testing.T) {
	s := newScheduling(t)
	first := s.killedInADrill()
	before := s.runs()
	if state, _ := s.last(first); state != "begun" {
		t.Errorf("before the restart the firing is %s", state)
	}
	for range 2 {
		said := s.run("schedule", "--once", s.dir)
		if strings.Contains(said, "begun") {
			t.Fatalf("begun again:\n%s", said)
		}
	}
	if state, _ := s.last(first); state != "lost" {
		t.Errorf("after the restart the firing is %s", state)
	}
	if out := s.run("revert"); !strings.Contains(out, "nothing is left to revert") {
		t.Errorf("left: %s", out)
	}
	if dirs := s.runs(); !slices.Equal(dirs, before) {
		t.Errorf("run directories: %v, and before %v", dirs, before)
	}

	s.due("second")
	said := s.run("schedule", "--once", s.dir)
	state, run := s.last("second")
	if state != "done" || run == "" || len(s.runs()) != len(before)+1 {
		t.Fatalf("the second is %s (run %q):\n%s", state, run, said)
	}
	rec, err := drills.ReadRecord(s.runs()[len(before)])
	if err != nil {
		t.Fatal(err)
	}
	if rec.Run != run || len(rec.Trials) != 1 || len(rec.Trials[0].Faults) != 1 || rec.Trials[0].Faults[0].Effect == nil {
		t.Errorf("the record of the second: %+v", rec)
	}
}

func TestASecondSchedulerOfOneHomeIsRefused(t *testing.T) {
	s := newScheduling(t)
	s.write("never.yaml", "name: never\nowner: tests\nscenario: quick.yaml\non: cluster:etcd\ncron: \"@yearly\"\ntime_zone: UTC\n")
	first := s.command("schedule", s.dir)
	stderr, err := first.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if !bufio.NewScanner(stderr).Scan() {
		t.Error("the first says nothing")
	}
	out, err := s.command("schedule", s.dir).CombinedOutput()
	if code := s.code(err); code != exitRefused || !strings.Contains(string(out), "another scheduler runs here") {
		t.Errorf("code %d: %s", code, out)
	}
	if err := first.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Errorf("the first: %v", err)
	}
}

func (s *scheduling) code(err error) int {
	s.t.Helper()
	var exit *exec.ExitError
	if err == nil {
		return 0
	}
	if e, ok := err.(*exec.ExitError); ok {
		exit = e
	} else {
		s.t.Fatal(err)
	}
	return exit.ExitCode()
}
