package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/kill"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

// insideEnv marks the test binary when it runs on the small machine.
const insideEnv = "DAPPLE_TEST_INSIDE"

// inside are the tests that run on the small machine, whose pid 1 is a systemd.
var inside = []testing.InternalTest{
	{Name: "a unit is seen with its processes and its policy", F: insideSeen},
	{Name: "a unit that systemd restarts is told apart", F: insideRestarted},
	{Name: "a unit that nobody restarts is started again", F: insideStarted},
	{Name: "a fenced unit stays down although its policy is always", F: insideFenced},
	{Name: "a unit that failed too often is started all the same", F: insideFailed},
	{Name: "only a network of the unit's own can be cut", F: insideNetwork},
	{Name: "a unit that is not there is refused", F: insideMissing},
}

func TestUnitsOfARealSystemd(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		for _, i := range inside {
			t.Run(i.Name, i.F)
		}
		return
	}
	testenv.NeedRoot(t)
	testenv.NeedSystemd(t)
	pid := boot(t)
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := in(pid, me, "-test.v", "-test.run=^TestUnitsOfARealSystemd$")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	out, err := cmd.CombinedOutput()
	if passed := strings.Count(string(out), "    --- PASS"); err != nil || passed != len(inside) {
		t.Errorf("%d of %d passed, %v\n%s", passed, len(inside), err, out)
	}
}

// units are those of the small machine.
var units = map[string]string{
	"start.target":    "",
	"always.service":  "[Service]\nExecStart=/bin/sh -c 'sleep 1000 & wait'\nRestart=always\nRestartSec=200ms\nTimeoutStopSec=1s\n[Unit]\nStartLimitIntervalSec=0\n",
	"never.service":   "[Service]\nExecStart=/bin/sh -c 'sleep 1000 & wait'\n",
	"private.service": "[Service]\nExecStart=/bin/sleep 1000\nPrivateNetwork=yes\n",
	"flaky.service":   "[Service]\nType=exec\nExecStart=/bin/sh -c 'test -e /run/mended && exec sleep 1000'\nRestart=on-failure\nRestartSec=10ms\nTimeoutStopSec=1s\n[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h\n",
}

// boot starts the small machine, and returns the number of its pid 1 here.
func boot(t *testing.T) (pid string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range units {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("[Unit]\nDefaultDependencies=no\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	version, root := "v2", "/sys/fs/cgroup"
	if _, err := os.Stat("/sys/fs/cgroup/systemd/cgroup.procs"); err == nil {
		version, root = "v1", "/sys/fs/cgroup/systemd"
	}
	group := filepath.Join(root, fmt.Sprintf("dapple-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("testdata/boot.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `echo $$ > "$1"/cgroup.procs && shift && exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net /bin/sh "$@"`,
		"-", group, script, dir, version)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // with it goes its child, pid 1, and with that all others
		_ = cmd.Wait()
		until(t, "its control groups are empty", func() bool { return removed(group) })
	})
	last := ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last answer: %s; it said: %s", last, said.String())
		}
	})
	children := fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid)
	until(t, "the small machine is up", func() bool {
		data, err := os.ReadFile(children)
		if pid = strings.TrimSpace(string(data)); err != nil || pid == "" {
			return false
		}
		out, err := in(pid, "systemctl", "start", "always.service", "never.service", "private.service").CombinedOutput()
		last = string(out)
		return err == nil
	})
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatalf("more than one child: %q; it said: %s", pid, said.String())
	}
	return pid
}

// in runs a command on the small machine.
func in(pid string, argv ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", pid, "-m", "-p", "-C", "-u", "-i", "-n", "--"}, argv...)...)
}

// removed removes control groups, the inner ones first.
func removed(dir string) bool {
	items, err := os.ReadDir(dir)
	for _, i := range items {
		if i.IsDir() && !removed(filepath.Join(dir, i.Name())) {
			return false
		}
	}
	return errors.Join(err, os.Remove(dir)) == nil
}

func insideUnit(t *testing.T, name string) *Unit {
	t.Helper()
	n, err := New(name, Config{Unit: name + ".service"})
	if err != nil {
		t.Fatal(err)
	}
	return n.(*Unit)
}

func insideSeen(t *testing.T) {
	n := insideUnit(t, "always")
	s := n.must(t)
	if !s.Running || s.Policy != "always" || s.Restarts != 0 || s.Started.IsZero() {
		t.Errorf("%+v", s)
	}
	var procs []targets.Proc
	until(t, "both processes are seen", func() bool {
		var err error
		procs, err = n.Processes(t.Context())
		return err == nil && len(procs) == 2
	})
	if !procs[0].Main || procs[0].ProcID != s.Main || procs[1].Name != "sleep" {
		t.Errorf("%+v", procs)
	}
	if says, err := Doctor(t.Context()); err != nil || !strings.HasPrefix(says, "systemd 2") {
		t.Errorf("%q, %v", says, err)
	}
}

// killed kills the main process of the node by the injector, and returns it with
// its fault.
func killed(t *testing.T, n *Unit) (injectors.Injector, injectors.Fault) {
	t.Helper()
	inj, err := kill.Kind().New(func(any) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	return inj, faults[0]
}

func insideRestarted(t *testing.T) {
	n := insideUnit(t, "always")
	before := n.must(t)
	inj, f := killed(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	saw := make(chan injectors.Sighting, 16)
	watched := make(chan error, 1)
	go func() {
		watched <- inj.(injectors.Watcher).Watch(ctx, n, f, func(s injectors.Sighting) { saw <- s })
	}()
	if err := inj.Inject(ctx, n, f); err != nil {
		t.Fatal(err)
	}
	until(t, "systemd has restarted it", func() bool {
		s := n.must(t)
		return s.Running && s.Main != before.Main && s.Restarts == before.Restarts+1
	})
	s := <-saw
	if s.What != "restart" || s.By != "engine" || !strings.Contains(s.Evidence, `policy "always"`) {
		t.Errorf("%+v", s)
	}
	cancel()
	if err := <-watched; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func insideStarted(t *testing.T) {
	n := insideUnit(t, "never")
	before := n.must(t)
	inj, f := killed(t, n)
	if f.Undo != "systemctl start never.service" || before.Policy != "no" {
		t.Errorf("by hand: %s; %+v", f.Undo, before)
	}
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	until(t, "it is dead", func() bool { held, _, err := inj.Effect(t.Context(), n, f); return held && err == nil })
	if err := inj.Revert(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	if s := n.must(t); !s.Running || s.Main == before.Main || s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
}

func insideFenced(t *testing.T) {
	n := insideUnit(t, "always")
	if err := n.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A systemd that is held up answers late, or not at all.
	until(t, "it is down", func() bool {
		s, err := n.State(t.Context())
		procs, perr := n.Processes(t.Context())
		return err == nil && perr == nil && len(procs) == 0 && !s.Running &&
			(strings.Contains(s.Detail, "is inactive") || strings.Contains(s.Detail, "is failed"))
	})
	if out, err := exec.Command("systemctl", "list-jobs", "--no-legend").CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("systemd is about to do something: %s, %v", out, err)
	}
	if err := n.Start(t.Context()); err != nil || !n.must(t).Running {
		t.Errorf("started again: %v", err)
	}
}

func insideFailed(t *testing.T) {
	n := insideUnit(t, "flaky")
	_ = exec.Command("systemctl", "start", "flaky.service").Run() // it fails later, or at once
	until(t, "systemd gave it up", func() bool { return strings.Contains(n.must(t).Detail, "is failed") })
	if err := os.WriteFile("/run/mended", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "it runs", func() bool { return n.must(t).Running })
}

func insideNetwork(t *testing.T) {
	if path, err := insideUnit(t, "always").NetNS(t.Context()); !errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("the machine's own network: %q, %v", path, err)
	}
	path, err := insideUnit(t, "private").NetNS(t.Context())
	if err != nil || !strings.HasPrefix(path, "/proc/") {
		t.Errorf("its own network: %q, %v", path, err)
	}
}

func insideMissing(t *testing.T) {
	if s, err := insideUnit(t, "missing").State(t.Context()); err == nil || !strings.Contains(err.Error(), "not-found") {
		t.Errorf("%+v, %v", s, err)
	}
}
