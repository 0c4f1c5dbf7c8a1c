package netem

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/internal/tc"
)

// Plan finds whose packets are meant, which engine can do it, and every reason not
// to. There is one fault for each node of the aim.
func (i *impairer) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	who, err := peers.CastOf(aim.On, aim.Peers)
	if err != nil {
		return nil, err
	}
	far, err := i.p.far(who)
	if err != nil {
		return nil, err
	}
	pl := &planning{i: i, cast: who, far: far, sites: map[string]peers.Site{}, addrs: map[string][]netip.Addr{}}
	if err := pl.look(ctx); err != nil {
		return nil, err
	}
	var steps []injectors.Step[state]
	for _, name := range who.On {
		s, err := pl.state(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", name, err)
		}
		s.Name = peers.TableName(aim.Drill)
		why, err := i.choose(ctx, pl.sites[name], s)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", name, err)
		}
		steps = append(steps, injectors.Step[state]{Node: who.Nodes[name], Does: s.does() + why, Undo: undo(pl.sites[name], *s), State: *s})
	}
	return steps, nil
}

// far are the other ends that the parameters name.
func (p Params) far(c peers.Cast) ([]peers.Member, error) {
	words := p.Peers
	if len(words) == 0 {
		if len(c.All) == len(c.On) {
			return nil, fmt.Errorf("it is aimed at %s, and there is no other node: name peers (clients, or an IP address)", strings.Join(c.On, ", "))
		}
		words = []string{peers.Others}
	}
	list, err := c.Side(words, c.On)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if len(c.On) == 1 && m.Node == c.On[0] {
			return nil, fmt.Errorf("%s is on both ends: its packets to itself go over loopback, which is not touched", m)
		}
	}
	return list, nil
}

// undo is for people. What belongs to a living process can be removed by nobody
// else, so the command ends that process.
func undo(at peers.Site, s state) string {
	if s.Engine != userEngine {
		return fmt.Sprintf("dapple revert --all # to look, and by hand: nsenter --net=%s tc filter show; ip link del %s; tc qdisc del dev DEVICE clsact, if no filter is left there",
			at.Path, strings.Join(tc.Links(s.Name), " and "))
	}
	return fmt.Sprintf("dapple revert --all # ends the process that holds it, and so it; to look: nsenter --net=%s nft list table inet %s", at.Path, s.Name)
}

// planning is what Plan knows so far.
type planning struct {
	i     *impairer
	cast  peers.Cast
	far   []peers.Member
	sites map[string]peers.Site   // of the nodes of the aim, and others if they can be had
	addrs map[string][]netip.Addr // of all nodes
}

// look finds namespaces and addresses.
func (pl *planning) look(ctx context.Context) error {
	hit, involved := map[string]bool{}, map[string]bool{}
	for _, name := range pl.cast.On {
		hit[name], involved[name] = true, true
	}
	for _, m := range pl.far {
		involved[m.Node] = true
	}
	var errs []error
	met := map[string]peers.Site{}
	for _, name := range pl.cast.All {
		n := pl.cast.Nodes[name]
		at, err := pl.i.ground.Stand(ctx, n)
		var seen []netip.Addr
		if err == nil {
			seen, err = pl.i.ground.Addresses(ctx, at)
		}
		switch {
		case err == nil:
			pl.sites[name] = at
			if involved[name] {
				met[name] = at
			}
		case hit[name]:
			errs = append(errs, fmt.Errorf("node %s: %w", name, err))
			continue
		}
		if pl.addrs[name], err = peers.Addresses(ctx, n, seen); err != nil && involved[name] {
			errs = append(errs, fmt.Errorf("node %s: %w", name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return peers.Apart(pl.cast.All, met, hit)
}

// state is what becomes of the packets of one node, but for the engine.
func (pl *planning) state(ctx context.Context, name string) (*state, error) {
	p, at := pl.i.p, pl.sites[name]
	s := &state{NS: at.ID, Mine: pl.addrs[name], Ports: p.Ports, Interface: p.Interface, Direction: p.Direction, Harm: p.impairment(), Queue: queueNumber()}
	for _, m := range pl.far {
		switch {
		case m.Clients:
			s.Clients = true
		case m.Node == "":
			s.Nets = append(s.Nets, m.Net)
		case m.Node != name:
			far, err := pl.peer(m.Node, s.Mine)
			if err != nil {
				return nil, err
			}
			s.Peers = append(s.Peers, far)
		}
	}
	if err := pl.strangers(name, s); err != nil {
		return nil, err
	}
	return s, pl.device(ctx, at, s)
}

// queueNumber is by chance: the kernel refuses one that somebody has.
func queueNumber() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:])                                 // it never fails
	return binary.BigEndian.Uint16(b[:])&0x7ffe | 1<<10<<4 // even, from 16384 to 32766
}

func (pl *planning) peer(name string, mine []netip.Addr) (peer, error) {
	p := peer{Name: name}
	for _, a := range pl.addrs[name] {
		if !slices.Contains(mine, a) { // an address that both have, such as a moving one, tells nothing
			p.Addrs = append(p.Addrs, a)
		}
	}
	if len(p.Addrs) == 0 {
		return p, fmt.Errorf("it and node %s have the same addresses (%s): they cannot be told apart", name, peers.Join(mine))
	}
	if at, has := pl.sites[name]; has {
		p.Path, p.NS = at.Path, at.ID
	}
	return p, nil
}

// strangers finds which machines are no clients, and refuses a network that holds
// a node which is not named: its packets would be met too.
func (pl *planning) strangers(name string, s *state) error {
	for other, addrs := range pl.addrs {
		if other == name {
			continue
		}
		for _, a := range addrs {
			if s.Clients && !slices.Contains(s.Mine, a) {
				s.Nodes = append(s.Nodes, a)
			}
			for _, net := range s.Nets {
				if net.Contains(a) {
					return fmt.Errorf("%s holds node %s (%s): name nodes by their names, and other machines by theirs", peers.Short(net), other, a)
				}
			}
		}
	}
	slices.SortFunc(s.Nodes, netip.Addr.Compare)
	s.Nodes = slices.Compact(s.Nodes)
	return nil
}

// device refuses an interface that is not there.
func (pl *planning) device(ctx context.Context, at peers.Site, s *state) error {
	if s.Interface == "" {
		return nil
	}
	names, err := pl.i.ground.Devices(ctx, at)
	if err != nil {
		return err
	}
	if !slices.Contains(names, s.Interface) {
		return fmt.Errorf("it has no network device called %q: it has %s (loopback is not touched)", s.Interface, strings.Join(names, ", "))
	}
	return nil
}

// choose finds the engine, and says why it is not the kernel's.
func (i *impairer) choose(ctx context.Context, at peers.Site, s *state) (why string, err error) {
	order := []EngineName{kernelEngine, userEngine}
	if s.Harm.onlySlow() {
		order = []EngineName{kernelEngine, bucketEngine, userEngine}
	}
	if i.p.Engine != auto {
		order = []EngineName{i.p.Engine}
	}
	var errs []error
	for _, name := range order {
		s.Engine = name
		e, err := i.engine(*s)
		if err == nil {
			err = e.Able(ctx, at, *s)
		}
		if err == nil {
			if len(errs) > 0 {
				why = fmt.Sprintf(" (%v)", errors.Join(errs...))
			}
			return why, nil
		}
		errs = append(errs, fmt.Errorf("not engine %s: %w", name, err))
	}
	return "", errors.Join(errs...)
}
