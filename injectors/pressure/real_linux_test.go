package pressure

import (
	"bufio"
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

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/inside"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

// holdEnv makes the test's own binary the process that holds a burner: it names
// the pid of the node.
const holdEnv = "DAPPLE_TEST_PRESSURE_HOLD"

// The test's own binary is also the burner.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == inside.Mode:
		err = inside.Main(context.Background(), os.Stdin, os.Stdout)
	case os.Getenv(holdEnv) != "":
		err = holdFor(os.Getenv(holdEnv))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// holdFor presses the node, with a lease that nobody renews, says by which burner,
// and waits to be killed.
func holdFor(pid string) error {
	var number int
	if _, err := fmt.Sscan(pid, &number); err != nil {
		return err
	}
	id, err := kernel.Identity(number)
	if err != nil {
		return err
	}
	ctx, n := context.Background(), node{main: id}
	x := newPresser(Params{By: Burner, CPU: Cores{amount{"1%", 1, true}}})
	step, err := x.planOne(ctx, n)
	if err != nil {
		return err
	}
	if err := x.Renew(ctx, n, step.State, 2*time.Second); err != nil {
		return err
	}
	if err := x.Inject(ctx, n, step.State); err != nil {
		return err
	}
	fmt.Println(step.State.Burner.Name)
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // it is closed when the test dies
	return nil
}

// A node is a process in control groups of its own.
type node struct {
	main   targets.ProcID
	groups []string
}

func (node) Name() string                                    { return "n1" }
func (node) Exec(context.Context, ...string) ([]byte, error) { return nil, errors.New("not needed") }

func (n node) Processes(context.Context) ([]targets.Proc, error) {
	s, err := kernel.ReadStat(n.main.PID)
	if errors.Is(err, targets.ErrGone) || err == nil && (s.Start != n.main.Start || s.Dead()) {
		return nil, nil
	}
	list := []targets.Proc{{ProcID: n.main, Name: s.Name, State: string(s.State), Main: true}}
	for _, dir := range n.groups {
		pids, err := cgroups.Group{Dir: dir}.Members()
		if err != nil {
			return nil, err
		}
		for _, pid := range pids {
			if id, err := kernel.Identity(pid); err == nil && pid != n.main.PID {
				list = append(list, targets.Proc{ProcID: id, Parent: n.main.PID})
			}
		}
	}
	return list, err
}

func (n node) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return kernel.Hold(ctx, id)
}

// grouped makes a node in groups of its own that runs the script.
func grouped(t *testing.T, script string) node {
	t.Helper()
	testenv.NeedRoot(t)
	n, join := node{}, ""
	for _, controller := range []string{"cpu", "memory"} {
		dir := filepath.Join("/sys/fs/cgroup", controller, fmt.Sprintf("dapple-test-%d-%d", os.Getpid(), time.Now().UnixNano()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatalf("this machine has no %s controller of cgroup v1: %v", controller, err)
		}
		t.Cleanup(func() {
			until(t, "the control group is removed", func() (bool, error) { err := os.Remove(dir); return err == nil, err })
		})
		n.groups, join = append(n.groups, dir), join+"echo $$ > "+dir+"/cgroup.procs && "
	}
	cmd := started(t, exec.Command("sh", "-c", join+"echo ready && "+script))
	cmd.line(t, "ready")
	var err error
	if n.main, err = kernel.Identity(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return n
}

type running struct {
	*exec.Cmd
	out *bufio.Reader
}

func started(t *testing.T, cmd *exec.Cmd) running {
	t.Helper()
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead
		_ = cmd.Wait()
	})
	return running{cmd, bufio.NewReader(out)}
}

// line reads one; want "" takes any.
func (r running) line(t *testing.T, want string) string {
	t.Helper()
	got, err := r.out.ReadString('\n')
	got = strings.TrimSpace(got)
	if err != nil || want != "" && got != want {
		t.Fatalf("it says %q, %v", got, err)
	}
	return got
}

func until(t *testing.T, what string, ok func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for {
		done, err := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come to be that %s: %v", what, err)
		}
	}
}

type held struct {
	inj injectors.Injector
	n   node
	f   injectors.Fault
}

// pressed plans, injects, and looks until it holds.
func pressed(t *testing.T, n node, with string) held {
	t.Helper()
	p, err := made(with)
	if err != nil {
		t.Fatal(err)
	}
	h := held{injectors.Of(kind, newPresser(p)), n, injectors.Fault{}}
	faults, err := h.inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	h.f = faults[0]
	if ok, proof, err := h.inj.Effect(t.Context(), n, h.f); ok || err != nil {
		t.Errorf("before it was made: %v, %q, %v", ok, proof, err)
	}
	if err := h.inj.Inject(t.Context(), n, h.f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.inj.Revert(context.WithoutCancel(t.Context()), n, h.f) })
	until(t, "it is proven", func() (bool, error) {
		ok, proof, err := h.inj.Effect(t.Context(), n, h.f)
		if ok {
			t.Logf("%s: %s", h.f.Does, proof)
		}
		return ok, errors.Join(err, errors.New(proof))
	})
	return h
}

// reverted takes it back as another process does, with the record alone.
func (h held) reverted(t *testing.T) {
	t.Helper()
	again := Kind().Reopen()
	for range 2 {
		if err := again.Revert(t.Context(), h.n, h.f); err != nil {
			t.Fatal(err)
		}
	}
	if ok, proof, err := again.(injectors.Reverted).Reverted(t.Context(), h.n, h.f); !ok || err != nil {
		t.Errorf("%v, %q, %v", ok, proof, err)
	}
	if ok, proof, err := again.Effect(t.Context(), h.n, h.f); ok || err != nil {
		t.Errorf("afterwards: %v, %q, %v", ok, proof, err)
	}
}

// limits is what the groups' files say, as a person would read them.
func (n node) limits(t *testing.T) string {
	t.Helper()
	all := ""
	for i, files := range [][]string{{"cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"}, {"memory.limit_in_bytes", "memory.soft_limit_in_bytes"}} {
		for _, f := range files {
			data, err := os.ReadFile(filepath.Join(n.groups[i], f))
			if err != nil {
				t.Fatal(err)
			}
			all += f + " " + string(data)
		}
	}
	return all
}

func TestABusyNodeIsThrottledAndItsOperatorsQuotaComesBack(t *testing.T) {
	n := grouped(t, "while :; do :; done")
	for file, text := range map[string]string{"cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "40000"} {
		if err := os.WriteFile(filepath.Join(n.groups[0], file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	before := n.limits(t)
	h := pressed(t, n, `{"cpu": "50%"}`)
	if now := n.limits(t); !strings.Contains(now, "cpu.cfs_quota_us 20000\n") {
		t.Errorf("half of 0.8 processors: %s", now)
	}
	h.reverted(t)
	if after := n.limits(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestANodeThatDoesNothingIsNotUnderPressure(t *testing.T) {
	n := grouped(t, "read end")
	x := newPresser(Params{By: Limit, CPU: Cores{amount{"50%", 50, true}}})
	step, err := x.planOne(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Inject(t.Context(), n, step.State); err != nil {
		t.Fatal(err)
	}
	if ok, proof, err := x.Effect(t.Context(), n, step.State); ok || err != nil || !strings.Contains(proof, "0 times") {
		t.Errorf("%v, %q, %v", ok, proof, err)
	}
	if err := x.Revert(t.Context(), n, step.State); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryIsTakenFromANodeAndItsLimitComesBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	n := grouped(t, fmt.Sprintf("dd if=/dev/zero of=%s bs=1M count=128 conv=fsync status=none; echo written; while :; do cat %s > /dev/null; done", file, file))
	group := n.groups[1]
	until(t, "it uses memory", func() (bool, error) {
		var used uint64
		data, err := os.ReadFile(filepath.Join(group, "memory.usage_in_bytes"))
		if err == nil {
			_, err = fmt.Sscan(string(data), &used)
		}
		return used > 130<<20, err
	})
	if err := os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte("512M"), 0); err != nil {
		t.Fatal(err)
	}
	before := n.limits(t)
	h := pressed(t, n, `{"memory": "84%"}`)
	h.reverted(t)
	if after := n.limits(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	p, err := made(`{"memory": "99%"}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newPresser(p).planOne(t.Context(), n); err == nil || !strings.Contains(err.Error(), "another fault (kill)") {
		t.Errorf("less than it needs to live: %v", err)
	}
}

func TestABurnerUsesUpWhatItIsToAndEndsWithoutATrace(t *testing.T) {
	n := grouped(t, "read end")
	before := n.limits(t)
	h := pressed(t, n, `{"cpu": "0.5", "memory": "64MiB", "by": "burner"}`)
	h.reverted(t)
	if after := n.limits(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if err := h.inj.(injectors.Renewer).Renew(t.Context(), n, h.f, time.Minute); err == nil {
		t.Error("a burner that was ended could be renewed")
	}
}

// Whoever holds a burner may die, hang, or lose its node: the burner ends.
func TestABurnerEndsWithItsHolderItsLeaseAndItsNode(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for what, end := range map[string]func(holder *os.Process, n node) error{
		"its holder is killed": func(holder *os.Process, _ node) error { return holder.Kill() },
		"its holder hangs":     func(holder *os.Process, _ node) error { return holder.Signal(syscall.SIGSTOP) },
		"its node dies":        func(_ *os.Process, n node) error { return syscall.Kill(n.main.PID, syscall.SIGKILL) },
	} {
		t.Run(what, func(t *testing.T) {
			n := grouped(t, "read end")
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", holdEnv, n.main.PID))
			holder := started(t, cmd)
			name := holder.line(t, "")
			id, there, err := inside.Named(cgroups.Group{Dir: n.groups[0]}, name)
			if !there || err != nil {
				t.Fatalf("no burner %s: %v", name, err)
			}
			begin := time.Now()
			if err := end(holder.Process, n); err != nil {
				t.Fatal(err)
			}
			until(t, "the burner is dead", func() (bool, error) {
				s, err := kernel.ReadStat(id.PID)
				return errors.Is(err, targets.ErrGone) || err == nil && (s.Dead() || s.Start != id.Start), err
			})
			t.Logf("dead %v after %s", time.Since(begin).Round(100*time.Microsecond), what)
		})
	}
}
