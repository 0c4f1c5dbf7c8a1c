package pause

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

var parts = map[string][]string{"server": {"postgres"}, "manager": {"patroni"}}

// made makes the parameters as a scenario does.
func made(with string) (Params, error) {
	p := defaults()
	if err := json.Unmarshal([]byte(with), &p); err != nil {
		return p, err
	}
	return p, p.check()
}

// fakeFreezer is a file of a fake node, so that it can be cut off and hang.
type fakeFreezer struct{}

func (fakeFreezer) find(context.Context, targets.Node) (group, error) {
	return group{cgroups.Group{Dir: "/fake", Inode: 7}}, nil
}

func (fakeFreezer) set(ctx context.Context, n targets.Node, g group, to string) error {
	name, _, _ := g.file()
	_, err := n.Exec(ctx, "write", g.Dir+"/"+name, to)
	return err
}

func (fakeFreezer) frozen(ctx context.Context, n targets.Node, g group) (all, half bool, words string, err error) {
	name, frozen, thawed := g.file()
	out, err := n.Exec(ctx, "read", g.Dir+"/"+name)
	return string(out) == frozen, string(out) != thawed, "it is " + string(out), err
}

func onFake(p Params) injectors.Injector {
	x := newPauser(p)
	x.freezer = fakeFreezer{}
	return injectors.Of(kind, x)
}

func fakeNode() *faketarget.Node {
	n := faketarget.Patroni("pg1")
	if _, err := n.Exec(context.Background(), "write", "/fake/freezer.state", "THAWED"); err != nil {
		panic(err)
	}
	return n
}

func TestPauseKeepsTheLawsInEveryVariant(t *testing.T) {
	for _, with := range []string{
		`{}`,
		`{"process": "all"}`,
		`{"process": "server"}`,
		`{"process": "server", "tree": false}`,
		`{"process": "manager"}`,
		`{"process": "relay"}`,
		`{"how": "freezer"}`,
		`{"how": "freezer", "process": "all"}`,
	} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			p, err := made(with)
			if err != nil {
				t.Fatal(err)
			}
			injectortest.Case{
				New:       func() injectors.Injector { return onFake(p) },
				Reopen:    func() injectors.Injector { return onFake(Params{}) },
				Node:      fakeNode,
				Processes: parts,
			}.Run(t)
		})
	}
}

func TestWhatCannotBeTogetherIsRefused(t *testing.T) {
	for with, says := range map[string]string{
		`{"how": "ptrace"}`:                       "use stop",
		`{"how": "freezer", "process": "server"}`: "how: stop",
		`{"how": "freezer", "tree": false}`:       "tree: no",
		`{"process": ""}`:                         "main, all, server",
		`{"process": "/bin/sh"}`:                  "without its path",
	} {
		if _, err := made(with); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", with, err, says)
		}
	}
}

func plan(t *testing.T, with string, nodes ...targets.Node) ([]injectors.Fault, error) {
	t.Helper()
	p, err := made(with)
	if err != nil {
		t.Fatal(err)
	}
	return onFake(p).Plan(t.Context(), injectors.Aim{On: nodes, Processes: parts})
}

// The node is 1 patroni (a reaper), its children 2 patroni and 6 relay, 2's child
// 3 postgres, and 3's children 4 and 5 postgres.
func TestAProcessIsPausedWithItsDescendantsAndAManagerWithoutItsServer(t *testing.T) {
	for with, want := range map[string][]int{
		`{}`:                                   {1, 2, 3, 4, 5, 6},
		`{"tree": false}`:                      {1},
		`{"process": "all"}`:                   {1, 2, 3, 4, 5, 6},
		`{"process": "server"}`:                {3, 4, 5},
		`{"process": "server", "tree": false}`: {3},
		`{"process": "manager"}`:               {2},
	} {
		n := fakeNode()
		before, err := n.Processes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		faults, err := plan(t, with, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := onFake(Params{}).Inject(t.Context(), n, faults[0]); err != nil {
			t.Fatal(err)
		}
		after, err := n.Processes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, p := range after {
			if p.State == "T" {
				got = append(got, p.PID-before[0].PID+1)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", with, diff)
		}
		if f := faults[0]; f.Momentary || f.NodeDead || !strings.Contains(f.Does, "SIGSTOP to ") || !strings.HasPrefix(f.Undo, "kill -CONT 5") {
			t.Errorf("%s: %+v", with, f)
		}
	}
}

func signalFake(t *testing.T, n *faketarget.Node, name string, sig syscall.Signal) {
	t.Helper()
	all, err := n.Processes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Name != name {
			continue
		}
		h, err := n.Hold(t.Context(), p.ProcID)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(h.Signal(sig), h.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAProcessThatWasStoppedBeforeStaysStopped(t *testing.T) {
	n := fakeNode()
	signalFake(t, n, "relay", sigSTOP)
	before := n.Snapshot()
	faults, err := plan(t, `{"process": "all"}`, n)
	if err != nil {
		t.Fatal(err)
	}
	inj := onFake(Params{})
	if err := inj.Inject(t.Context(), n, faults[0]); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := inj.Effect(t.Context(), n, faults[0]); !held || err != nil {
		t.Error(held, proof, err)
	}
	if err := inj.Revert(t.Context(), n, faults[0]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.Snapshot()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	// And if it is the one that is meant, there is nothing to be seen of a pause.
	if faults, err := plan(t, `{"process": "relay"}`, n); err == nil || !strings.Contains(err.Error(), "stopped already") {
		t.Errorf("%+v, %v", faults, err)
	}
}

func TestAPausedProcessThatIsFoundRunningOrDeadIsAHole(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"continued by others": sigCONT, "killed by others": 9} {
		t.Run(name, func(t *testing.T) {
			n := fakeNode()
			faults, err := plan(t, `{"process": "relay"}`, n)
			if err != nil {
				t.Fatal(err)
			}
			inj := onFake(Params{})
			if err := inj.Inject(t.Context(), n, faults[0]); err != nil {
				t.Fatal(err)
			}
			signalFake(t, n, "relay", sig)
			if held, proof, err := inj.Effect(t.Context(), n, faults[0]); held || proof == "" || err != nil {
				t.Error(held, proof, err)
			}
		})
	}
	n := fakeNode()
	faults, err := plan(t, `{"how": "freezer"}`, n)
	if err != nil {
		t.Fatal(err)
	}
	inj := onFake(Params{})
	if err := inj.Inject(t.Context(), n, faults[0]); err != nil {
		t.Fatal(err)
	}
	if faults, err := plan(t, `{"how": "freezer"}`, n); err == nil || !strings.Contains(err.Error(), "frozen already") {
		t.Errorf("%+v, %v", faults, err)
	}
	if err := (fakeFreezer{}).set(t.Context(), n, group{cgroups.Group{Dir: "/fake"}}, "THAWED"); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := inj.Effect(t.Context(), n, faults[0]); held || proof == "" || err != nil {
		t.Error(held, proof, err)
	}
}

func TestWhatCannotOrMustNotBePausedIsRefusedWithTheReason(t *testing.T) {
	down := fakeNode()
	if err := down.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	protected := fakeNode()
	protected.Protect()
	for _, c := range []struct {
		with  string
		node  *faketarget.Node
		says  string
		lacks bool
	}{
		{`{}`, down, "does not run", false},
		{`{"how": "freezer"}`, down, "does not run", false},
		{`{"process": "mysqld"}`, fakeNode(), "there are: patroni", false},
		{`{}`, protected, "sudo", true},
	} {
		faults, err := plan(t, c.with, c.node)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "node pg1") || errors.Is(err, targets.ErrUnsupported) != c.lacks {
			t.Errorf("%s: %+v, %v", c.with, faults, err)
		}
	}
	if faults, err := plan(t, `{}`); err == nil {
		t.Errorf("of no node: %+v", faults)
	}
	// The kernel's freezer cannot reach what is not on this machine.
	inj := injectors.Of(kind, newPauser(Params{How: Freezer, Process: "all", Tree: true}))
	if _, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{fakeNode()}}); !errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("a node elsewhere: %v", err)
	}
}
