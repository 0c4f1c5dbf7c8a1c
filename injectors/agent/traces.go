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

	"github.com/dapple-drills/dapple/injectors/agent/traces"
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
	// Machine is what this machine has for all nodes: its clock, and its network if
	// a node uses it.
	Machine traces.Look
	// Found is what the finders found, by their keys.
	Found map[string]Left
	// Unseen says in words what could not be looked at: of that, nothing is known.
	Unseen []string
	// Elsewhere is what agents on other machines saw there, by the machine.
	Elsewhere map[string]Traces
}

// A Finder finds what is of dapple's in a place that this package does not know,
// such as the containers of an engine: each by a key that makes it the same one.
type Finder func(ctx context.Context) (map[string]Left, error)

// NodeTrace is one node in Traces.
type NodeTrace struct {
	Engine  bool // its engine was asked; else Running means that it has processes
	Running bool
	Start   string                          // the command that starts it
	Stopped map[targets.ProcID]targets.Proc // by a signal
	Frozen  map[targets.ProcID]targets.Proc // by a control group
	Look    traces.Look                     // network, mounts, files, limits
}

// A Left is a trace of a fault that is there after a drill and was not before.
type Left = traces.Left

// Snapshot looks at the nodes, at this machine, and where the finders look. It
// changes nothing.
func Snapshot(ctx context.Context, nodes []targets.Node, finders ...Finder) (Traces, error) {
	t := Traces{Nodes: map[string]NodeTrace{}, Found: map[string]Left{}}
	shared := false
	for _, n := range nodes {
		trace, err := snapshotNode(ctx, n)
		if err != nil {
			return t, fmt.Errorf("looking at node %s: %w", n.Name(), err)
		}
		shared = trace.host() || shared
		t.unseen(n.Name(), trace.Look.Unseen)
		t.Nodes[n.Name()] = trace
	}
	t.Machine = traces.Machine(shared)
	t.unseen("this machine", t.Machine.Unseen)
	for _, find := range finders {
		found, err := find(ctx)
		if err != nil {
			t.Unseen = append(t.Unseen, err.Error())
		}
		maps.Copy(t.Found, found)
	}
	var err error
	t.Agents, err = agents()
	return t, err
}

// unseen notes what could not be looked at, and where.
func (t *Traces) unseen(where string, what []string) {
	for _, w := range what {
		t.Unseen = append(t.Unseen, where+": "+w)
	}
}

// host says whether the node lives in the network of this machine, which is then
// looked at once and not by every node.
func (t *NodeTrace) host() bool {
	if t.Look.Net == nil || !t.Look.Net.Shared {
		return false
	}
	t.Look.Net = nil
	return true
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
		t.Look = traces.Node(ctx, n, nil)
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
	t.Look = traces.Node(ctx, n, procs)
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
	drill, runner, ok := readMark(value)
	if !ok {
		return drill, true
	}
	now, err := kernel.Identity(runner.PID)
	return drill, err != nil || now != runner
}

func readMark(value string) (drill string, runner targets.ProcID, ok bool) {
	if _, err := fmt.Sscanf(value, "%s %d %d", &drill, &runner.PID, &runner.Start); err != nil {
		return value, runner, false
	}
	return drill, runner, true
}

// standIn is who lives on this machine for as long as a runner elsewhere is
// connected: the process of its mark, or else the agent itself.
func standIn(mark string, self targets.ProcID) targets.ProcID {
	if _, runner, ok := readMark(mark); ok {
		if now, err := kernel.Identity(runner.PID); err == nil && now == runner {
			return runner
		}
	}
	return self
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
			left = append(left, Left{What: "the node does not run", Node: name, Command: a.Start})
		}
		left = append(left, procsLeft(name, "is stopped by a signal", "kill -CONT %d", b.Stopped, a.Stopped)...)
		left = append(left, procsLeft(name, "is frozen by its control group", "dapple revert # pid %d", b.Frozen, a.Frozen)...)
		left = append(left, traces.Diff(name, b.Look, a.Look)...)
	}
	left = append(left, traces.Diff("", before.Machine, after.Machine)...)
	for key, l := range after.Found {
		if _, was := before.Found[key]; !was {
			left = append(left, l)
		}
	}
	for name, b := range before.Nodes {
		if _, there := after.Nodes[name]; !there && b.Running {
			left = append(left, Left{What: "the node is not there any more", Node: name, Command: b.Start})
		}
	}
	for id, drill := range after.Agents {
		if _, was := before.Agents[id]; !was {
			left = append(left, Left{What: fmt.Sprintf("the agent of drill %s (%v) is still there", drill, id), Command: fmt.Sprintf("kill -TERM %d", id.PID)})
		}
	}
	for _, machine := range slices.Sorted(maps.Keys(after.Elsewhere)) {
		for _, l := range Diff(before.Elsewhere[machine], after.Elsewhere[machine]) {
			l.What, l.Command = "on "+machine+": "+l.What, "on "+machine+": "+l.Command
			left = append(left, l)
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
			left = append(left, Left{What: fmt.Sprintf("%v (%s) %s", id, p.Name, what), Node: node, Command: fmt.Sprintf(command, id.PID)})
		}
	}
	return left
}
