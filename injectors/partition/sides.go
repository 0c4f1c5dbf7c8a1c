package partition

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// The words that a side may hold besides names and addresses.
const (
	wordOn      = "on"      // the nodes that the step is aimed at
	wordOthers  = "others"  // all other nodes
	wordClients = "clients" // all that is no node
)

// A member is one element of a side: a node, a network, or the clients.
type member struct {
	node    string
	net     netip.Prefix
	clients bool
}

func (m member) String() string {
	switch {
	case m.clients:
		return wordClients
	case m.node == "":
		return short(m.net)
	}
	return m.node
}

// A way is one direction that is cut.
type way struct{ from, to member }

// A cast is all nodes of the aim, by name.
type cast struct {
	on, all []string // in the order of the aim
	nodes   map[string]targets.Node
}

func castOf(aim injectors.Aim) (cast, error) {
	c := cast{nodes: map[string]targets.Node{}}
	for i, n := range append(slices.Clone(aim.On), aim.Peers...) {
		if c.nodes[n.Name()] != nil {
			return c, fmt.Errorf("two nodes are called %s", n.Name())
		}
		c.nodes[n.Name()] = n
		c.all = append(c.all, n.Name())
		if i < len(aim.On) {
			c.on = append(c.on, n.Name())
		}
	}
	if len(c.on) == 0 {
		return c, errors.New("it is aimed at no node")
	}
	return c, nil
}

// ways are all directions that the parameters cut.
func (p Params) ways(c cast) ([]way, error) {
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

func (p Params) splitWays(c cast) ([]way, error) {
	words := slices.Clone(p.Peers)
	if len(words) == 0 {
		words = []string{wordOthers}
		if len(c.all) == len(c.on) { // nobody else
			words = nil
		}
	}
	words = append(words, p.Extra...)
	if p.Clients && !slices.Contains(words, wordClients) {
		words = append(words, wordClients)
	}
	if len(words) == 0 && !slices.Contains(p.Also, alsoDNS) {
		return nil, fmt.Errorf("it is aimed at %s, and there is no other node to cut them from: name peers, extra or clients", strings.Join(c.on, ", "))
	}
	a, err := c.side([]string{wordOn}, nil)
	if err != nil {
		return nil, err
	}
	b, err := c.side(words, c.on)
	if err != nil {
		return nil, err
	}
	return cross(a, b)
}

func (p Params) groupWays(c cast) ([]way, error) {
	var named []string // in some group
	for _, g := range p.Groups {
		named = append(named, c.spelled(g)...)
	}
	var groups [][]member
	for _, g := range p.Groups {
		side, err := c.side(g, named)
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
func (p Params) oneWay(c cast) ([]way, error) {
	from, to := p.From, p.To
	missing := func(named []string) []string {
		for _, w := range named {
			if w == wordOn || slices.Contains(c.on, w) {
				return []string{wordOthers}
			}
		}
		return []string{wordOn}
	}
	if len(from) == 0 {
		from = missing(to)
	}
	if len(to) == 0 {
		to = missing(from)
	}
	a, err := c.side(from, c.spelled(to))
	if err != nil {
		return nil, err
	}
	b, err := c.side(to, c.spelled(from))
	if err != nil {
		return nil, err
	}
	ways, err := cross(a, b)
	// cross has both directions of each pair, this one first.
	return slices.DeleteFunc(ways, func(w way) bool { return !slices.Contains(a, w.from) }), err
}

// spelled are the nodes that words name, besides "others".
func (c cast) spelled(words []string) (names []string) {
	for _, w := range words {
		switch {
		case w == wordOn:
			names = append(names, c.on...)
		case c.nodes[w] != nil:
			names = append(names, w)
		}
	}
	return names
}

// side resolves words; "others" are all nodes but those of not.
func (c cast) side(words, not []string) (list []member, err error) {
	add := func(m member) {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	for _, w := range words {
		switch {
		case c.nodes[w] != nil:
			add(member{node: w})
		case w == wordOn:
			for _, n := range c.on {
				add(member{node: n})
			}
		case w == wordOthers:
			before := len(list)
			for _, n := range c.all {
				if !slices.Contains(not, n) && !slices.Contains(words, n) {
					add(member{node: n})
				}
			}
			if len(list) == before {
				return nil, fmt.Errorf("%q means no node: the nodes are %s", wordOthers, strings.Join(c.all, ", "))
			}
		case w == wordClients:
			add(member{clients: true})
		default:
			net, err := network(w)
			if err != nil {
				return nil, fmt.Errorf("no node is called %q, and it is no IP address; nodes: %s; words: %s, %s, %s", w, strings.Join(c.all, ", "), wordOn, wordOthers, wordClients)
			}
			add(member{net: net})
		}
	}
	return list, nil
}

// cross cuts every member of a from every one of b, both ways.
func cross(a, b []member) ([]way, error) {
	var list []way
	for _, x := range a {
		for _, y := range b {
			switch {
			case x == y:
				return nil, fmt.Errorf("%s is on both sides: a partition of it from itself", x)
			case x.node == "" && y.node == "":
				return nil, fmt.Errorf("neither %s nor %s is a node of the system: there is no place where the way between them could be cut", x, y)
			}
			list = append(list, way{x, y}, way{y, x})
		}
	}
	return list, nil
}

// bridgeWays cuts the nodes that are not of `on` into halves (Jepsen's "bridge"):
// the nodes of `on` hear both.
func bridgeWays(c cast) ([]way, error) {
	var rest []member
	for _, n := range c.all {
		if !slices.Contains(c.on, n) {
			rest = append(rest, member{node: n})
		}
	}
	if len(rest) < 2 {
		return nil, fmt.Errorf("shape bridge takes two nodes besides %s, and there are %d", strings.Join(c.on, ", "), len(rest))
	}
	return cross(rest[:len(rest)/2], rest[len(rest)/2:])
}

// ringWays leaves to each node its neighbours on a ring, as many as make a
// majority with it (Jepsen's "majorities ring").
func ringWays(c cast) ([]way, error) {
	n := len(c.all)
	if n < 4 {
		return nil, fmt.Errorf("shape ring takes four nodes, and there are %d: on a ring of three everybody hears everybody", n)
	}
	names := slices.Sorted(slices.Values(c.all))
	reach := (n/2 + 1) / 2 // on either side; with itself, a majority of n/2+1 or one more
	var list []way
	for i := range n {
		for j := i + 1; j < n; j++ {
			if min(j-i, n-(j-i)) > reach {
				a, b := member{node: names[i]}, member{node: names[j]}
				list = append(list, way{a, b}, way{b, a})
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("shape ring cuts nothing between %d nodes", n)
	}
	return list, nil
}
