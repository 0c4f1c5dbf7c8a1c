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
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/docker/selfrun"
	"github.com/dapple-drills/dapple/targets/netns"
	"github.com/dapple-drills/dapple/targets/process"
)

// The values of --agent.
const (
	agentAuto      = "auto"
	agentLocal     = "local"
	agentContainer = "container"
)

// A post is where agents run, and what is asked of them besides holding faults.
type post interface {
	// hold starts what holds faults.
	hold(ctx context.Context, drill, system string) (drills.Holder, error)
	// ready says why no drill may begin, and holds others off until release.
	ready(ctx context.Context, system, run string) (release func() error, err error)
	// look is agent.Snapshot, where that may be done.
	look(ctx context.Context, nodes []targets.Node) (agent.Traces, error)
	// lend has the nodes use it for their sessions from inside.
	lend(ctx context.Context, nodes []targets.Node) error
	// plans has a step planned where that may be done.
	plans(ctx context.Context, s *drills.Step) error
	// guard ends the drill when what it rests on is lost.
	guard(ctx context.Context) (context.Context, context.CancelFunc)
	// revertAll takes back what the journal says, where that may be done.
	revertAll(ctx context.Context, o agent.RevertOptions) (agent.Report, error)
	end(ctx context.Context) error
}

var _ post = (*station)(nil)

// A station is where agents run: as children of this process, or, where this process
// may not touch the nodes, in helper containers, or in the namespaces of the nodes.
type station struct {
	home   string
	argv   []string
	aside  string // where, in words, if not here
	keeper string // the socket of the one in whose namespaces it is

	// scout is an agent that holds no fault: aside, it reads, plans and makes
	// sockets for us. It is not the one that holds, so that neither is ended
	// by what becomes of the other.
	mu    sync.Mutex
	scout *agent.Client
}

// choose finds out where agents are to run for these nodes. Nothing is started.
func choose(ctx context.Context, g *globals, io stdio, nodes []targets.Spec) (*station, error) {
	home, err := homeDir()
	if err != nil {
		return nil, err
	}
	exe, err := self()
	if err != nil {
		return nil, err
	}
	p := &station{home: home, argv: []string{exe, modeAgent}}
	if g.agent == agentContainer {
		return p, p.toContainer(ctx, exe)
	}
	if socket := keeperOf(ctx, nodes); socket != "" && g.agent != agentLocal {
		p.keeper, p.argv, p.aside = socket, []string{exe, modeVisit, socket, modeAgent}, "the namespaces of the nodes"
		return p, nil
	}
	missing, err := kernel.Missing(kernel.CapSysAdmin, kernel.CapNetAdmin, kernel.CapSysPtrace, kernel.CapKill)
	if errors.Is(err, targets.ErrUnsupported) || len(missing) == 0 || !slices.ContainsFunc(nodes, func(s targets.Spec) bool { return s.Kind == docker.Kind }) {
		return p, nil // who may everything needs nobody, and elsewhere preflight says what is missing
	}
	if err != nil {
		return nil, err
	}
	if g.agent == agentLocal {
		return nil, diag.Hint(fmt.Errorf("--agent %s: this process lacks %s, without which it can do nothing to nodes in Docker", agentLocal, capNames(missing)),
			"leave --agent out, and the agent runs in a helper container; or run dapple as root (sudo)")
	}
	fmt.Fprintf(progress(g, io), "the agent runs in a helper container: this process lacks %s\n", capNames(missing))
	return p, p.toContainer(ctx, exe)
}

// checkAgent finds a wrong --agent before anything is done.
func checkAgent(value string) error {
	switch value {
	case agentAuto, agentLocal, agentContainer:
		return nil
	}
	return usage(fmt.Errorf("--agent %s: want %s, %s or %s", value, agentAuto, agentLocal, agentContainer))
}

func capNames(caps []kernel.Cap) string {
	var names []string
	for _, c := range caps {
		names = append(names, c.String())
	}
	return strings.Join(names, ", ")
}

func specsOf(nodes []targets.Node) []targets.Spec {
	var specs []targets.Spec
	for _, n := range nodes {
		if p, ok := n.(targets.Portable); ok {
			specs = append(specs, p.Spec())
		}
	}
	return specs
}

// keeperOf is the socket of a keeper that lives, in whose namespaces nodes are, or
// "". Of two keepers the first is taken: a drill is on one system.
func keeperOf(ctx context.Context, nodes []targets.Spec) string {
	for _, s := range nodes {
		if socket := netns.KeeperOf(s); socket != "" && process.Alive(ctx, socket) {
			return socket
		}
	}
	return ""
}

// toContainer makes the image of the helper be there.
func (p *station) toContainer(ctx context.Context, exe string) (err error) {
	e, err := docker.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := selfrun.Usable(e); err != nil {
		return diag.Hint(err, "run dapple as root (sudo) on the machine of the nodes")
	}
	// What is not there when it is to be mounted, the engine cannot mount.
	if err := durable.MkdirAll(journal.Dir(p.home), 0o700); err != nil {
		return err
	}
	image, err := selfrun.Image(ctx, e, agentBinary(exe), buildVersion())
	if err != nil {
		return err
	}
	p.argv, p.aside = []string{exe, modeHelper, image, p.home}, "a helper container"
	return nil
}

// agentBinary is the program of a helper container: this one, or the one that
// DAPPLE_AGENT names.
func agentBinary(exe string) string {
	if named := os.Getenv(agent.BinaryEnv); named != "" {
		return named
	}
	return exe
}

// hold starts an agent that holds faults.
func (p *station) hold(ctx context.Context, drill, system string) (drills.Holder, error) {
	c, err := p.start(ctx, drill, system, false)
	if err != nil {
		return nil, err // not a nil *Client in an interface
	}
	return c, nil
}

func (p *station) ready(_ context.Context, system, run string) (func() error, error) {
	return ready(p.home, system, run)
}

// startOfContainer is how long a helper container may take to answer, on a busy
// machine; 0.3 to 0.5 s were measured on an idle one.
const startOfContainer = time.Minute

// leaseOfScout is longer than that of a fault: a scout holds none, so nothing
// outlives a runner by it, and a busy machine must not end a drill.
const leaseOfScout = time.Minute

func (p *station) start(ctx context.Context, drill, system string, scout bool) (*agent.Client, error) {
	o := agent.Options{Argv: p.argv, Lease: leaseTime, Drill: drill, System: system, Config: agentConfig(p.home)}
	if p.aside != "" {
		o.Greeting, o.Sockets, o.RevertAll = startOfContainer, scout && p.keeper == "", p.revertAll
	}
	if scout {
		o.Lease = leaseOfScout
	}
	return agent.Start(ctx, o)
}

// revertAll takes back what the journal says, where that may be done.
func (p *station) revertAll(ctx context.Context, o agent.RevertOptions) (rep agent.Report, err error) {
	// Nothing is left in namespaces whose keeper is dead.
	if p.aside == "" || p.keeper != "" && !process.Alive(ctx, p.keeper) {
		return agent.RevertAll(ctx, o)
	}
	c, err := p.start(ctx, "revert", "", false)
	if err != nil {
		return rep, err
	}
	rep, err = c.RevertAll(ctx, o)
	return rep, errors.Join(err, c.Close(ctx))
}

// look is agent.Snapshot, where that may be done. Aside, helpers come and go with
// their work, and are removed by the engine: they are not looked for.
func (p *station) look(ctx context.Context, nodes []targets.Node) (agent.Traces, error) {
	if p.aside == "" {
		return agent.Snapshot(ctx, nodes, finders(nodes)...)
	}
	c, err := p.reader(ctx)
	if err != nil {
		return agent.Traces{}, err
	}
	return c.Look(ctx, nodes)
}

// reader is the scout, started when it is first needed, and anew if it was lost:
// what was left by a fault is to be seen also then.
func (p *station) reader(ctx context.Context) (*agent.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scout != nil {
		select {
		case <-p.scout.Lost():
		default:
			return p.scout, nil
		}
	}
	c, err := p.start(ctx, "look", "", true)
	if err != nil {
		return nil, err
	}
	p.scout = c
	return c, nil
}

func isContainer(n targets.Node) bool {
	_, is := n.(*docker.Node)
	return is
}

// lend has the scout make for nodes in containers what this process may not: their
// sockets from inside. A keeper of namespaces makes them itself.
func (p *station) lend(ctx context.Context, nodes []targets.Node) error {
	if !slices.ContainsFunc(nodes, isContainer) || p.aside == "" {
		return nil
	}
	c, err := p.reader(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if d, ok := n.(*docker.Node); ok {
			d.SocketsFrom(c.Socket)
		}
	}
	return nil
}

// plans has the step planned where that may be done.
func (p *station) plans(ctx context.Context, s *drills.Step) error {
	if p.aside == "" {
		return nil
	}
	if kind, err := injectorOf(s.Inject); err != nil || kind.Commands {
		return errors.Join(err, diag.Hint(fmt.Errorf("%s: inject %s runs commands of yours, and the agent is in %s", s.Pos, s.Inject, p.aside),
			"use --agent local (as root, if the drill has other faults as well)"))
	}
	c, err := p.reader(ctx)
	if err != nil {
		return err
	}
	text, err := s.With.Text()
	if err != nil {
		return err
	}
	s.Injector = agent.Remote{Injector: s.Injector, Client: c, Kind: s.Inject, Params: text}
	return nil
}

// guard ends the drill if the scout is lost: sessions from inside of the nodes
// could not be opened any more, and that must not be taken for the nodes' doing.
func (p *station) guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if p.scout != nil {
		lost := p.scout.Lost()
		go func() {
			select {
			case <-lost:
				cancel(&drills.AbortError{Why: "the agent that looks from inside of the nodes is gone, in " + p.aside})
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

// end ends the scout.
func (p *station) end(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scout == nil {
		return nil
	}
	c := p.scout
	p.scout = nil
	return c.Close(ctx)
}

// params reads the parameters of a step that was sent to an agent.
func params(text string) (func(any) error, error) {
	p, err := scenarios.ParseParams(text)
	return p.Decode, err
}
