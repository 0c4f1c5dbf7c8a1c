package agent

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// What a runner without the rights, or on another machine than the nodes, asks
// its agent to read for it: the other half of what an agent does.

type planWire struct {
	Kind      string              `json:"kind"`
	Params    string              `json:"params"`
	On        []targets.Spec      `json:"on"`
	Peers     []targets.Spec      `json:"peers,omitempty"`
	Processes map[string][]string `json:"processes,omitempty"`
	Drill     string              `json:"drill,omitempty"`
	HostClock bool                `json:"host_clock,omitempty"`
}

type sweepWire struct {
	Force bool     `json:"force,omitempty"`
	Of    *Holding `json:"of,omitempty"`
}

// sweptWire is a Report; an error of it travels as its words.
type sweptWire struct {
	Outcomes []outcomeWire `json:"outcomes,omitempty"`
	Torn     []string      `json:"torn,omitempty"`
}

type outcomeWire struct {
	Record journal.Record `json:"record"`
	Result Result         `json:"result"`
	Proof  string         `json:"proof,omitempty"`
	Err    string         `json:"err,omitempty"`
}

// A Remote is an injector that plans where the agent is. The faults that it
// returns are the agent's to make, prove and revert: see Client.Inject.
type Remote struct {
	injectors.Injector // of the same kind and parameters; only its Plan is replaced
	Client             *Client
	Kind               string
	Params             string // as text, for Config.Params of the agent
}

// Plan has the agent plan.
func (r Remote) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Fault, error) {
	on, err := Specs(aim.On)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Kind, err)
	}
	peers, err := Specs(aim.Peers)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Kind, err)
	}
	a, err := r.Client.call(ctx, request{Op: opPlan, Plan: &planWire{
		Kind: r.Kind, Params: r.Params, On: on, Peers: peers, Processes: aim.Processes, Drill: aim.Drill, HostClock: aim.HostClock,
	}})
	return a.Faults, err
}

// Specs are the nodes as data. A node that cannot be opened elsewhere is an error.
func Specs(nodes []targets.Node) ([]targets.Spec, error) {
	specs := make([]targets.Spec, len(nodes))
	for i, n := range nodes {
		p, ok := n.(targets.Portable)
		if !ok {
			return nil, fmt.Errorf("node %s cannot be reached by an agent: %w", n.Name(), targets.ErrUnsupported)
		}
		specs[i] = p.Spec()
	}
	return specs, nil
}

// plan is Plan on the agent's side.
func (c Config) plan(ctx context.Context, p *planWire) ([]injectors.Fault, error) {
	if p == nil || c.Params == nil {
		return nil, errors.New("nothing is given to be planned, or this agent cannot read it")
	}
	k, err := c.kind(p.Kind)
	if err != nil {
		return nil, err
	}
	decode, err := c.Params(p.Params)
	if err != nil {
		return nil, err
	}
	inj, err := k.New(decode)
	if err != nil {
		return nil, err
	}
	aim := injectors.Aim{Processes: p.Processes, Drill: p.Drill, HostClock: p.HostClock}
	if aim.On, err = c.openAll(ctx, p.On); err != nil {
		return nil, err
	}
	if aim.Peers, err = c.openAll(ctx, p.Peers); err != nil {
		return nil, err
	}
	return inj.Plan(ctx, aim)
}

func (c Config) openAll(ctx context.Context, specs []targets.Spec) ([]targets.Node, error) {
	nodes := make([]targets.Node, len(specs))
	for i, s := range specs {
		var err error
		if nodes[i], err = c.Open(ctx, s); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// Look is Snapshot from where the agent is.
func (c *Client) Look(ctx context.Context, nodes []targets.Node) (t Traces, err error) {
	specs, err := Specs(nodes)
	if err != nil {
		return t, err
	}
	a, err := c.call(ctx, request{Op: opLook, Look: specs})
	if err != nil {
		return t, err
	}
	if err := gob.NewDecoder(bytes.NewReader(a.Traces)).Decode(&t); err != nil {
		return t, fmt.Errorf("reading what the agent saw: %w", err)
	}
	return t, nil
}

// look is Look on the agent's side. Traces travel as gob: their maps have keys
// that JSON cannot name, and nothing of them may be dropped on the way.
func (c Config) look(ctx context.Context, specs []targets.Spec) ([]byte, error) {
	nodes, err := c.openAll(ctx, specs)
	if err != nil {
		return nil, err
	}
	t, err := Snapshot(ctx, nodes)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = gob.NewEncoder(&b).Encode(t)
	return b.Bytes(), err
}

// RevertAll is the function of that name, done by the agent with the journal that
// it was started with. It serves as Options.RevertAll of another client.
func (c *Client) RevertAll(ctx context.Context, o RevertOptions) (rep Report, err error) {
	a, err := c.call(ctx, request{Op: opSweep, Sweep: &sweepWire{Force: o.Force, Of: o.Of}})
	if a.Swept != nil {
		rep = a.Swept.report()
	}
	return rep, err
}

func (w *sweptWire) report() Report {
	r := Report{Torn: w.Torn}
	for _, o := range w.Outcomes {
		out := Outcome{Record: o.Record, Result: o.Result, Proof: o.Proof}
		if o.Err != "" {
			out.Err = errors.New(o.Err)
		}
		r.Outcomes = append(r.Outcomes, out)
	}
	return r
}

// sweep is RevertAll on the agent's side.
func (s *server) sweep(ctx context.Context, w *sweepWire) (*sweptWire, error) {
	if w == nil {
		return nil, errors.New("nothing is given to be reverted")
	}
	cfg := s.cfg
	cfg.Home = s.home
	rep, err := RevertAll(ctx, RevertOptions{Config: cfg, Force: w.Force, Of: w.Of})
	out := &sweptWire{Torn: rep.Torn}
	for _, o := range rep.Outcomes {
		x := outcomeWire{Record: o.Record, Result: o.Result, Proof: o.Proof}
		if o.Err != nil {
			x.Err = o.Err.Error()
		}
		out.Outcomes = append(out.Outcomes, x)
	}
	return out, err
}

// Socket makes a TCP socket inside the network namespace that path names, by the
// agent (see kernel.Sockets). An agent that is lost is an error that wraps
// ErrLost, and targets.ErrUnsupported: it says nothing of the node.
func (c *Client) Socket(ctx context.Context, path string, v6 bool) (fd int, err error) {
	if c.desk == nil {
		return -1, fmt.Errorf("the agent was not asked to make sockets: %w", targets.ErrUnsupported)
	}
	fd, err = c.desk.order(ctx, order{Path: path, V6: v6})
	if errors.Is(err, ErrLost) {
		return -1, fmt.Errorf("making a socket inside a node: %w: %w", targets.ErrUnsupported, err)
	}
	return fd, err
}

// Lost is closed when the agent says no more, asked to end or not.
func (c *Client) Lost() <-chan struct{} { return c.over }

// A Sight is a node as an agent sees it.
type Sight struct {
	State *targets.State `json:"state,omitempty"` // of a targets.Starter
	Procs []targets.Proc `json:"procs,omitempty"` // of a targets.Processes
}

// See has the agent look at one node.
func (c *Client) See(ctx context.Context, node targets.Spec) (Sight, error) {
	a, err := c.call(ctx, request{Op: opSee, Node: &node})
	if a.Sight == nil {
		return Sight{}, err
	}
	return *a.Sight, err
}

// see is See on the agent's side.
func (c Config) see(ctx context.Context, spec *targets.Spec) (s Sight, err error) {
	if spec == nil {
		return s, errors.New("no node is given to be seen")
	}
	n, err := c.Open(ctx, *spec)
	if err != nil {
		return s, err
	}
	if st, ok := n.(targets.Starter); ok {
		state, err := st.State(ctx)
		if err != nil {
			return s, err
		}
		s.State = &state
	}
	if p, ok := n.(targets.Processes); ok {
		s.Procs, err = p.Processes(ctx)
	}
	return s, err
}

// Outstanding is the function of that name, of the agent's journal.
func (c *Client) Outstanding(ctx context.Context) ([]journal.Record, error) {
	a, err := c.call(ctx, request{Op: opList})
	return a.Listed, err
}
