package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/host"
	"github.com/dapple-drills/dapple/targets/ssh"
)

// sshEnv names the ssh command and its options, divided by blanks.
const sshEnv = "DAPPLE_SSH"

// A fleet is the machines of a system that are reached by ssh. Agents run there,
// and everything about their nodes is asked of them.
type fleet struct {
	machines []*machine // in the order of the system file
}

var _ post = (*fleet)(nil)

// newFleet connects to nothing yet.
func newFleet(g *globals, nodes []scenarios.SSHNode) (*fleet, error) {
	if g.agent != agentAuto {
		return nil, usage(fmt.Errorf("--agent %s: the agents of nodes that are reached by ssh run on their machines", g.agent))
	}
	exe, err := self()
	if err != nil {
		return nil, err
	}
	program, err := ssh.ReadProgram(agentBinary(exe))
	if err != nil {
		return nil, err
	}
	f := &fleet{}
	for _, n := range nodes {
		if m := f.find(n.Host); m != nil {
			if m.o.Dir != n.Dir {
				return nil, usage(fmt.Errorf("node %s: dir: the machine %s has another one at another node", n.Name, n.Host))
			}
			continue
		}
		f.machines = append(f.machines, &machine{patience: revertWithin, o: ssh.Options{
			Host: n.Host, Dir: n.Dir, Command: strings.Fields(os.Getenv(sshEnv)),
			Program: program, Version: buildVersion(), MarkEnv: agent.MarkEnv,
		}})
	}
	return f, nil
}

func (f *fleet) find(host string) *machine {
	i := slices.IndexFunc(f.machines, func(m *machine) bool { return m.o.Host == host })
	if i < 0 {
		return nil
	}
	return f.machines[i]
}

// each does something on all machines at once, and to the end even if one fails.
func (f *fleet) each(do func(i int, m *machine) error) error {
	errs := make([]error, len(f.machines))
	var all sync.WaitGroup
	for i, m := range f.machines {
		all.Go(func() { errs[i] = do(i, m) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// open makes the nodes, and asks each that is a service whether it can be seen: a
// unit that is not there is found before anything is touched.
func (f *fleet) open(ctx context.Context, list []scenarios.SSHNode) ([]targets.Node, error) {
	if err := f.each(func(_ int, m *machine) error { _, err := m.scouting(ctx); return err }); err != nil {
		return nil, err
	}
	var nodes []targets.Node
	var errs []error
	for _, n := range list {
		m, c := f.find(n.Host), hostConfig(n.Service())
		var err error
		if len(c.Addresses) == 0 {
			c.Addresses, err = m.name(ctx)
		}
		there, nerr := host.New(n.Name, c)
		if err := errors.Join(err, nerr); err != nil {
			errs = append(errs, err)
			continue
		}
		node := ssh.New(n.Host, m, there)
		if p, ok := node.(targets.Processes); ok {
			_, err = p.Processes(ctx)
		}
		nodes, errs = append(nodes, node), append(errs, err)
	}
	return nodes, errors.Join(errs...)
}

// hold starts an agent on each machine.
func (f *fleet) hold(ctx context.Context, drill, system string) (drills.Holder, error) {
	agents := make([]*agent.Client, len(f.machines))
	err := f.each(func(i int, m *machine) (err error) {
		agents[i], err = m.start(ctx, drill, system, leaseTime)
		return err
	})
	by := map[string]*agent.Client{}
	for i, m := range f.machines {
		switch c := agents[i]; {
		case err == nil:
			by[m.o.Host] = c
		case c != nil:
			err = errors.Join(err, c.Close(ctx))
		}
	}
	if err != nil {
		return nil, err
	}
	return agent.NewFleet(by, func(s targets.Spec) (string, targets.Spec, error) {
		p, err := ssh.Read(s)
		return p.Host, p.Node, err
	}), nil
}

// ready refuses while a fault may be on one of the machines.
func (f *fleet) ready(ctx context.Context, system, run string) (func() error, error) {
	err := f.each(func(_ int, m *machine) error {
		left, err := m.outstanding(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		var faults []string
		for _, r := range left {
			faults = append(faults, fmt.Sprintf("%s: %s (drill %s)", r.Fault.Node, r.Fault.Does, r.Drill))
		}
		return diag.Hint(fmt.Errorf("the journal of %s holds faults of an earlier or a running drill: %s", m.o.Host, strings.Join(faults, "; ")),
			"if no drill is running, take them back with: dapple revert --on SYSTEM")
	})
	if err != nil {
		return nil, err
	}
	home, err := homeDir()
	if err != nil {
		return nil, err
	}
	return ready(home, system, run)
}

func (f *fleet) look(ctx context.Context, nodes []targets.Node) (agent.Traces, error) {
	seen := make([]agent.Traces, len(f.machines))
	err := f.each(func(i int, m *machine) error {
		c, err := m.scouting(ctx)
		if err != nil {
			return err
		}
		seen[i], err = c.Look(ctx, m.own(nodes))
		return err
	})
	t := agent.Traces{Elsewhere: map[string]agent.Traces{}}
	for i, m := range f.machines {
		t.Elsewhere[m.o.Host] = seen[i]
		for _, what := range seen[i].Unseen {
			t.Unseen = append(t.Unseen, "on "+m.o.Host+": "+what)
		}
	}
	return t, err
}

// lend starts what connects from inside of nodes, if any has an inside.
func (f *fleet) lend(ctx context.Context, nodes []targets.Node) error {
	return f.each(func(_ int, m *machine) error {
		if !slices.ContainsFunc(m.ours(nodes), func(n targets.Node) bool { _, ok := n.(targets.Dialer); return ok }) {
			return nil
		}
		_, err := m.relaying(ctx)
		return err
	})
}

func (f *fleet) plans(_ context.Context, s *drills.Step) error {
	kind, err := injectorOf(s.Inject)
	if err != nil {
		return err
	}
	if kind.Commands {
		return diag.Hint(fmt.Errorf("%s: inject %s runs commands of yours, which the machines behind ssh have not got", s.Pos, s.Inject),
			"name the nodes under nodes.hosts by their addresses, and have the commands run here")
	}
	text, err := s.With.Text()
	if err != nil {
		return err
	}
	s.Injector = fleetPlan{Injector: s.Injector, f: f, kind: s.Inject, params: text}
	return nil
}

// A fleetPlan is an injector that plans on the machines of the nodes.
type fleetPlan struct {
	injectors.Injector
	f            *fleet
	kind, params string
}

// Plan has each machine that is aimed at plan for its own nodes. Nodes of other
// machines are addresses there.
func (p fleetPlan) Plan(ctx context.Context, aim injectors.Aim) (all []injectors.Fault, err error) {
	for _, m := range p.f.machines {
		there := aim
		there.On = m.own(aim.On)
		if len(there.On) == 0 {
			continue
		}
		others := slices.Concat(aim.Peers, slices.DeleteFunc(slices.Clone(aim.On), m.has))
		if there.Peers, err = m.seenFrom(ctx, others); err != nil {
			return nil, err
		}
		c, err := m.scouting(ctx)
		if err != nil {
			return nil, err
		}
		faults, err := agent.Remote{Injector: p.Injector, Client: c, Kind: p.kind, Params: p.params}.Plan(ctx, there)
		if err != nil {
			return nil, fmt.Errorf("on %s: %w", m.o.Host, err)
		}
		for _, x := range faults {
			x.Undo = "on " + m.o.Host + ": " + x.Undo
			all = append(all, x)
		}
	}
	return all, nil
}

// guard ends the drill if a machine can no longer be asked: what is then measured
// from there must not be taken for the nodes' doing.
func (f *fleet) guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	for _, m := range f.machines {
		for what, lost := range m.lifelines() {
			go func() {
				select {
				case <-lost:
					cancel(&drills.AbortError{Why: fmt.Sprintf("machine %s: %s is lost; what was held there ends within %v", m.o.Host, what, leaseTime)})
				case <-ctx.Done():
				}
			}()
		}
	}
	return ctx, func() { cancel(nil) }
}

func (f *fleet) revertAll(ctx context.Context, o agent.RevertOptions) (rep agent.Report, err error) {
	reports := make([]agent.Report, len(f.machines))
	err = f.each(func(i int, m *machine) (err error) {
		reports[i], err = m.revertAll(ctx, o)
		return err
	})
	for _, r := range reports {
		rep.Outcomes, rep.Torn = append(rep.Outcomes, r.Outcomes...), append(rep.Torn, r.Torn...)
	}
	return rep, err
}

// sayCommands says, before they are run, which commands take back what is left.
func (f *fleet) sayCommands(ctx context.Context, io stdio) error {
	records := make([][]journal.Record, len(f.machines))
	err := f.each(func(i int, m *machine) (err error) {
		records[i], err = m.outstanding(ctx)
		return err
	})
	for i, m := range f.machines {
		for _, r := range records[i] {
			if text := commandOf(r); text != "" {
				fmt.Fprintf(io.out, "%s: will run on %s: %s\n", r.Fault.Node, m.o.Host, text)
			}
		}
	}
	return err
}

// says is what the machines are, in words.
func (f *fleet) says() (parts []string) {
	for _, m := range f.machines {
		if m.line != nil {
			parts = append(parts, m.o.Host+": "+m.line.Says())
		}
	}
	return parts
}

// examineSSH says whether machines could be reached, as far as it can be tried
// without one.
func examineSSH(ctx context.Context) (string, error) {
	exe, err := self()
	if err != nil {
		return "", err
	}
	if _, err := ssh.ReadProgram(agentBinary(exe)); err != nil {
		return "", err
	}
	return ssh.Doctor(ctx, strings.Fields(os.Getenv(sshEnv)))
}

func (f *fleet) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return f.each(func(_ int, m *machine) error { return m.end(ctx) })
}
