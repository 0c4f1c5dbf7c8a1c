package partition

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
)

// state is what one node's wall is: all that Inject, Effect and Revert need.
type state struct {
	Table string       `json:"table"`
	NS    kernel.NetNS `json:"ns"`
	// Mine are the node's own addresses: where packets are sent to that are to
	// prove the cut.
	Mine []netip.Addr `json:"mine"`
	// What these send does not arrive.
	From        []peer         `json:"from,omitempty"`
	FromNets    []netip.Prefix `json:"from_nets,omitempty"`
	FromClients bool           `json:"from_clients,omitempty"`
	// What is sent to these does not leave.
	ToNets    []netip.Prefix `json:"to_nets,omitempty"`
	ToClients bool           `json:"to_clients,omitempty"`
	LeaveBy   leaveBy        `json:"leave_by,omitempty"`
	// Nodes are the addresses of all other nodes: they are no clients.
	Nodes []netip.Addr `json:"nodes,omitempty"`

	Ports  []Ports `json:"ports,omitempty"`
	Proto  Proto   `json:"proto"`
	What   What    `json:"what"`
	Action Action  `json:"action"`
	DNS    bool    `json:"dns,omitempty"`
	SSH    bool    `json:"ssh,omitempty"`
	Reset  bool    `json:"reset,omitempty"`
}

// A peer is another node as this one's wall sees it.
type peer struct {
	Name  string       `json:"name"`
	Addrs []netip.Addr `json:"addrs"`
	// Path and NS are its network namespace, from which packets can be sent as
	// it would send them; none if it is not on this machine.
	Path string       `json:"path,omitempty"`
	NS   kernel.NetNS `json:"ns,omitzero"`
}

// A leaveBy says where what leaves is dropped.
type leaveBy string

const (
	leaveDevice leaveBy = "device" // as it leaves: the sender notices nothing
	leaveStack  leaveBy = "stack"  // as it is sent: the sender reads an error, or is refused
)

// able is what the kernel can do; a nil error is yes.
type able struct {
	Cut, Leave, Reject error
}

// A sight is what stands at a site.
type sight struct {
	There   bool
	Lease   time.Duration         // what is left of it; 0: it is over
	Packets map[netip.Addr]uint64 // dropped, by the address of a node
	Nets    map[direction]uint64  // dropped, by what else
	Missing []string              // what of the state is not in the kernel
}

// A direction names a rule of its own: "from 10.0.0.9/32", "to clients".
type direction string

func fromNet(p netip.Prefix) direction { return direction("from " + peers.Short(p)) }
func toNet(p netip.Prefix) direction   { return direction("to " + peers.Short(p)) }

const (
	fromClients direction = "from clients"
	toClients   direction = "to clients"
	toDNS       direction = "to the name server of the engine"
)

// cuts says whether the state cuts anything at all.
func (s state) cuts() bool {
	return len(s.From)+len(s.FromNets)+len(s.ToNets) > 0 || s.FromClients || s.ToClients || s.DNS
}

// does is the state for people.
func (s state) does() string {
	verb := "drops"
	if s.Action == reject {
		verb = "refuses"
	}
	what := "all"
	if s.What == onlyNew {
		what = "new connections"
	}
	if s.Proto != anyProto || len(s.Ports) > 0 {
		what += " of " + s.traffic()
	}
	var from, to []string
	for _, p := range s.From {
		from = append(from, fmt.Sprintf("%s (%s)", p.Name, peers.Join(p.Addrs)))
	}
	for _, n := range s.FromNets {
		from = append(from, peers.Short(n))
	}
	if s.FromClients {
		from = append(from, "whatever is no node")
	}
	for _, n := range s.ToNets {
		to = append(to, peers.Short(n))
	}
	if s.ToClients {
		to = append(to, "whatever is no node")
	}
	var parts []string
	if len(from) > 0 {
		parts = append(parts, fmt.Sprintf("%s on arrival %s from %s", verb, what, strings.Join(from, ", ")))
	}
	if len(to) > 0 {
		how := "as it leaves"
		if s.LeaveBy == leaveStack && s.Action != reject {
			how = "as it is sent (this kernel cannot drop it silently: the sender reads EPERM)"
		}
		parts = append(parts, fmt.Sprintf("%s %s %s to %s", verb, how, what, strings.Join(to, ", ")))
	}
	if s.DNS {
		parts = append(parts, "the engine's name server (127.0.0.11) does not answer")
	}
	if s.Reset {
		parts = append(parts, "established connections are reset")
	}
	return strings.Join(parts, "; ")
}

// traffic names protocol and ports.
func (s state) traffic() string {
	proto := string(s.Proto)
	if s.Proto == anyProto {
		proto = "tcp and udp"
	}
	if len(s.Ports) == 0 {
		return proto
	}
	var ports []string
	for _, p := range s.Ports {
		ports = append(ports, string(p))
	}
	return proto + " port " + strings.Join(ports, ", ")
}
