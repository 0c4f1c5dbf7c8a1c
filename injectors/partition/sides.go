package partition

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/peers"
)

// A way is one direction that is cut.
type way struct{ from, to peers.Member }

// ways are all directions that the parameters cut.
func (p Params) ways(c peers.Cast) ([]way, error) {
	switch {
	case len(p.Groups) > 0:
		return p.groupWays(c)
	case len(p.From)+len(p.To) > 0:
		return p.oneWay(c)
	case p.Shape == bridge:
		return bridgeWays(c)
	case p.Shape == ring:
		return ringWays(c)
	}
	return p.splitWays(c)
}

func (p Params) splitWays(c peers.Cast) ([]way, error) {
	words := slices.Clone(p.Peers)
	if len(words) == 0 {
		words = []string{peers.Others}
		if len(c.All) == len(c.On) { // nobody else
			words = nil
		}
	}
	words = append(words, p.Extra...)
	if p.Clients && !slices.Contains(words, peers.Clients) {
		words = append(words, peers.Clients)
	}
	if len(words) == 0 && !slices.Contains(p.Also, alsoDNS) {
		return nil, fmt.Errorf("it is aimed at %s, and there is no other node to cut them from: name peers, extra or clients", strings.Join(c.On, ", "))
	}
	a, err := c.Side([]string{peers.On}, nil)
	if err != nil {
		return nil, err
	}
	b, err := c.Side(words, c.On)
	if err != nil {
		return nil, err
	}
	return cross(a, b)
}

func (p Params) groupWays(c peers.Cast) ([]way, error) {
	var named []string // in some group
	for _, g := range p.Groups {
		named = append(named, c.Spelled(g)...)
	}
	var groups [][]peers.Member
	for _, g := range p.Groups {
		side, err := c.Side(g, named)
		if err != nil {
			return nil, err
		}
		groups = append(groups, side)
	}
	var list []way
	for i, a := range groups {
		for _, b := range groups[i+1:] {
			ways, err := cross(a, b)
			if err != nil {
				return nil, err
			}
			list = append(list, ways...)
		}
	}
	return list, nil
}

// oneWay cuts from one side to the other. The side that is not named is `on`, or,
// if the named one has nodes of `on`, the others.
func (p Params) oneWay(c peers.Cast) ([]way, error) {
	from, to := p.From, p.To
	missing := func(named []string) []string {
		for _, w := range named {
			if w == peers.On || slices.Contains(c.On, w) {
				return []string{peers.Others}
			}
		}
		return []string{peers.On}
	}
	if len(from) == 0 {
		from = missing(to)
	}
	if len(to) == 0 {
		to = missing(from)
	}
	a, err := c.Side(from, c.Spelled(to))
	if err != nil {
		return nil, err
	}
	b, err := c.Side(to, c.Spelled(from))
	if err != nil {
		return nil, err
	}
	ways, err := cross(a, b)
	// cross has both directions of each pair, this one first.
	return slices.DeleteFunc(ways, func(w way) bool { return !slices.Contains(a, w.from) }), err
}

// cross cuts every member of a from every one of b, both ways.
func cross(a, b []peers.Member) ([]way, error) {
	var list []way
	for _, x := range a {
		for _, y := range b {
			switch {
			case x == y:
				return nil, fmt.Errorf("%s is on both sides: a partition of it from itself", x)
			case x.Node == "" && y.Node == "":
				return nil, fmt.Errorf("neither %s nor %s is a node of the system: there is no place where the way between them could be cut", x, y)
			}
			list = append(list, way{x, y}, way{y, x})
		}
	}
	return list, nil
}

// bridgeWays cuts the nodes that are not of `on` into halves (Jepsen's "bridge"):
// the nodes of `on` hear both.
func bridgeWays(c peers.Cast) ([]way, error) {
	var rest []peers.Member
	for _, n := range c.All {
		if !slices.Contains(c.On, n) {
			rest = append(rest, peers.Member{Node: n})
		}
	}
	if len(rest) < 2 {
		return nil, fmt.Errorf("shape bridge takes two nodes besides %s, and there are %d", strings.Join(c.On, ", "), len(rest))
	}
	return cross(rest[:len(rest)/2], rest[len(rest)/2:])
}

// ringWays leaves to each node its neighbours on a ring, as many as make a
// majority with it (Jepsen's "majorities ring").
func ringWays(c peers.Cast) ([]way, error) {
	n := len(c.All)
	if n < 4 {
		return nil, fmt.Errorf("shape ring takes four nodes, and there are %d: on a ring of three everybody hears everybody", n)
	}
	names := slices.Sorted(slices.Values(c.All))
	reach := (n/2 + 1) / 2 // on either side; with itself, a majority of n/2+1 or one more
	var list []way
	for i := range n {
		for j := i + 1; j < n; j++ {
			if min(j-i, n-(j-i)) > reach {
				a, b := peers.Member{Node: names[i]}, peers.Member{Node: names[j]}
				list = append(list, way{a, b}, way{b, a})
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("shape ring cuts nothing between %d nodes", n)
	}
	return list, nil
}
