package agent_test

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
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/injectors/kill"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/process"
)

// version is what this test binary says that it is.
const version = "v0.0.0-test"

func config(home string) agent.Config {
	return agent.Config{
		Kinds:   []injectors.Kind{kill.Kind(), stuckKind()},
		Openers: []targets.Opener{process.Opener},
		Version: version, Home: home, Params: jsonParams,
	}
}

// TestMain lets the test's own binary stand in for dapple: as an agent, as a
// runner that can be killed, and as the keeper of the nodes.
func TestMain(m *testing.M) {
	// A race detector sleeps for a second before each exit, unless told not to.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	var err error
	switch ctx := context.Background(); os.Args[1] {
	case "agent":
		err = agent.Serve(ctx, os.Stdin, os.Stdout, config(""))
	case "impostor":
		cfg := config("")
		cfg.Version = "v9.9.9"
		err = agent.Serve(ctx, os.Stdin, os.Stdout, cfg)
	case "laggard":
		err = laggardMain(ctx, os.Args[2:])
	case "keeper":
		err = process.KeeperMain(ctx, os.Args[2:])
	case "runner":
		err = runner(ctx, os.Stdin)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// An order is what the runner helper is to do.
type order struct {
	Home  string
	Lease time.Duration
	Node  targets.Spec
	With  string // the parameters of kill, as JSON
}

// runner injects what stdin says, tells the agent's identity, and holds the fault
// until it is killed.
func runner(ctx context.Context, stdin io.Reader) error {
	var o order
	if err := json.NewDecoder(stdin).Decode(&o); err != nil {
		return err
	}
	c, err := agent.Start(ctx, options(o.Home, o.Lease))
	if err != nil {
		return err
	}
	n, err := process.Opener.Open(ctx, o.Node)
	if err != nil {
		return err
	}
	f, err := plan(ctx, n, o.With)
	if err != nil {
		return err
	}
	held, err := c.Inject(ctx, "k", o.Node, f)
	if err != nil || !held.OK {
		return fmt.Errorf("not injected: %+v, %w", held, err)
	}
	id, _ := c.Agent()
	if err := json.NewEncoder(os.Stdout).Encode(id); err != nil {
		return err
	}
	<-time.After(5 * time.Minute) // it is killed long before
	return errors.New("nobody killed me")
}

func options(home string, lease time.Duration) agent.Options {
	me, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return agent.Options{Argv: []string{me, "agent"}, Lease: lease, Drill: "d1", System: "s1", Config: config(home)}
}

func plan(ctx context.Context, n targets.Node, with string) (injectors.Fault, error) {
	inj, err := kill.Kind().New(func(into any) error { return json.Unmarshal([]byte(with), into) })
	if err != nil {
		return injectors.Fault{}, err
	}
	faults, err := inj.Plan(ctx, injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		return injectors.Fault{}, err
	}
	return faults[0], nil
}

func planned(t *testing.T, n targets.Node, with string) injectors.Fault {
	t.Helper()
	f, err := plan(t.Context(), n, with)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// node is a real process with a real engine, both of this machine.
func node(t *testing.T, argv ...string) *process.Node {
	t.Helper()
	if len(argv) == 0 {
		argv = []string{"sleep", "600"}
	}
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "dat") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // the keeper removes what is in it
	c, err := process.Start(t.Context(), process.Options{
		Keeper: []string{me, "keeper"}, Dir: filepath.Join(dir, "c"), Lifeline: true,
		Members: []process.Member{{Name: "n1", Argv: argv}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	n := c.Nodes()[0].(*process.Node)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func client(t *testing.T, home string, lease time.Duration) *agent.Client {
	t.Helper()
	c, err := agent.Start(t.Context(), options(home, lease))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) }) // the test looks at it where it matters
	return c
}

func inject(t *testing.T, c *agent.Client, key string, n *process.Node, f injectors.Fault) agent.Held {
	t.Helper()
	h, err := c.Inject(t.Context(), key, n.Spec(), f)
	if err != nil || !h.OK {
		t.Fatalf("Inject: %+v, %v", h, err)
	}
	return h
}

func main1(t *testing.T, n *process.Node) targets.ProcID {
	t.Helper()
	s, err := n.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Main
}

func stateOf(t *testing.T, id targets.ProcID) string {
	t.Helper()
	s, err := kernel.Threads(id)
	if err != nil {
		return err.Error()
	}
	return s
}

// started starts the runner helper and returns once its fault holds.
func started(t *testing.T, o order) (runner *exec.Cmd, agentID targets.ProcID) {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(me, "runner")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(in)), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most tests have done so
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &agentID)
	}
	if err != nil {
		t.Fatalf("the runner did not inject: %v", err)
	}
	return cmd, agentID
}

// kill9 kills the process, and waits for its death.
func kill9(t *testing.T, id targets.ProcID) {
	t.Helper()
	h, err := kernel.Hold(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Signal(syscall.SIGKILL), h.Exited(t.Context()), h.Close()); err != nil {
		t.Fatal(err)
	}
}

// gone waits for the death of the process.
func gone(t *testing.T, id targets.ProcID) {
	t.Helper()
	until(t, id.String()+" is dead", func() bool {
		dying, err := kernel.Dying(id)
		return err == nil && dying
	})
}

func empty(t *testing.T, home string) {
	t.Helper()
	records, err := agent.Outstanding(home)
	if err != nil || len(records) > 0 {
		t.Errorf("the journal holds %d records, %v", len(records), err)
	}
}

func openJournal(t *testing.T, home string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Dir(home))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// margin is what a busy machine may add to a lease of tests. The figures are
// measured by benchmarks; here the fault has to end, not to end quickly.
const margin = 30 * time.Second

// until polls for what has no event to wait for.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(margin)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come to be that %s", what)
		}
	}
}

// sighting waits for the next one of that kind.
func sighting(t *testing.T, c *agent.Client, what string) agent.Sighted {
	t.Helper()
	deadline := time.After(margin)
	for {
		select {
		case s, ok := <-c.Sightings():
			if !ok {
				t.Fatalf("no sighting of a %s", what)
			}
			if s.What == what {
				return s
			}
		case <-deadline:
			t.Fatalf("no sighting of a %s within %v", what, margin)
		}
	}
}
