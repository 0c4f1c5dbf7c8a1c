// Package peers says who is meant by a fault between machines: nodes by their
// names, the clients, single addresses and networks, ports; and where a node's
// network namespace is and which addresses it has there.
//
// It is what the faults of the network have in common. It makes nothing and knows
// no fault.
package peers

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/targets"
)

// The words that a side may hold besides names and addresses.
const (
	On      = "on"      // the nodes that the step is aimed at
	Others  = "others"  // all other nodes
	Clients = "clients" // all that is no node
)

// A Member is one element of a side: a node, a network, or the clients.
type Member struct {
	Node    string
	Net     netip.Prefix
	Clients bool
}

func (m Member) String() string {
	switch {
	case m.Clients:
		return Clients
	case m.Node == "":
		return Short(m.Net)
	}
	return m.Node
}

// A Cast is all nodes of an aim, by name.
type Cast struct {
	On, All []string // in the order of the aim
	Nodes   map[string]targets.Node
}

// CastOf makes a cast of the nodes that are aimed at and of all others.
func CastOf(on, others []targets.Node) (Cast, error) {
	c := Cast{Nodes: map[string]targets.Node{}}
	for i, n := range append(slices.Clone(on), others...) {
		if c.Nodes[n.Name()] != nil {
			return c, fmt.Errorf("two nodes are called %s", n.Name())
		}
		c.Nodes[n.Name()] = n
		c.All = append(c.All, n.Name())
		if i < len(on) {
			c.On = append(c.On, n.Name())
		}
	}
	if len(c.On) == 0 {
		return c, errors.New("it is aimed at no node")
	}
	return c, nil
}

// Spelled are the nodes that words name, besides "others".
func (c Cast) Spelled(words []string) (names []string) {
	for _, w := range words {
		switch {
		case w == On:
			names = append(names, c.On...)
		case c.Nodes[w] != nil:
			names = append(names, w)
		}
	}
	return names
}

// Side resolves words; "others" are all nodes but those of not.
func (c Cast) Side(words, not []string) (list []Member, err error) {
	add := func(m Member) {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	for _, w := range words {
		switch {
		case c.Nodes[w] != nil:
			add(Member{Node: w})
		case w == On:
			for _, n := range c.On {
				add(Member{Node: n})
			}
		case w == Others:
			before := len(list)
			for _, n := range c.All {
				if !slices.Contains(not, n) && !slices.Contains(words, n) {
					add(Member{Node: n})
				}
			}
			if len(list) == before {
				return nil, fmt.Errorf("%q means no node: the nodes are %s", Others, strings.Join(c.All, ", "))
			}
		case w == Clients:
			add(Member{Clients: true})
		default:
			net, err := Network(w)
			if err != nil {
				return nil, fmt.Errorf("no node is called %q, and it is no IP address; nodes: %s; words: %s, %s, %s", w, strings.Join(c.All, ", "), On, Others, Clients)
			}
			add(Member{Net: net})
		}
	}
	return list, nil
}

// Twice is the first word that is in the list more than once, or "".
func Twice(words []string) string {
	seen := map[string]bool{}
	for _, w := range words {
		if seen[w] {
			return w
		}
		seen[w] = true
	}
	return ""
}

// Word reads one of a few words.
func Word[T ~string](into *T, name string, text []byte, known ...T) error {
	if i := slices.Index(known, T(text)); i >= 0 {
		*into = known[i]
		return nil
	}
	var list []string
	for _, k := range known {
		list = append(list, string(k))
	}
	return fmt.Errorf("no %s is called %q: use %s", name, text, strings.Join(list, " or "))
}
