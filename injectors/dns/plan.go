package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

// Plan finds the name servers of each node, and every reason not to.
func (l *liar) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	who, err := peers.CastOf(aim.On, aim.Peers)
	if err != nil {
		return nil, err
	}
	sites, acted := map[string]peers.Site{}, map[string]bool{}
	for _, name := range who.On {
		acted[name] = true
	}
	var errs []error
	for _, name := range who.All {
		at, err := l.ground.Stand(ctx, who.Nodes[name])
		switch {
		case err == nil:
			sites[name] = at
		case acted[name]:
			errs = append(errs, fmt.Errorf("node %s: %w", name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := peers.Apart(who.All, sites, acted); err != nil {
		return nil, err
	}
	if err := l.ground.Able(ctx); err != nil {
		return nil, err
	}
	var steps []injectors.Step[state]
	table := peers.TableName(aim.Drill)
	for _, name := range who.On {
		s, err := l.state(ctx, who.Nodes[name], sites[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", name, err))
			continue
		}
		s.Table = table
		steps = append(steps, injectors.Step[state]{Node: who.Nodes[name], Does: s.does(), Undo: undo(sites[name], table), State: s})
	}
	return steps, errors.Join(errs...)
}

// undo is for people. A table that belongs to a living process can be removed by
// nobody else, so the command ends that process.
func undo(at peers.Site, table string) string {
	return fmt.Sprintf("dapple revert --all # ends the process that holds it, and so it; to look: nsenter --net=%s nft list table inet %s", at.Path, table)
}

// state is what is to be done to one node.
func (l *liar) state(ctx context.Context, n targets.Node, at peers.Site) (state, error) {
	s := state{NS: at.ID, Servers: l.p.Servers, Names: l.p.Names, Delay: l.p.Delay, Refuse: l.p.Refuse, Wrong: l.p.Wrong, Drop: l.p.Drop}
	addrs, err := l.ground.Addresses(ctx, at)
	if err != nil {
		return s, err
	}
	if s.Known, err = known(addrs); err != nil {
		return s, err
	}
	resolv, hosts, err := l.ground.Files(ctx, n)
	if err != nil && len(s.Servers) == 0 {
		return s, diag.Hint(fmt.Errorf("finding its name servers: %w", err), "name them with `servers`")
	}
	if err == nil {
		if err := inHosts(hosts, s.Names); err != nil {
			return s, err
		}
	}
	if len(s.Servers) == 0 {
		if s.Servers = nameservers(resolv); len(s.Servers) == 0 {
			return s, diag.Hint(errors.New("its /etc/resolv.conf names no name server"), "name those that its programs ask with `servers`")
		}
	}
	if s.Servers = reachable(s.Servers, addrs); len(s.Servers) == 0 {
		return s, errors.New("its name servers have IPv6 addresses, and the node has none: it asks nobody")
	}
	return s, l.ground.Obstacles(ctx, at)
}

// reachable leaves out the servers of IPv6 where there is none.
func reachable(servers, mine []netip.Addr) []netip.Addr {
	has6 := slices.ContainsFunc(mine, netip.Addr.Is6)
	return slices.DeleteFunc(slices.Clone(servers), func(a netip.Addr) bool { return a.Is6() && !a.IsLoopback() && !has6 })
}

// known is the name under which a name server keeps the name of one of the
// addresses (RFC 1035, "in-addr.arpa").
func known(addrs []netip.Addr) (string, error) {
	for _, a := range addrs {
		if a.IsLinkLocalUnicast() {
			continue
		}
		name, err := dns.ReverseAddr(a.String())
		if err != nil {
			return "", fmt.Errorf("its address %v: %w", a, err)
		}
		return name, nil
	}
	return "1.0.0.127.in-addr.arpa.", nil // it has none: it can ask itself only
}

// nameservers reads a resolv.conf as resolvers do: what is not understood is
// passed over, and the first three count (resolv.conf(5), MAXNS). Addresses with a
// zone are left out: no rule could tell their packets by the address alone.
func nameservers(resolv []byte) (list []netip.Addr) {
	for line := range strings.Lines(string(resolv)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(words[1])
		if err != nil || a.Zone() != "" || a.IsUnspecified() {
			continue
		}
		if a = a.Unmap(); len(list) < 3 && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// inHosts refuses names for which no server is asked.
func inHosts(hosts []byte, names []string) error {
	for line := range strings.Lines(string(hosts)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		for _, w := range words[min(1, len(words)):] {
			for _, n := range names {
				if strings.ToLower(strings.TrimSuffix(w, "."))+"." == n {
					return diag.Hint(fmt.Errorf("names: %s stands in its /etc/hosts as %s: no name server is asked for it", w, words[0]), "take it out of `names`, or out of the file")
				}
			}
		}
	}
	return nil
}
