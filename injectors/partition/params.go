package partition

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dapple-drills/dapple/internal/peers"
)

// Params is what may stand under "with".
type Params struct {
	Peers   []string   `yaml:"peers" json:"peers,omitempty" jsonschema:"description=Which nodes the ones of 'on' do not hear and are not heard by; the default is all others. Also IP addresses and networks."`
	Extra   []string   `yaml:"extra" json:"extra,omitempty" jsonschema:"description=IP addresses and networks besides: machines that are no nodes of the system\\, such as its etcd."`
	Clients bool       `yaml:"clients" json:"clients,omitempty" jsonschema:"description=yes: also everything that is no node. SSH and name resolution stay; see 'also'."`
	Groups  [][]string `yaml:"groups" json:"groups,omitempty" jsonschema:"description=Groups that do not hear each other\\, instead of 'peers': lists of names of nodes\\, of the words on and others and clients\\, of IP addresses and networks."`
	From    []string   `yaml:"from" json:"from,omitempty" jsonschema:"description=One way: what these send does not arrive at 'to'. As in 'groups'."`
	To      []string   `yaml:"to" json:"to,omitempty" jsonschema:"description=One way: these do not hear 'from'. As in 'groups'."`
	Shape   Shape      `yaml:"shape" json:"shape,omitempty" jsonschema:"default=split,enum=split,enum=bridge,enum=ring,description=split: two sides. bridge: the others are two halves\\, which only the node of 'on' hears. ring: every node hears a majority\\, and no two the same."`
	Ports   []Ports    `yaml:"ports" json:"ports,omitempty" jsonschema:"description=Only connections with one of these ports at either end: 5432 or 8000-8100."`
	Proto   Proto      `yaml:"proto" json:"proto,omitempty" jsonschema:"default=any,enum=any,enum=tcp,enum=udp,description=Only this protocol."`
	What    What       `yaml:"what" json:"what,omitempty" jsonschema:"default=all,enum=all,enum=new,description=new: TCP connections that are there go on\\, new ones cannot be made."`
	Action  Action     `yaml:"action" json:"action,omitempty" jsonschema:"default=drop,enum=drop,enum=reject,description=drop: silence\\, as of a network that is cut. reject: the answer of a closed port."`
	Also    []Also     `yaml:"also" json:"also,omitempty" jsonschema:"enum=dns,enum=ssh,description=What is never cut unless it is named here: dns (the name server of a container engine at 127.0.0.11) and ssh (TCP port 22\\, with 'clients')."`
	Reset   bool       `yaml:"reset" json:"reset,omitempty" jsonschema:"description=yes: TCP connections across the cut end at once with an error\\, instead of hanging. This cannot be taken back."`
}

func defaults() Params {
	return Params{Shape: split, Proto: anyProto, What: all, Action: drop}
}

// A Shape says who is cut from whom.
type Shape string

const (
	split  Shape = "split"
	bridge Shape = "bridge"
	ring   Shape = "ring"
)

// UnmarshalText reads a shape.
func (s *Shape) UnmarshalText(text []byte) error {
	return peers.Word(s, "shape", text, split, bridge, ring)
}

// A Proto is a protocol above IP.
type Proto string

const (
	anyProto Proto = "any"
	tcp      Proto = "tcp"
	udp      Proto = "udp"
)

// UnmarshalText reads a protocol.
func (p *Proto) UnmarshalText(text []byte) error {
	return peers.Word(p, "proto", text, anyProto, tcp, udp)
}

// What says which packets are meant.
type What string

const (
	all     What = "all"
	onlyNew What = "new"
)

// UnmarshalText reads which packets are meant.
func (w *What) UnmarshalText(text []byte) error { return peers.Word(w, "what", text, all, onlyNew) }

// An Action is what becomes of a packet.
type Action string

const (
	drop   Action = "drop"
	reject Action = "reject"
)

// UnmarshalText reads an action.
func (a *Action) UnmarshalText(text []byte) error { return peers.Word(a, "action", text, drop, reject) }

// Also is what is cut only if it is named.
type Also string

const (
	alsoDNS Also = "dns"
	alsoSSH Also = "ssh"
)

// UnmarshalText reads what else is cut.
func (a *Also) UnmarshalText(text []byte) error { return peers.Word(a, "also", text, alsoDNS, alsoSSH) }

// Ports is one port, "5432", or a range of them, "8000-8100".
type Ports = peers.Ports

// check finds what cannot be, or cannot be together, whatever the system is.
func (p Params) check() error {
	oneWay := len(p.From)+len(p.To) > 0
	sided := len(p.Peers)+len(p.Extra) > 0 || p.Clients
	switch {
	case len(p.Groups) > 0 && (sided || oneWay || p.Shape != split):
		return errors.New("groups say all: peers, extra, clients, from, to and shape cannot stand beside them; in a group, write clients or an IP address")
	case len(p.Groups) == 1:
		return errors.New("one group is cut from nothing: name at least two")
	case oneWay && (sided || p.Shape != split):
		return errors.New("from and to say all: peers, extra, clients and shape cannot stand beside them; in from or to, write clients or an IP address")
	case p.Shape != split && sided:
		return fmt.Errorf("shape %s is made of all nodes: peers, extra and clients cannot stand beside it", p.Shape)
	case p.What == onlyNew && p.Proto == udp:
		return errors.New("what: new goes with TCP only: a UDP packet does not say whether it begins something")
	case p.Reset && p.Proto == udp:
		return errors.New("reset: yes goes with TCP only: UDP has no connections")
	case p.Reset && p.What == onlyNew:
		return errors.New("reset: yes contradicts what: new, which lets connections go on")
	}
	return p.checkWords()
}

func (p Params) checkWords() error {
	for i, g := range p.Groups {
		if len(g) == 0 {
			return fmt.Errorf("groups: the group at place %d is empty", i+1)
		}
	}
	for _, e := range p.Extra {
		if _, err := peers.Network(e); err != nil {
			return fmt.Errorf("extra: %w", err)
		}
	}
	hasClients := p.Clients
	for _, side := range append([][]string{p.Peers, p.From, p.To}, p.Groups...) {
		hasClients = hasClients || slices.Contains(side, peers.Clients)
		if w := peers.Twice(side); w != "" {
			return fmt.Errorf("%q is named twice in one list", w)
		}
	}
	if slices.Contains(p.Also, alsoSSH) && !hasClients {
		return errors.New("also: ssh means the SSH connections of machines that are no nodes: say clients: yes too")
	}
	return nil
}
