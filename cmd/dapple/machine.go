package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/host"
	"github.com/dapple-drills/dapple/targets/ssh"
)

// A machine is one of a fleet: its connection, and what runs over it, each started
// when it is first needed, and anew if it was lost.
type machine struct {
	o        ssh.Options
	patience time.Duration // with a machine that cannot be reached; see revertWithin

	mu    sync.Mutex // held while one of them is started
	line  *ssh.Line
	scout *agent.Client // holds no fault: it is asked
	relay *ssh.Relay
}

var _ ssh.Machine = (*machine)(nil)

func lost(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// connected is the connection. The mutex is held.
func (m *machine) connected(ctx context.Context) (*ssh.Line, error) {
	if m.line != nil && !lost(m.line.Lost()) {
		return m.line, nil
	}
	if m.line != nil {
		if err := m.line.Close(); err != nil {
			return nil, err
		}
		m.line = nil
	}
	l, err := ssh.Open(ctx, m.o)
	if err != nil {
		return nil, err
	}
	m.line, m.o.Prepared = l, true
	return l, nil
}

// lined is the connection.
func (m *machine) lined(ctx context.Context) (*ssh.Line, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.connected(ctx)
}

// startOfMachine is how long an agent there may take to answer: the machine may be
// far away, and busy.
const startOfMachine = 30 * time.Second

// start starts an agent there.
func (m *machine) start(ctx context.Context, drill, system string, lease time.Duration) (*agent.Client, error) {
	l, err := m.lined(ctx)
	if err != nil {
		return nil, err
	}
	return m.startOver(ctx, l, drill, system, lease, m.revertAll)
}

// nothing is what has to be done about an agent that was lost and held no fault.
func nothing(context.Context, agent.RevertOptions) (agent.Report, error) { return agent.Report{}, nil }

func (m *machine) startOver(ctx context.Context, l *ssh.Line, drill, system string, lease time.Duration,
	revert func(context.Context, agent.RevertOptions) (agent.Report, error)) (*agent.Client, error) {
	c, err := agent.Start(ctx, agent.Options{
		Argv: l.Argv(drill, modeAgent), Lease: lease, Drill: drill, System: system, Elsewhere: true,
		Greeting: startOfMachine, Config: agentConfig(""), RevertAll: revert,
	})
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", m.o.Host, err)
	}
	return c, nil
}

// scouting is the agent that is asked.
func (m *machine) scouting(ctx context.Context) (*agent.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.scout != nil && !lost(m.scout.Lost()) {
		return m.scout, nil
	}
	l, err := m.connected(ctx)
	if err != nil {
		return nil, err
	}
	c, err := m.startOver(ctx, l, "look", "", leaseOfScout, nothing)
	if err != nil {
		return nil, err
	}
	m.scout = c
	return c, nil
}

// relaying is what connects from inside of nodes. One that was lost stays lost: the
// drill ends by it.
func (m *machine) relaying(ctx context.Context) (*ssh.Relay, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.relay != nil {
		return m.relay, nil
	}
	if m.line == nil {
		return nil, fmt.Errorf("machine %s: it is not connected", m.o.Host)
	}
	r, err := ssh.StartRelay(ctx, m.line.Argv("look", modeRelay))
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", m.o.Host, err)
	}
	m.relay = r
	return r, nil
}

// lifelines are what a drill cannot do without, by name.
func (m *machine) lifelines() map[string]<-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]<-chan struct{}{}
	if m.line != nil {
		all["the connection"] = m.line.Lost()
	}
	if m.scout != nil {
		all["the agent that is asked"] = m.scout.Lost()
	}
	if m.relay != nil {
		all["the relay of sessions from inside"] = m.relay.Lost()
	}
	return all
}

// Exec runs argv there.
func (m *machine) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	l, err := m.lined(ctx)
	if err != nil {
		return nil, err
	}
	return l.Exec(ctx, argv...)
}

// See asks for a node's engine and processes.
func (m *machine) See(ctx context.Context, node targets.Spec) (*targets.State, []targets.Proc, error) {
	c, err := m.scouting(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := c.See(ctx, node)
	if err != nil {
		err = fmt.Errorf("on %s: %w", m.o.Host, err)
	}
	return s.State, s.Procs, err
}

// Dial connects from where a node is.
func (m *machine) Dial(ctx context.Context, node targets.Spec, network, addr string) (net.Conn, error) {
	r, err := m.relaying(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", targets.ErrUnsupported, err)
	}
	return r.Dial(ctx, node, network, addr)
}

// outstanding is what that machine's journal holds.
func (m *machine) outstanding(ctx context.Context) ([]journal.Record, error) {
	c, err := m.scouting(ctx)
	if err != nil {
		return nil, err
	}
	return c.Outstanding(ctx)
}

// revertAll has an agent of its own work through the journal there. A machine that
// cannot be reached is tried again until ctx ends: what was held there ends without
// us, but somebody has to see that it did.
func (m *machine) revertAll(ctx context.Context, o agent.RevertOptions) (rep agent.Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 4*time.Second) {
		if rep, err = m.revertOnce(ctx, o); err == nil || o.Of == nil {
			return rep, err // a person who asks sees the reason at once
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return rep, fmt.Errorf("whether its faults have ended is not known (they do within %v of the loss of the connection): %w", leaseTime, err)
		}
	}
}

// lives is how long a connection may take to show that it is not dead without
// knowing it yet: it shares a network with the one who lost an agent over it.
const lives = 5 * time.Second

// hangUp ends a connection that shows no life, so that the next one who needs it
// makes another.
func (m *machine) hangUp(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.line == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lives)
	defer cancel()
	if _, err := m.line.Exec(ctx, "true"); err != nil {
		_ = m.line.Close() // its directory of sockets may stay; nothing else can fail
		m.line = nil
	}
}

// revertWithin is less than what the engine waits for a fault to be taken back, so
// that it gets to know why it was not.
const revertWithin = 25 * time.Second

func (m *machine) revertOnce(ctx context.Context, o agent.RevertOptions) (rep agent.Report, err error) {
	if o.Of != nil {
		m.hangUp(ctx)
	}
	l, err := m.lined(ctx)
	if err != nil {
		return rep, err
	}
	c, err := m.startOver(ctx, l, "revert", "", leaseOfScout, nothing)
	if err != nil {
		return rep, err
	}
	rep, err = c.RevertAll(ctx, o)
	return rep, errors.Join(err, c.Close(ctx))
}

// has says whether the node is on this machine.
func (m *machine) has(n targets.Node) bool {
	on, ok := n.(interface{ Host() string })
	return ok && on.Host() == m.o.Host
}

// ours are the nodes on this machine.
func (m *machine) ours(nodes []targets.Node) []targets.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n targets.Node) bool { return !m.has(n) })
}

// own are the nodes on this machine, as they are opened there.
func (m *machine) own(nodes []targets.Node) (there []targets.Node) {
	for _, n := range m.ours(nodes) {
		if x, ok := n.(interface{ There() targets.Portable }); ok {
			there = append(there, x.There())
		}
	}
	return there
}

// seenFrom are all nodes as they are opened on this machine: those of others are
// addresses.
func (m *machine) seenFrom(ctx context.Context, nodes []targets.Node) (there []targets.Node, err error) {
	for _, n := range nodes {
		if m.has(n) {
			there = append(there, m.own([]targets.Node{n})...)
			continue
		}
		var c host.Config
		if a, ok := n.(targets.Addresser); ok {
			if c.Addresses, err = a.Addresses(ctx); err != nil {
				return nil, err
			}
		}
		far, err := host.New(n.Name(), c)
		if err != nil {
			return nil, err
		}
		there = append(there, far)
	}
	return there, nil
}

// name is where ssh finds the machine.
func (m *machine) name(ctx context.Context) ([]string, error) {
	l, err := m.lined(ctx)
	if err != nil {
		return nil, err
	}
	name, err := l.HostName(ctx)
	return []string{name}, err
}

func (m *machine) end(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	if m.relay != nil {
		m.relay.Close()
	}
	if m.scout != nil {
		errs = append(errs, m.scout.Close(ctx))
	}
	if m.line != nil {
		errs = append(errs, m.line.Close())
	}
	m.relay, m.scout, m.line = nil, nil, nil
	return errors.Join(errs...)
}
