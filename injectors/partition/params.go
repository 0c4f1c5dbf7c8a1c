package partition

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
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
	return word(s, "shape", text, split, bridge, ring)
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
	return word(p, "proto", text, anyProto, tcp, udp)
}

// What says which packets are meant.
type What string

const (
	all     What = "all"
	onlyNew What = "new"
)

// UnmarshalText reads which packets are meant.
func (w *What) UnmarshalText(text []byte) error { return word(w, "what", text, all, onlyNew) }

// An Action is what becomes of a packet.
type Action string

const (
	drop   Action = "drop"
	reject Action = "reject"
)

// UnmarshalText reads an action.
func (a *Action) UnmarshalText(text []byte) error { return word(a, "action", text, drop, reject) }

// Also is what is cut only if it is named.
type Also string

const (
	alsoDNS Also = "dns"
	alsoSSH Also = "ssh"
)

// UnmarshalText reads what else is cut.
func (a *Also) UnmarshalText(text []byte) error { return word(a, "also", text, alsoDNS, alsoSSH) }

// word reads one of a few words.
func word[T ~string](into *T, name string, text []byte, known ...T) error {
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

// Ports is one port, "5432", or a range of them, "8000-8100".
type Ports string

// UnmarshalText reads a port or a range.
func (p *Ports) UnmarshalText(text []byte) error {
	lo, hi, err := Ports(text).bounds()
	if err != nil {
		return err
	}
	*p = Ports(strconv.Itoa(int(lo)))
	if hi != lo {
		*p += Ports("-" + strconv.Itoa(int(hi)))
	}
	return nil
}

// bounds are the first and the last port.
func (p Ports) bounds() (lo, hi uint16, err error) {
	first, last, isRange := strings.Cut(string(p), "-")
	if lo, err = port(first); err != nil {
		return 0, 0, fmt.Errorf("ports %q: %w", string(p), err)
	}
	if !isRange {
		return lo, lo, nil
	}
	if hi, err = port(last); err != nil {
		return 0, 0, fmt.Errorf("ports %q: %w", string(p), err)
	}
	if hi < lo {
		return 0, 0, fmt.Errorf("ports %q: the range is reversed: write %d-%d", string(p), hi, lo)
	}
	return lo, hi, nil
}

func port(text string) (uint16, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port: want a number from 1 to 65535", text)
	}
	return uint16(n), nil
}

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
		if _, err := network(e); err != nil {
			return fmt.Errorf("extra: %w", err)
		}
	}
	hasClients := p.Clients
	for _, side := range append([][]string{p.Peers, p.From, p.To}, p.Groups...) {
		hasClients = hasClients || slices.Contains(side, wordClients)
		seen := map[string]bool{}
		for _, w := range side {
			if seen[w] {
				return fmt.Errorf("%q is named twice in one list", w)
			}
			seen[w] = true
		}
	}
	if slices.Contains(p.Also, alsoSSH) && !hasClients {
		return errors.New("also: ssh means the SSH connections of machines that are no nodes: say clients: yes too")
	}
	return nil
}

// network reads an address or a network.
func network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		if a.Zone() != "" || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
			return netip.Prefix{}, fmt.Errorf("%q is no address of another machine", text)
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an IP address nor a network such as 10.0.0.0/24 or fd00::/64", text)
	}
	switch masked := p.Masked(); {
	case p.Bits() == 0:
		return p, fmt.Errorf("%q is everything: say clients: yes", text)
	case masked != p:
		return p, fmt.Errorf("%q has bits set behind its length: write %s", text, masked)
	}
	return p, nil
}
