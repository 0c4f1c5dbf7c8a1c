// Package injectortest holds the laws that every injector keeps, in every variant
// of its parameters. An author writes Plan, calls Run, and is told which law is
// broken.
//
// The laws run on a fake node, without privileges and on any system. They prove
// the injector's logic; what the kernel makes of it takes tests on a real one.
package injectortest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// A Case is one variant of an injector.
type Case struct {
	// New makes the injector as the engine does, Reopen as a process does that
	// finds only the record.
	New, Reopen func() injectors.Injector
	// Node makes a node on which the fault can be made.
	Node func() *faketarget.Node
	// Processes is the Aim's.
	Processes map[string][]string
	// Peers are the Aim's; the plan must still be one fault, on the node.
	Peers []targets.Node
	// Null says that the injector is the null control: it must change nothing,
	// holds by definition, and can be made on every node.
	Null bool
}

// promptly is how long an Inject may take to heed the end of its context. It is
// generous because the machine may be busy; one that does not heed it hangs for
// ever.
const promptly = 10 * time.Second

// Run checks all laws.
func (c Case) Run(t *testing.T) {
	t.Run("Plan changes nothing", c.planChangesNothing)
	t.Run("a record survives JSON", c.recordSurvivesJSON)
	t.Run("Inject changes something, Effect sees it, Revert takes it back", c.injectAndRevert)
	t.Run("Revert without Inject, and twice, is harmless", c.revertAlone)
	t.Run("Inject twice is taken back by one Revert", c.injectTwice)
	t.Run("cut off after any operation of Inject, Revert takes it back", c.cutInject)
	t.Run("cut off after any operation of Revert, Revert takes it back", c.cutRevert)
	t.Run("hung after any operation, a cancelled Inject returns", c.hungInject)
	t.Run("an Inject that is cancelled before it began changes nothing", c.cancelledInject)
	t.Run("a node that cannot is refused and unchanged", c.unsupported)
	t.Run("what was there before is there after", c.foreign)
}

func (c Case) plan(t *testing.T, n targets.Node) injectors.Fault {
	t.Helper()
	faults, err := c.New().Plan(t.Context(), c.aim(n))
	if err != nil {
		t.Fatalf("Plan: %v", err)
	}
	if len(faults) != 1 {
		t.Fatalf("Plan made %d faults for one node", len(faults))
	}
	return reload(t, faults[0])
}

func (c Case) aim(n targets.Node) injectors.Aim {
	return injectors.Aim{On: []targets.Node{n}, Peers: c.Peers, Processes: c.Processes, Commands: true, HostClock: true}
}

// reload is what a process that starts after a crash has.
func reload(t *testing.T, f injectors.Fault) (g injectors.Fault) {
	t.Helper()
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func (c Case) planChangesNothing(t *testing.T) {
	n := c.Node()
	before, changes := n.Snapshot(), n.Changes()
	c.plan(t, n)
	same(t, n, before)
	if n.Changes() != changes {
		t.Error("something was changed and changed back")
	}
}

func (c Case) recordSurvivesJSON(t *testing.T) {
	n := c.Node()
	faults, err := c.New().Plan(t.Context(), c.aim(n))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		if diff := cmp.Diff(f, reload(t, f)); diff != "" {
			t.Errorf("(-planned +reloaded):\n%s", diff)
		}
		if f.Does == "" || f.Undo == "" || f.Kind == "" || f.Node != n.Name() {
			t.Errorf("a person cannot understand this record: %+v", f)
		}
	}
}

func (c Case) injectAndRevert(t *testing.T) {
	n := c.Node()
	before, changes := n.Snapshot(), n.Changes()
	f := c.plan(t, n)
	inj := c.Reopen()
	if held, proof, err := inj.Effect(t.Context(), n, f); held != c.Null || err != nil {
		t.Errorf("Effect before Inject: %v, %q, %v", held, proof, err)
	}
	must(t, "Inject", inj.Inject(t.Context(), n, f))
	if changed := n.Changes() != changes; changed == c.Null {
		t.Errorf("Inject changed something: %v", changed)
	}
	held, proof, err := inj.Effect(t.Context(), n, f)
	if !held || proof == "" || err != nil {
		t.Errorf("Effect after Inject: %v, %q, %v", held, proof, err)
	}
	if held, _, err := c.Reopen().Effect(t.Context(), n, f); !held || err != nil {
		t.Errorf("Effect as another process sees it: %v, %v", held, err)
	}
	must(t, "Revert", inj.Revert(t.Context(), n, f))
	c.isReverted(t, n, f)
	same(t, n, before)
}

// isReverted asks what the agent asks before it forgets a fault.
func (c Case) isReverted(t *testing.T, n targets.Node, f injectors.Fault) {
	t.Helper()
	inj := c.Reopen()
	if r, is := inj.(injectors.Reverted); is {
		if ok, proof, err := r.Reverted(t.Context(), n, f); !ok || proof == "" || err != nil {
			t.Errorf("Reverted after Revert: %v, %q, %v", ok, proof, err)
		}
		return
	}
	if held, proof, err := inj.Effect(t.Context(), n, f); held || err != nil {
		t.Errorf("Effect after Revert: %v, %q, %v", held, proof, err)
	}
}

func (c Case) revertAlone(t *testing.T) {
	n := c.Node()
	before, changes := n.Snapshot(), n.Changes()
	f := c.plan(t, n)
	for range 2 {
		must(t, "Revert", c.Reopen().Revert(t.Context(), n, f))
	}
	c.isReverted(t, n, f)
	same(t, n, before)
	if n.Changes() != changes {
		t.Error("Revert changed what Inject had not")
	}
}

func (c Case) injectTwice(t *testing.T) {
	n := c.Node()
	before := n.Snapshot()
	f := c.plan(t, n)
	must(t, "Inject", c.Reopen().Inject(t.Context(), n, f))
	// The second may fail: what it wants to change is not there any more.
	_ = c.Reopen().Inject(t.Context(), n, f)
	for range 2 {
		must(t, "Revert", c.Reopen().Revert(t.Context(), n, f))
	}
	same(t, n, before)
}

// cutInject cuts the node off after k operations, for every k, until Inject gets
// through.
func (c Case) cutInject(t *testing.T) {
	for k := 0; ; k++ {
		n := c.Node()
		before := n.Snapshot()
		f := c.plan(t, n)
		n.CutAfter(k)
		err := c.Reopen().Inject(t.Context(), n, f)
		through := n.Ops() <= k
		if !through && err == nil {
			t.Errorf("cut off after %d operations: Inject returned nil", k)
		}
		n.Reconnect()
		must(t, "Revert", c.Reopen().Revert(t.Context(), n, f))
		c.isReverted(t, n, f)
		same(t, n, before)
		if through {
			return
		}
	}
}

func (c Case) cutRevert(t *testing.T) {
	for k := 0; ; k++ {
		n := c.Node()
		before := n.Snapshot()
		f := c.plan(t, n)
		must(t, "Inject", c.Reopen().Inject(t.Context(), n, f))
		n.CutAfter(k)
		err := c.Reopen().Revert(t.Context(), n, f)
		through := n.Ops() <= k
		if !through && err == nil {
			t.Errorf("cut off after %d operations: Revert returned nil", k)
		}
		n.Reconnect()
		must(t, "Revert", c.Reopen().Revert(t.Context(), n, f))
		c.isReverted(t, n, f)
		same(t, n, before)
		if through {
			return
		}
	}
}

func (c Case) hungInject(t *testing.T) {
	for k := 0; ; k++ {
		n := c.Node()
		before := n.Snapshot()
		f := c.plan(t, n)
		n.HangAfter(k)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Reopen().Inject(ctx, n, f) }()
		through := false
		select {
		case <-n.Hung():
		case err := <-done: // it got through, or what hung had no context and failed
			through = n.Ops() <= k
			done <- err
		}
		cancel()
		select {
		case err := <-done:
			if !through && err == nil {
				t.Errorf("hung after %d operations: Inject returned nil", k)
			}
		case <-time.After(promptly):
			t.Fatalf("hung after %d operations: Inject does not heed the end of its context", k)
		}
		n.Reconnect()
		must(t, "Revert", c.Reopen().Revert(t.Context(), n, f))
		same(t, n, before)
		if through {
			return
		}
	}
}

func (c Case) cancelledInject(t *testing.T) {
	n := c.Node()
	before, changes := n.Snapshot(), n.Changes()
	f := c.plan(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Reopen().Inject(ctx, n, f); !errors.Is(err, context.Canceled) {
		t.Errorf("Inject returned %v, want %v", err, context.Canceled)
	}
	same(t, n, before)
	if n.Changes() != changes {
		t.Error("something was changed")
	}
}

// bare has no ability but the ones that every node has.
type bare struct{ n *faketarget.Node }

func (b bare) Name() string { return b.n.Name() }
func (b bare) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	return b.n.Exec(ctx, argv...)
}

func (c Case) unsupported(t *testing.T) {
	n := c.Node()
	before, changes := n.Snapshot(), n.Changes()
	faults, err := c.New().Plan(t.Context(), c.aim(bare{n}))
	if c.Null {
		if err != nil {
			t.Errorf("Plan: %v; there is no node on which nothing cannot be done", err)
		}
		return
	}
	if !errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("Plan made %v and returned %v, want ErrUnsupported", faults, err)
	}
	same(t, n, before)
	if n.Changes() != changes {
		t.Error("something was changed")
	}
}

func (c Case) foreign(t *testing.T) {
	n := c.Node()
	if _, err := n.Exec(t.Context(), "write", "theirs", "dear to them"); err != nil {
		t.Fatal(err)
	}
	f := c.plan(t, n)
	inj := c.Reopen()
	must(t, "Inject", inj.Inject(t.Context(), n, f))
	must(t, "Revert", inj.Revert(t.Context(), n, f))
	if got := n.Snapshot().Files["theirs"]; got != "dear to them" {
		t.Errorf("a file that was there before now holds %q", got)
	}
}

func same(t *testing.T, n *faketarget.Node, want faketarget.Snapshot) {
	t.Helper()
	if diff := cmp.Diff(want, n.Snapshot()); diff != "" {
		t.Errorf("the node is not what it was (-before +after):\n%s", diff)
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
