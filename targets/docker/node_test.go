package docker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

const image = "debian:trixie-slim"

func engine(t testing.TB) *docker.Engine {
	t.Helper()
	testenv.NeedDocker(t)
	e, err := docker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// unique is a name that no other run of the tests uses.
func unique() string {
	return fmt.Sprintf("dapple-test-%d-%d", os.Getpid(), time.Now().UnixNano())
}

// run starts a container and removes it when the test ends.
func run(t testing.TB, e *docker.Engine, name string, c container.Config, h container.HostConfig) {
	t.Helper()
	c.Image = image
	if c.Cmd == nil {
		c.Cmd = []string{"sleep", "infinity"}
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	c.Labels["dapple.testrun"] = os.Getenv("DAPPLE_TEST_RUN") // see .ci/test
	made, err := e.API().ContainerCreate(t.Context(), &c, &h, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := e.API().ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true})
		if err != nil && !errdefs.IsNotFound(err) {
			t.Error(err)
		}
	})
	if err := e.API().ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
}

// node starts a container and returns it as a node.
func node(t testing.TB, e *docker.Engine, c container.Config, h container.HostConfig) *docker.Node {
	t.Helper()
	name := unique()
	run(t, e, name, c, h)
	return find(t, e, name)
}

func find(t testing.TB, e *docker.Engine, name string) *docker.Node {
	t.Helper()
	nodes, err := e.Find(t.Context(), docker.Query{Names: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	return nodes[0].(*docker.Node)
}

// eventually polls until ok, or fails the test with the last thing said.
func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		done, said := ok()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within 30 s: %s", what, said)
		case <-tick.C:
		}
	}
}

func TestNoMatchIsAnErrorThatListsWhatIsRunning(t *testing.T) {
	e := engine(t)
	n := node(t, e, container.Config{}, container.HostConfig{})
	_, err := e.Find(t.Context(), docker.Query{Labels: []string{"app=no-such-app"}})
	if err == nil || !strings.Contains(err.Error(), "no node matches label app=no-such-app; containers that are running: ") || !strings.Contains(err.Error(), n.Container()) {
		t.Errorf("got %v", err)
	}
	if _, err := e.Find(t.Context(), docker.Query{}); err == nil {
		t.Error("an empty selection selected something")
	}
}

func TestTheLabelNamesTheNode(t *testing.T) {
	e := engine(t)
	name := unique()
	run(t, e, name, container.Config{Labels: map[string]string{docker.LabelNode: "pg1", "dapple.test": name}}, container.HostConfig{})
	nodes, err := e.Find(t.Context(), docker.Query{Labels: []string{"dapple.test=" + name}})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 1 || nodes[0].Name() != "pg1" {
		t.Errorf("got %v, want the one node pg1", nodes)
	}
}

func TestExecReturnsOutputAndTellsWhatWentWrong(t *testing.T) {
	n := node(t, engine(t), container.Config{}, container.HostConfig{})
	out, err := n.Exec(t.Context(), "sh", "-c", "echo out; echo err >&2")
	if err != nil || string(out) != "out\n" {
		t.Errorf("got %q, %v; want only standard output", out, err)
	}
	_, err = n.Exec(t.Context(), "sh", "-c", "echo why >&2; exit 7")
	if err == nil || !strings.Contains(err.Error(), "exit code 7: why") {
		t.Errorf("got %v, want the code and what was said", err)
	}
	if _, err = n.Exec(t.Context(), "no-such-program"); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("got %v, want an error", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err = n.Exec(ctx, "sleep", "60"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
}

func TestProcessesAreTheContainersOwnWithTheMainOneFirst(t *testing.T) {
	n := node(t, engine(t), container.Config{Cmd: []string{"bash", "-c", "sleep 1000 & sleep 1001 & wait"}}, container.HostConfig{})
	var procs []targets.Proc
	eventually(t, "three processes", func() (bool, string) {
		var err error
		procs, err = n.Processes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(procs) == 3 && procs[1].Name == "sleep" && procs[2].Name == "sleep", fmt.Sprint(procs)
	})
	if !procs[0].Main || procs[0].Name != "bash" || procs[1].Main || procs[1].Parent != procs[0].PID || procs[1].Start == 0 {
		t.Errorf("got %+v", procs)
	}
	args := [][]string{procs[1].Args, procs[2].Args}
	slices.SortFunc(args, slices.Compare)
	if d := cmp.Diff([][]string{{"sleep", "1000"}, {"sleep", "1001"}}, args); d != "" {
		t.Error(d)
	}
	s, err := n.State(t.Context())
	if err != nil || s.Main != procs[0].ProcID || !s.Running || s.Policy != "no" || s.Started.IsZero() {
		t.Errorf("got %+v, %v; want it running as %v", s, err, procs[0].ProcID)
	}
}

func TestAProcessWithTheHostsPidNamespaceIsStillTheContainersOwn(t *testing.T) {
	n := node(t, engine(t), container.Config{}, container.HostConfig{PidMode: "host"})
	procs, err := n.Processes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(procs) != 1 || procs[0].Name != "sleep" {
		t.Errorf("got %+v, want sleep alone and no process of the host", procs)
	}
}

func TestAKilledMainProcessEndsTheNodeAndStartBringsItBack(t *testing.T) {
	testenv.NeedRoot(t)
	n := node(t, engine(t), container.Config{}, container.HostConfig{})
	before := kill(t, n)
	procs, err := n.Processes(t.Context())
	if err != nil || len(procs) != 0 {
		t.Errorf("after the kill: %v, %v; want no processes and no error", procs, err)
	}
	eventually(t, "the engine notices", func() (bool, string) {
		s := state(t, n)
		return !s.Running && !s.Finished.IsZero() && strings.Contains(s.Detail, "137"), fmt.Sprint(s)
	})
	if _, err := n.DialContext(t.Context(), "tcp", "127.0.0.1:1"); !errors.Is(err, targets.ErrGone) || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("dialling inside: got %v, want an error that it is gone", err)
	}
	for range 2 { // the second finds it running
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s := state(t, n)
	if !s.Running || s.Main == before || s.Restarts != 0 {
		t.Errorf("got %+v, want it running as another process, without a restart of the engine's", s)
	}
	if _, err := n.Hold(t.Context(), before); !errors.Is(err, targets.ErrGone) {
		t.Errorf("holding the dead: got %v, want gone", err)
	}
}

func TestTheEnginesPolicyBringsBackWhatWasKilledButNotWhatWasFenced(t *testing.T) {
	testenv.NeedRoot(t)
	n := node(t, engine(t), container.Config{}, container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "always"}})
	if s := state(t, n); s.Policy != "always" {
		t.Errorf("policy %q, want always", s.Policy)
	}
	before := kill(t, n)
	eventually(t, "the engine restarts it", func() (bool, string) {
		s := state(t, n)
		return s.Running && s.Restarts == 1 && s.Main != before && s.Main.Start != 0, fmt.Sprint(s)
	})
	if err := n.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is down", func() (bool, string) { s := state(t, n); return !s.Running, fmt.Sprint(s) })
	for range 50 { // longer than the 0.4 s after which the engine would have restarted it
		if s := state(t, n); s.Running {
			t.Fatalf("it is back: %+v", s)
		}
		pause(t)
	}
	if err := n.Fence(t.Context()); err != nil {
		t.Errorf("fencing what is down: %v", err)
	}
}

// pause waits for one tick of 20 ms.
func pause(t *testing.T) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	select {
	case <-tick.C:
	case <-t.Context().Done():
	}
}

func state(t *testing.T, n *docker.Node) targets.State {
	t.Helper()
	s, err := n.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kill kills the main process as a crash would, and returns once it is dead.
func kill(t *testing.T, n *docker.Node) targets.ProcID {
	t.Helper()
	procs, err := n.Processes(t.Context())
	if err != nil || len(procs) == 0 {
		t.Fatal(procs, err)
	}
	h, err := n.Hold(t.Context(), procs[0].ProcID)
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
	return procs[0].ProcID
}

func TestANodeKeepsItsAddressesWhileItIsDown(t *testing.T) {
	n := node(t, engine(t), container.Config{}, container.HostConfig{})
	up, err := n.Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is down", func() (bool, string) { return !state(t, n).Running, "" })
	down, err := n.Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(up, down); d != "" {
		t.Error(d)
	}
}

func TestANodeIsOpenedAgainFromItsSpec(t *testing.T) {
	n := node(t, engine(t), container.Config{}, container.HostConfig{})
	data, err := json.Marshal(n.Spec())
	if err != nil {
		t.Fatal(err)
	}
	var s targets.Spec
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	o := docker.Opener()
	if s.Kind != o.Kind {
		t.Errorf("kind %q, want %q", s.Kind, o.Kind)
	}
	again, err := o.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if again.Name() != n.Name() || state(t, again.(*docker.Node)) != state(t, n) {
		t.Error("the node that was opened again is another one")
	}
	s.Config = json.RawMessage(`{}`)
	if _, err := o.Open(t.Context(), s); err == nil {
		t.Error("a spec without a container was opened")
	}
}

func TestAContainerThatWasMadeAnewIsTheSameNode(t *testing.T) {
	e := engine(t)
	n := node(t, e, container.Config{}, container.HostConfig{})
	before := state(t, n)
	if err := e.API().ContainerRemove(t.Context(), n.Container(), container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.State(t.Context()); !errors.Is(err, targets.ErrGone) {
		t.Errorf("removed: got %v, want gone", err)
	}
	run(t, e, n.Container(), container.Config{}, container.HostConfig{})
	procs, err := n.Processes(t.Context())
	if err != nil || len(procs) != 1 || procs[0].ProcID == before.Main {
		t.Errorf("made anew: %v, %v; want one other process", procs, err)
	}
}
