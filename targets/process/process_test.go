package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// TestMain lets the test's own binary stand in for dapple: as a keeper, as a
// starter that can be killed, and as a member.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	var err error
	switch os.Args[1] {
	case "keeper":
		err = KeeperMain(context.Background(), os.Args[2:])
	case "starter":
		err = starter(os.Args[2], os.Args[3] == "lifeline")
	case "watcher":
		gone := make(chan struct{})
		if err = OnKeeperGone(func() { close(gone) }); err == nil {
			<-gone
			err = os.WriteFile(os.Args[2], nil, 0o600)
		}
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// starter starts a cluster of two, prints what runs, and waits to be killed.
func starter(dir string, lifeline bool) error {
	me, err := os.Executable()
	if err != nil {
		return err
	}
	ctx := context.Background()
	c, err := Start(ctx, Options{Keeper: []string{me, "keeper"}, Dir: dir, Members: sleepers("a", "b"), Lifeline: lifeline})
	if err != nil {
		return err
	}
	for _, n := range c.Nodes() {
		if err := n.(*Node).Start(ctx); err != nil {
			return err
		}
		s, err := n.(*Node).State(ctx)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(s.Main); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func sleepers(names ...string) []Member {
	var ms []Member
	for _, n := range names {
		ms = append(ms, Member{Name: n, Argv: []string{"sleep", "1000"}, Addresses: []string{"127.0.0.1"}})
	}
	return ms
}

func start(t *testing.T, o Options) *Cluster {
	t.Helper()
	o.Keeper = []string{self(t), "keeper"}
	o.Lifeline = true
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "c")
	}
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Shutdown(ctx); err != nil {
			t.Errorf("shutting down: %v", err)
		}
	})
	return c
}

func node(c *Cluster, i int) *Node { return c.Nodes()[i].(*Node) }

// running starts n and returns its main process.
func running(t *testing.T, n *Node) targets.ProcID {
	t.Helper()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := n.State(t.Context())
	if err != nil || !s.Running {
		t.Fatalf("state after start: %+v, %v", s, err)
	}
	return s.Main
}

// eventually polls until ok, or fails the test after a deadline that is far
// beyond what is promised.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		}
	}
}

func alive(id targets.ProcID) bool {
	p, err := kernel.ReadProc(id.PID)
	return err == nil && p.ProcID == id && p.State != "Z"
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

func TestAKilledMemberStaysDeadUntilItIsStartedAgain(t *testing.T) {
	n := node(start(t, Options{Members: sleepers("a")}), 0)
	if s, err := n.State(t.Context()); err != nil || s.Running || s.Policy != "no" {
		t.Fatalf("before start: %+v, %v", s, err)
	}
	first := running(t, n)

	h, err := n.Hold(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := h.Exited(t.Context()); err != nil {
		t.Fatal(err)
	}
	var s targets.State
	eventually(t, "the keeper sees the death", func() bool {
		s, err = n.State(t.Context())
		return err == nil && !s.Running
	})
	if s.Detail != "signal: killed" || s.Restarts != 0 || s.Finished.IsZero() {
		t.Errorf("state of a killed member: %+v", s)
	}
	if procs, err := n.Processes(t.Context()); err != nil || len(procs) != 0 {
		t.Errorf("processes of a dead member: %v, %v", procs, err)
	}

	second := running(t, n)
	if second == first {
		t.Errorf("the restarted member is still %v", first)
	}
	if again := running(t, n); again != second {
		t.Errorf("starting a running member made %v of %v", again, second)
	}
	if _, err := n.Hold(t.Context(), first); !errors.Is(err, targets.ErrGone) {
		t.Errorf("holding the dead process: %v", err)
	}
}

func TestTheProcessesOfAMemberAreItAndItsDescendantsMainFirst(t *testing.T) {
	shell := Member{Name: "a", Argv: []string{"sh", "-c", "sleep 1001 & (sleep 1002 & wait) & wait"}}
	n := node(start(t, Options{Members: []Member{shell, sleepers("b")[0]}}), 0)
	main := running(t, n)
	running(t, &Node{name: "b", at: n.at})

	var procs []targets.Proc
	eventually(t, "both sleepers", func() bool {
		procs, _ = n.Processes(t.Context())
		sleeping := 0
		for _, p := range procs {
			if p.Name == "sleep" {
				sleeping++
			}
		}
		return sleeping == 2
	})
	if procs[0].ProcID != main || !procs[0].Main || procs[1].Main {
		t.Errorf("the main process is not first and alone: %+v", procs)
	}
	if err := n.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if alive(p.ProcID) {
			t.Errorf("%v (%s) outlived its member", p.ProcID, p.Name)
		}
	}
}

func TestAStarterThatIsKilledLeavesNoProcessAndNoFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	cmd, members := startStarter(t, dir, "lifeline")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, id := range members {
		eventually(t, "the death of "+id.String(), func() bool { return !alive(id) })
	}
	eventually(t, "the end of the directory", func() bool { return missing(dir) })
}

func TestAClusterWithoutLifelineStaysUntilItIsFoundAndShutDown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	cmd, members := startStarter(t, dir, "stays")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed: that is what was asked for
	c, err := Find(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range c.Nodes() {
		if s, err := n.(*Node).State(t.Context()); err != nil || s.Main != members[i] {
			t.Errorf("%s: %+v, %v; want %v running", n.Name(), s, err, members[i])
		}
	}
	if err := c.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range members {
		if alive(id) {
			t.Errorf("%v outlived the shutdown", id)
		}
	}
	if !missing(dir) {
		t.Error("the directory is still there")
	}
	if _, err := Find(t.Context(), dir); !errors.Is(err, targets.ErrGone) {
		t.Errorf("finding a cluster that is gone: %v", err)
	}
	if err := c.Shutdown(t.Context()); err != nil {
		t.Errorf("a second shutdown: %v", err)
	}
}

// startStarter starts a process that starts a cluster, and returns what its
// members are.
func startStarter(t *testing.T, dir, lifeline string) (*exec.Cmd, []targets.ProcID) {
	t.Helper()
	cmd := exec.Command(self(t), "starter", dir, lifeline)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe() // kept open: it waits for its end
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill() // it is dead already, unless the test failed
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	var ids []targets.ProcID
	for len(ids) < 2 && lines.Scan() {
		var id targets.ProcID
		if err := json.Unmarshal(lines.Bytes(), &id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if len(ids) < 2 {
		t.Fatal("the starter died")
	}
	return cmd, ids
}

func TestAKeeperThatIsKilledTakesItsMembersAlongAlsoFrozenOnes(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	members := append(sleepers("running", "frozen"), Member{Name: "watcher", Argv: []string{self(t), "watcher", mark}})
	c := start(t, Options{Members: members})
	var ids []targets.ProcID
	for i := range members {
		ids = append(ids, running(t, node(c, i)))
	}
	if err := syscall.Kill(ids[1].PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	member, err := kernel.ReadProc(ids[0].PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(member.Parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		eventually(t, "the death of "+id.String(), func() bool { return !alive(id) })
	}
	if _, err := node(c, 0).State(t.Context()); !errors.Is(err, targets.ErrGone) {
		t.Errorf("asking for the state of a node without keeper: %v", err)
	}
	if err := node(c, 0).Start(t.Context()); !errors.Is(err, targets.ErrGone) {
		t.Errorf("starting a node without keeper: %v", err)
	}
	if err := c.Shutdown(t.Context()); err != nil {
		t.Errorf("shutting down a cluster whose keeper was killed: %v", err)
	}
	if !missing(c.Dir()) {
		t.Error("the directory of a killed keeper is still there after Shutdown")
	}
}

func TestAClusterWhoseDirectoryWasRemovedEndsByItself(t *testing.T) {
	c := start(t, Options{Members: sleepers("a")})
	id := running(t, node(c, 0))
	if err := os.RemoveAll(c.Dir()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the death of the member", func() bool { return !alive(id) })
}
