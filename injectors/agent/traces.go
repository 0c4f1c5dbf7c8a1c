package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// MarkEnv marks an agent's process, so that one that was left can be found. What
// starts an agent in between passes it on. Its value is the drill's id and the identity of the runner.
const MarkEnv = "DAPPLE_AGENT_OF"

// Traces is what of a fault can be seen at the nodes and on this machine: what is
// compared before and after a drill. Each list is keyed by what makes an entry
// the same one: a node's name, a process.
type Traces struct {
	Nodes  map[string]NodeTrace
	Agents map[targets.ProcID]string // agents of dapple on this machine, with their drill
}

// NodeTrace is one node in Traces.
type NodeTrace struct {
	Engine  bool // its engine was asked; else Running means that it has processes
	Running bool
	Start   string                          // the command that starts it
	Stopped map[targets.ProcID]targets.Proc // by a signal
	Frozen  map[targets.ProcID]targets.Proc // by a control group
}

// A Left is a trace of a fault that is there after a drill and was not before.
type Left struct {
	What    string
	Node    string // "" if it is on this machine and on none of the nodes
	Command string // removes it
}

// Snapshot looks at the nodes, and at this machine. It changes nothing.
func Snapshot(ctx context.Context, nodes []targets.Node) (Traces, error) {
	t := Traces{Nodes: map[string]NodeTrace{}}
	for _, n := range nodes {
		trace, err := snapshotNode(ctx, n)
		if err != nil {
			return t, fmt.Errorf("looking at node %s: %w", n.Name(), err)
		}
		t.Nodes[n.Name()] = trace
	}
	var err error
	t.Agents, err = agents()
	return t, err
}

// relook is how far two looks are apart that both must see a process stopped: a
// debugger or a shell may stop one for a moment.
const relook = 100 * time.Millisecond

func snapshotNode(ctx context.Context, n targets.Node) (t NodeTrace, err error) {
	t.Start = "dapple revert"
	if b, ok := n.(targets.ByHand); ok {
		t.Start = b.StartCommand()
	}
	if s, ok := n.(targets.Starter); ok {
		state, err := s.State(ctx)
		if err != nil && !errors.Is(err, targets.ErrGone) {
			return t, err
		}
		t.Engine, t.Running = true, state.Running
	}
	p, ok := n.(targets.Processes)
	if !ok {
		return t, nil
	}
	procs, err := p.Processes(ctx)
	if errors.Is(err, targets.ErrGone) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	if !t.Engine {
		t.Running = len(procs) > 0
	}
	if t.Stopped = stopped(procs); len(t.Stopped) > 0 {
		if err := wait(ctx, relook); err != nil {
			return t, err
		}
		again, err := p.Processes(ctx)
		if err != nil {
			return t, err
		}
		still := stopped(again)
		maps.DeleteFunc(t.Stopped, func(id targets.ProcID, _ targets.Proc) bool { _, is := still[id]; return !is })
	}
	t.Frozen = frozen(procs)
	return t, nil
}

func stopped(procs []targets.Proc) map[targets.ProcID]targets.Proc {
	m := map[targets.ProcID]targets.Proc{}
	for _, p := range procs {
		if p.State == "T" {
			m[p.ProcID] = p
		}
	}
	return m
}

// frozen finds what the freezer holds. It can only see processes of this
// machine; of others, nothing is said.
func frozen(procs []targets.Proc) map[targets.ProcID]targets.Proc {
	m := map[targets.ProcID]targets.Proc{}
	for _, p := range procs {
		id, err := kernel.Identity(p.PID)
		if err != nil || id != p.ProcID {
			continue
		}
		if is, err := kernel.Frozen(p.PID); err == nil && is {
			m[p.ProcID] = p
		}
	}
	return m
}

// mark is the value of MarkEnv for an agent of the drill that this process runs.
func mark(drill string) (string, error) {
	me, err := kernel.Self()
	if errors.Is(err, targets.ErrUnsupported) {
		return drill, nil
	}
	return fmt.Sprintf("%s %d %d", drill, me.PID, me.Start), err
}

// marked reads a mark: the drill's id, and whether the runner of it is dead. An
// agent whose runner lives belongs to a drill that goes on, ours or another.
func marked(value string) (drill string, orphan bool) {
	var runner targets.ProcID
	if _, err := fmt.Sscanf(value, "%s %d %d", &drill, &runner.PID, &runner.Start); err != nil {
		return value, true
	}
	now, err := kernel.Identity(runner.PID)
	return drill, err != nil || now != runner
}

// agents finds the agents of dapple on this machine that nobody needs any more.
func agents() (map[targets.ProcID]string, error) {
	m := map[targets.ProcID]string{}
	procs, err := kernel.Procs(kernel.Filter{})
	if errors.Is(err, targets.ErrUnsupported) {
		return m, nil // no fault of ours is on a machine like that
	}
	for _, p := range procs {
		env, err := kernel.Environ(p.ProcID)
		if err != nil {
			continue // another user's, or gone
		}
		if i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, MarkEnv+"=") }); i >= 0 {
			if drill, orphan := marked(env[i][len(MarkEnv)+1:]); orphan {
				m[p.ProcID] = drill
			}
		}
	}
	return m, err
}

// Diff is what after shows and before did not, by node.
func Diff(before, after Traces) []Left {
	var left []Left
	for _, name := range slices.Sorted(maps.Keys(after.Nodes)) {
		b, a := before.Nodes[name], after.Nodes[name]
		if b.Running && !a.Running {
			left = append(left, Left{"the node does not run", name, a.Start})
		}
		left = append(left, procsLeft(name, "is stopped by a signal", "kill -CONT %d", b.Stopped, a.Stopped)...)
		left = append(left, procsLeft(name, "is frozen by its control group", "dapple revert # pid %d", b.Frozen, a.Frozen)...)
	}
	for name, b := range before.Nodes {
		if _, there := after.Nodes[name]; !there && b.Running {
			left = append(left, Left{"the node is not there any more", name, b.Start})
		}
	}
	for id, drill := range after.Agents {
		if _, was := before.Agents[id]; !was {
			left = append(left, Left{fmt.Sprintf("the agent of drill %s (%v) is still there", drill, id), "", fmt.Sprintf("kill -TERM %d", id.PID)})
		}
	}
	slices.SortStableFunc(left, func(a, b Left) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.What, b.What))
	})
	return left
}

func procsLeft(node, what, command string, before, after map[targets.ProcID]targets.Proc) (left []Left) {
	for id, p := range after {
		if _, was := before[id]; !was {
			left = append(left, Left{fmt.Sprintf("%v (%s) %s", id, p.Name, what), node, fmt.Sprintf(command, id.PID)})
		}
	}
	return left
}
