package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

// What an agent reads for a runner must be what the runner would have read.

func TestAnAgentPlansWhatTheRunnerWouldHavePlanned(t *testing.T) {
	n := node(t)
	c := client(t, t.TempDir(), long)
	const with = `{"signal": "STOP"}`
	want := planned(t, n, with)
	got, err := (agent.Remote{Client: c, Kind: "kill", Params: with}).Plan(t.Context(), injectors.Aim{On: []targets.Node{n}, Drill: "d1"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]injectors.Fault{want}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// What cannot be planned is said as it would be here, with the reason to branch on.
	_, err = (agent.Remote{Client: c, Kind: "kill", Params: `{"mode": "fence"}`}).Plan(t.Context(), injectors.Aim{On: []targets.Node{unable{n}}})
	if !errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
	if _, err := (agent.Remote{Client: c, Kind: "kill", Params: `{`}).Plan(t.Context(), injectors.Aim{On: []targets.Node{n}}); err == nil {
		t.Error("parameters that cannot be read were planned with")
	}
}

// unable is a node that no other process can open.
type unable struct{ n targets.Node }

func (u unable) Name() string { return u.n.Name() }

func (u unable) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	return u.n.Exec(ctx, argv...)
}

func TestAnAgentSeesTheTracesThatTheRunnerWouldSee(t *testing.T) {
	n := node(t)
	c := client(t, t.TempDir(), long)
	id := main1(t, n)
	if err := syscall.Kill(id.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "it is stopped", func() bool { return stateOf(t, id) == "T" })
	got, err := c.Look(t.Context(), []targets.Node{n})
	if err != nil {
		t.Fatal(err)
	}
	want := snapshot(t, n)
	if d := cmp.Diff(want.Nodes, got.Nodes); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, ok := got.Nodes["n1"].Stopped[id]; !ok {
		t.Errorf("the stopped process is missing: %+v", got)
	}
}

// The runner may not revert what the agent that died had held: it asks another one.
func TestWhatALostAgentHeldIsRevertedByAnotherOne(t *testing.T) {
	home, n := t.TempDir(), node(t)
	other := client(t, home, long)
	asked := make(chan agent.RevertOptions, 1)
	o := options(home, long)
	o.RevertAll = func(ctx context.Context, r agent.RevertOptions) (agent.Report, error) {
		asked <- r
		return other.RevertAll(ctx, r)
	}
	c, err := agent.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	inject(t, c, "k", n, planned(t, n, `{"signal": "STOP"}`))
	holder, _ := c.Agent()
	kill9(t, holder)
	<-c.Lost()
	if _, err := c.Revert(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if r := <-asked; r.Of == nil || r.Of.Agent != holder || r.Of.Drill != "d1" || !r.Force {
		t.Errorf("asked for %+v", r)
	}
	if got := stateOf(t, main1(t, n)); got == "T" {
		t.Error("it is still stopped")
	}
	empty(t, home)
}

func TestASocketThatTheAgentMadeIsInsideTheNamespaceItWasAskedFor(t *testing.T) {
	testenv.NeedRoot(t)
	c, other := desk(t), otherNS(t)
	want := cookie(t, kernel.NetNSSocket, other)
	if own := cookie(t, kernel.NetNSSocket, fmt.Sprintf("/proc/%d/ns/net", os.Getpid())); own == want {
		t.Fatal("the other namespace is our own: the test proves nothing")
	}
	for range 100 { // each one is another descriptor
		if got := cookie(t, c.Socket, other); got != want {
			t.Fatalf("a socket is in namespace %d, want %d", got, want)
		}
	}
	for _, path := range []string{"/proc/1/root/etc/passwd", "/proc/self/ns/net", "/proc/1/ns/../ns/net"} {
		if fd, err := c.Socket(t.Context(), path, false); err == nil {
			t.Errorf("%s was opened: %d", path, fd)
		}
	}
	if _, err := c.Socket(t.Context(), "/proc/4194304/ns/net", false); err == nil || errors.Is(err, agent.ErrLost) {
		t.Errorf("the namespace of no process: %v", err)
	}
	if got := cookie(t, c.Socket, other); got != want {
		t.Error("an error ended the conversation")
	}
}

// cookie is the kernel's number of the namespace that a socket is in.
func cookie(t *testing.T, sockets kernel.Sockets, path string) uint64 {
	t.Helper()
	fd, err := sockets(t.Context(), path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func desk(t *testing.T) *agent.Client {
	t.Helper()
	o := options(t.TempDir(), long)
	o.Sockets = true
	c, err := agent.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) }) // of no interest here
	return c
}

// otherNS is a network namespace that lives as long as the test.
func otherNS(t *testing.T) (path string) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it is killed: that is its error
	return fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
}

func TestALostAgentIsNotTakenForTheNode(t *testing.T) {
	c := desk(t)
	id, _ := c.Agent()
	kill9(t, id)
	<-c.Lost()
	fd, err := c.Socket(t.Context(), "/proc/1/ns/net", false)
	if !errors.Is(err, agent.ErrLost) || !errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("%d, %v: want ErrLost and ErrUnsupported", fd, err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		t.Errorf("%v reads as an answer of the network", err)
	}
}

func jsonParams(text string) (func(any) error, error) {
	if !json.Valid([]byte(text)) {
		return nil, errors.New("no JSON")
	}
	return func(into any) error { return json.Unmarshal([]byte(text), into) }, nil
}
