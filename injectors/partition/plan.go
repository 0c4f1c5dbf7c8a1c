package partition

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/peers"
)

// Plan finds who is cut from whom, and every reason not to. There is one fault
// for each node that is not to hear something.
func (c *cutter) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	who, err := peers.CastOf(aim.On, aim.Peers)
	if err != nil {
		return nil, err
	}
	ways, err := c.p.ways(who)
	if err != nil {
		return nil, err
	}
	pl := &planning{p: c.p, cast: who, ways: ways, ground: c.ground, sites: map[string]peers.Site{}, addrs: map[string][]netip.Addr{}, states: map[string]*state{}}
	if err := pl.look(ctx); err != nil {
		return nil, err
	}
	if err := pl.build(); err != nil {
		return nil, err
	}
	if err := pl.can(ctx); err != nil {
		return nil, err
	}
	table := peers.TableName(aim.Drill)
	var steps []injectors.Step[state]
	for _, name := range who.All {
		s := pl.states[name]
		if s == nil || !s.cuts() {
			continue
		}
		s.Table = table
		steps = append(steps, injectors.Step[state]{Node: who.Nodes[name], Does: s.does(), Undo: undo(pl.sites[name], s.Table), State: *s})
	}
	if len(steps) == 0 {
		return nil, errors.New("it cuts nothing")
	}
	return steps, nil
}

// undo is for people. A table that belongs to a living process can be removed by
// nobody else, so the command ends that process.
func undo(at peers.Site, table string) string {
	return fmt.Sprintf("dapple revert --all # ends the process that holds it, and so it; to look: nsenter --net=%s nft list table inet %s", at.Path, table)
}

// planning is what Plan knows so far.
type planning struct {
	p      Params
	cast   peers.Cast
	ways   []way
	ground ground
	sites  map[string]peers.Site   // of the nodes where a wall is to stand, and others if they can be had
	addrs  map[string][]netip.Addr // of all nodes
	states map[string]*state
}

// walled are the nodes where a wall is to stand.
func (pl *planning) walled() map[string]bool {
	m := map[string]bool{}
	for _, w := range pl.ways {
		if w.to.Node != "" {
			m[w.to.Node] = true
		} else {
			m[w.from.Node] = true
		}
	}
	if slices.Contains(pl.p.Also, alsoDNS) {
		for _, n := range pl.cast.On {
			m[n] = true
		}
	}
	return m
}

// look finds namespaces and addresses.
func (pl *planning) look(ctx context.Context) error {
	walled, involved := pl.walled(), pl.involved()
	var errs []error
	for _, name := range pl.cast.All {
		n := pl.cast.Nodes[name]
		at, err := pl.ground.Stand(ctx, n)
		var addrs []netip.Addr
		if err == nil {
			addrs, err = pl.ground.Addresses(ctx, at)
		}
		switch {
		case err == nil:
			pl.sites[name] = at
		case walled[name]:
			errs = append(errs, fmt.Errorf("node %s: %w", name, err))
			continue
		}
		if pl.addrs[name], err = peers.Addresses(ctx, n, addrs); err != nil && involved[name] {
			errs = append(errs, fmt.Errorf("node %s: %w", name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	met := map[string]peers.Site{} // those that matter
	for name, at := range pl.sites {
		if involved[name] || walled[name] {
			met[name] = at
		}
	}
	return peers.Apart(pl.cast.All, met, walled)
}

func (pl *planning) involved() map[string]bool {
	m := map[string]bool{}
	for _, w := range pl.ways {
		m[w.from.Node], m[w.to.Node] = true, true
	}
	delete(m, "")
	return m
}

// build makes the states.
func (pl *planning) build() error {
	for name := range pl.walled() {
		at := pl.sites[name]
		s := &state{
			NS: at.ID, Mine: pl.addrs[name], Ports: pl.p.Ports, Proto: pl.p.Proto, What: pl.p.What, Action: pl.p.Action,
			SSH: slices.Contains(pl.p.Also, alsoSSH), Reset: pl.p.Reset,
		}
		s.DNS = slices.Contains(pl.p.Also, alsoDNS) && slices.Contains(pl.cast.On, name)
		pl.states[name] = s
	}
	for _, w := range pl.ways {
		switch {
		case w.from.Node != "" && w.to.Node != "":
			if err := pl.hear(pl.states[w.to.Node], w); err != nil {
				return err
			}
		case w.to.Node != "" && w.from.Clients:
			pl.states[w.to.Node].FromClients = true
		case w.to.Node != "":
			pl.states[w.to.Node].FromNets = append(pl.states[w.to.Node].FromNets, w.from.Net)
		case w.to.Clients:
			pl.states[w.from.Node].ToClients = true
		default:
			pl.states[w.from.Node].ToNets = append(pl.states[w.from.Node].ToNets, w.to.Net)
		}
	}
	for name, s := range pl.states {
		if err := pl.strangers(name, s); err != nil {
			return err
		}
	}
	return nil
}

// hear has the receiver of a way drop what its sender sends.
func (pl *planning) hear(s *state, w way) error {
	p := peer{Name: w.from.Node}
	for _, a := range pl.addrs[w.from.Node] {
		if !slices.Contains(s.Mine, a) { // an address that both have, such as a moving one, tells nothing
			p.Addrs = append(p.Addrs, a)
		}
	}
	if len(p.Addrs) == 0 {
		return fmt.Errorf("nodes %s and %s have the same addresses (%s): they cannot be told apart", w.from, w.to, peers.Join(s.Mine))
	}
	if at, has := pl.sites[p.Name]; has {
		p.Path, p.NS = at.Path, at.ID
	}
	if !slices.ContainsFunc(s.From, func(q peer) bool { return q.Name == p.Name }) {
		s.From = append(s.From, p)
	}
	return nil
}

// strangers finds which machines are no clients, and refuses a network that holds
// a node which is not named: it would be cut too.
func (pl *planning) strangers(name string, s *state) error {
	for other, addrs := range pl.addrs {
		if other == name {
			continue
		}
		for _, a := range addrs {
			if !slices.Contains(s.Mine, a) {
				s.Nodes = append(s.Nodes, a)
			}
			for _, net := range append(slices.Clone(s.FromNets), s.ToNets...) {
				if net.Contains(a) {
					return fmt.Errorf("%s holds node %s (%s): name nodes by their names, and other machines by theirs", peers.Short(net), other, a)
				}
			}
		}
	}
	if !s.FromClients && !s.ToClients {
		s.Nodes = nil
	}
	slices.SortFunc(s.Nodes, netip.Addr.Compare)
	s.Nodes = slices.Compact(s.Nodes)
	return nil
}

// can finds out whether the kernel can do it, by trying in a place of its own.
func (pl *planning) can(ctx context.Context) error {
	able, err := pl.ground.Able(ctx)
	if err != nil {
		return err
	}
	if able.Cut != nil {
		return fmt.Errorf("a table that dies with its holder: %w", able.Cut)
	}
	if pl.p.Action == reject && able.Reject != nil {
		return fmt.Errorf("action reject: %w; use action: drop", able.Reject)
	}
	for _, s := range pl.states {
		if !s.ToClients && len(s.ToNets) == 0 {
			continue
		}
		if s.LeaveBy = leaveDevice; able.Leave != nil || s.Action == reject {
			s.LeaveBy = leaveStack // an answer can be given only there
		}
	}
	return nil
}
