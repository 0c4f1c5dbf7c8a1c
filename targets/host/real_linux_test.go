package host

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/kill"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute) // it is used in clean-up too
	defer cancel()
	if err := poll(ctx, func() (bool, error) { return is(), nil }); err != nil {
		t.Fatalf("%s: not within a minute", what)
	}
}

// postgres is a real server, known by nothing but its postmaster.pid.
func postgres(t *testing.T) (n *Unit, addr string) {
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
			continue // another test's, which may be gone
		}
		opts, err := os.ReadFile(filepath.Join(filepath.Dir(f), "postmaster.opts"))
		if err != nil {
			t.Fatal(err)
		}
		// The same command by which it was started first: it stays in the foreground.
		start := []string{"/bin/sh", "-c", "exec " + string(opts)}
		if os.Geteuid() == 0 {
			start = append([]string{"/usr/sbin/runuser", "-u", "postgres", "--"}, start...)
		}
		node, err := New("pg", Config{PIDFile: f, Start: start, Addresses: []string{"127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		n := node.(*Unit)
		t.Cleanup(func() {
			if err := n.Fence(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		return n, dsn.Host
	}
	t.Fatalf("no postmaster.pid has port %s: %v", dsn.Port(), files)
	return nil, ""
}

func (n *Unit) must(t *testing.T) targets.State {
	t.Helper()
	s, err := n.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestARealPostgreSQLIsKilledStartedAndFencedByItsPidfile(t *testing.T) {
	n, addr := postgres(t)
	before := n.must(t)
	procs, err := n.Processes(t.Context())
	if err != nil || len(procs) < 4 || !procs[0].Main || procs[0].ProcID != before.Main || procs[0].Name != "postgres" {
		t.Fatalf("%+v, %v, %+v", before, err, procs)
	}
	if c, err := n.DialContext(t.Context(), "tcp", addr); err != nil || c.Close() != nil {
		t.Errorf("from where it runs: %v", err)
	}

	inj, err := kill.Kind().New(func(any) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	f := faults[0]
	if !strings.Contains(f.Undo, "postgres") {
		t.Errorf("by hand: %s", f.Undo)
	}
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	until(t, "the server is dead", func() bool { held, _, err := inj.Effect(t.Context(), n, f); return held && err == nil })
	// An agent that comes later knows the node by its Spec alone.
	again, err := Opener().Open(t.Context(), n.Spec())
	if err != nil {
		t.Fatal(err)
	}
	if err := kill.Kind().Reopen().Revert(t.Context(), again, f); err != nil {
		t.Fatal(err)
	}
	after := n.must(t)
	if !after.Running || after.Main == before.Main || after.Policy != "no" {
		t.Errorf("after: %+v", after)
	}
	until(t, "it answers again", func() bool {
		c, err := n.DialContext(t.Context(), "tcp", addr)
		return err == nil && c.Close() == nil
	})

	if err := n.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if procs, err := n.Processes(t.Context()); err != nil || len(procs) > 0 || n.must(t).Running {
		t.Errorf("after fencing: %v, %v", procs, err)
	}
}

func TestTheNetworkOfThisMachineIsNobodysToCut(t *testing.T) {
	n := &Service{Node{name: "a"}, pidfile{path: sleeper(t)}}
	path, err := n.NetNS(t.Context())
	if !errors.Is(err, targets.ErrUnsupported) || path != "" || !strings.Contains(err.Error(), "never cut") {
		t.Errorf("%q, %v", path, err)
	}
}

// sleeper is a process with two descendants and a pidfile.
func sleeper(t *testing.T) (pidfile string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `(sleep 600; :) & wait`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead already
		_ = cmd.Wait()
	})
	return written(t, strconv.Itoa(cmd.Process.Pid)+"\nmore\n")
}

func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.pid")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAPidfileNamesAProcessWithItsDescendants(t *testing.T) {
	n := &Service{Node{name: "a"}, pidfile{path: sleeper(t)}}
	var procs []targets.Proc
	until(t, "there are three", func() bool {
		var err error
		procs, err = n.Processes(t.Context())
		return err == nil && len(procs) == 3
	})
	if !procs[0].Main || procs[1].Main || procs[1].Parent != procs[0].PID || procs[2].Parent != procs[1].PID {
		t.Errorf("%+v", procs)
	}
	if err := killAll(t.Context(), procs); err != nil {
		t.Fatal(err)
	}
	if procs, err := n.Processes(t.Context()); err != nil || len(procs) > 0 {
		t.Errorf("after all were killed: %+v, %v", procs, err)
	}
}

func TestAPidfileThatNamesAStrangerNamesNobody(t *testing.T) {
	path := sleeper(t)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	s, err := pidfile{path: path}.state(t.Context())
	if err != nil || s.Running || !strings.Contains(s.Detail, "stale") {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = pidfile{path: filepath.Join(t.TempDir(), "none")}.state(t.Context())
	if err != nil || s.Running {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAPidfileThatCannotBeTrustedIsRefused(t *testing.T) {
	open := sleeper(t)
	if err := os.Chmod(open, 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		written(t, "1\n"):                        "pid 1 is no service",
		written(t, "-7\n"):                       "pid -7 is no service",
		written(t, fmt.Sprintln(os.Getpid())):    "dapple itself",
		written(t, fmt.Sprintln(os.Getppid())):   "what dapple was started from",
		written(t, "postgres\n"):                 "does not begin with a number",
		written(t, ""):                           "does not begin with a number",
		open:                                     "everybody may write",
		t.TempDir():                              "is no regular file",
		written(t, strings.Repeat("1", 80)+"\n"): "does not begin with a number",
	} {
		if s, err := (pidfile{path: path}).state(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want %q", s, err, want)
		}
	}
}

func TestAStartThatFailsOrNeverShowsSaysSo(t *testing.T) {
	none := filepath.Join(t.TempDir(), "a.pid")
	err := pidfile{none, []string{"/bin/sh", "-c", "exit 3"}}.start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = pidfile{none, []string{"/bin/true"}}.start(ctx)
	if err == nil || !strings.Contains(err.Error(), "names no live process yet") {
		t.Errorf("%v", err)
	}
}

func TestAStartWaitsWhileThePidfileIsEmpty(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.pid")
	k := pidfile{file, []string{"/bin/sh", "-c", ": > " + file + "; sleep 0.5; echo $$ > " + file + "; exec sleep 60"}}
	if err := k.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := k.state(t.Context())
	if err != nil || !s.Running {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := syscall.Kill(s.Main.PID, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// TestAUnitsProcessesAreThoseOfItsControlGroup has real processes in a real
// control group of that name; systemd's answers are played.
func TestAUnitsProcessesAreThoseOfItsControlGroup(t *testing.T) {
	testenv.NeedRoot(t)
	name := fmt.Sprintf("dapple-test-%d.service", os.Getpid())
	dir := filepath.Join(hierarchy(t), name)
	if err := os.MkdirAll(filepath.Join(dir, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range []string{filepath.Join(dir, "below"), dir} {
			until(t, "the control group is empty", func() bool { return os.Remove(d) == nil })
		}
	})
	// One process in the group, one below it, and a stranger.
	main, below, stranger := sleep(t), sleep(t), sleep(t)
	put(t, dir, main)
	put(t, filepath.Join(dir, "below"), below)
	p, err := kernel.ReadProc(main)
	if err != nil {
		t.Fatal(err)
	}
	k := systemd{unit: name}
	group := k.group(p.CGroups)
	k.ctl = func(context.Context, ...string) ([]byte, error) {
		return []byte(showing("MainPID=4711", fmt.Sprintf("MainPID=%d", main), "/system.slice/system-postgresql.slice/postgresql@15-main.service", group)), nil
	}
	n := &Unit{Service{Node{name: "a"}, k}, k}
	procs, err := n.Processes(t.Context())
	if err != nil || len(procs) != 2 || procs[0].PID != main || !procs[0].Main || procs[1].PID != below {
		t.Errorf("%+v, %v (the stranger is %d)", procs, err, stranger)
	}
	if s := n.must(t); !s.Running || s.Main.PID != main || s.Policy != "on-failure" {
		t.Errorf("%+v", s)
	}
}

// hierarchy is one in which control groups can be made.
func hierarchy(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			return dir
		}
	}
	t.Fatal("this machine has no control groups")
	return ""
}

func sleep(t *testing.T) (pid int) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead already
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

func put(t *testing.T, dir string, pid int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
		t.Fatal(err)
	}
}
