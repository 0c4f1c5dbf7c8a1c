package partition

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/internal/peers"
)

// sshPort is where SSH servers listen (IANA).
const sshPort = 22

// The names within a table.
const (
	chainArrive = "arrive"
	chainFrom   = "from"
	chainLeave  = "leave"
	chainTo     = "to"
	chainEnd    = "end"
)

// The sets of a table. Their ids are needed within the transaction only.
func leaseSet() nft.Set { return nft.Set{Name: "lease", ID: 1, Key: nft.Mark(), Timeouts: true} }
func portSet() nft.Set  { return nft.Set{Name: "ports", ID: 2, Key: nft.Port(), Ranges: true} }
func nodes4() nft.Set   { return nft.Set{Name: "nodes4", ID: 3, Key: nft.IPv4(), Counting: true} }
func nodes6() nft.Set   { return nft.Set{Name: "nodes6", ID: 4, Key: nft.IPv6(), Counting: true} }
func known4() nft.Set   { return nft.Set{Name: "known4", ID: 5, Key: nft.IPv4()} }
func known6() nft.Set   { return nft.Set{Name: "known6", ID: 6, Key: nft.IPv6()} }

// leaseKey is the one element of the lease.
func leaseKey() []byte { return binary.NativeEndian.AppendUint32(nil, 1) }

func (s state) table() nft.Table { return nft.Table{Family: nft.Inet, Name: s.Table} }

// tables are those that the state is made of.
func (s state) tables() []nft.Table {
	list := []nft.Table{s.table()}
	if s.LeaveBy == leaveDevice {
		list = append(list, nft.Table{Family: nft.Netdev, Name: s.Table})
	}
	return list
}

// nodeSets are the sets that count what nodes sent.
func (s state) nodeSets() (list []nft.Set) {
	for _, set := range []nft.Set{nodes4(), nodes6()} {
		if len(s.nodeElements(set)) > 0 {
			list = append(list, set)
		}
	}
	return list
}

func (s state) nodeElements(set nft.Set) []nft.Element {
	var all []netip.Addr
	for _, p := range s.From {
		all = append(all, p.Addrs...)
	}
	return nft.Addresses(set, all)
}

// directions are the rules that count by themselves.
func (s state) directions() (list []direction) {
	for _, n := range s.FromNets {
		list = append(list, fromNet(n))
	}
	for _, n := range s.ToNets {
		list = append(list, toNet(n))
	}
	if s.FromClients {
		list = append(list, fromClients)
	}
	if s.ToClients {
		list = append(list, toClients)
	}
	if s.DNS {
		list = append(list, toDNS)
	}
	return list
}

// layout writes the tables.
func (s state) layout(b *nft.Batch, lease time.Duration, devices []string) {
	for _, t := range s.tables() {
		b.AddTable(t)
		w := writer{b, s, t}
		w.sets(lease)
		w.end()
		switch {
		case t.Family == nft.Netdev:
			w.leave(nft.Leaving(devices...))
		default:
			w.arrive()
			if s.LeaveBy == leaveStack {
				w.leave(nft.Sending())
			}
		}
	}
}

// A writer writes one table.
type writer struct {
	b *nft.Batch
	s state
	t nft.Table
}

func (w writer) sets(lease time.Duration) {
	add := func(set nft.Set, list []nft.Element) {
		if len(list) > 0 {
			w.b.AddSet(w.t, set)
			w.b.AddElements(w.t, set, list)
		}
	}
	add(leaseSet(), []nft.Element{{Key: leaseKey(), Timeout: lease}})
	add(portSet(), portElements(w.s.Ports))
	if w.t.Family == nft.Inet {
		for _, set := range w.s.nodeSets() {
			add(set, w.s.nodeElements(set))
		}
	}
	for _, set := range []nft.Set{known4(), known6()} {
		add(set, nft.Addresses(set, w.s.Nodes))
	}
}

// portElements are the ranges of ports: those of a set must not overlap.
func portElements(ports []Ports) (list []nft.Element) {
	for _, x := range peers.Spans(ports) {
		list = append(list, nft.PortRange(x.Lo, x.Hi)...)
	}
	return list
}

// end is where packets end.
func (w writer) end() {
	w.b.AddChain(w.t, chainEnd, nil)
	if w.s.Action == reject && w.t.Family == nft.Inet {
		w.b.AddRule(w.t, chainEnd, "", nft.Protocol(unix.IPPROTO_TCP), nft.Reset())
		w.b.AddRule(w.t, chainEnd, "", nft.Unreachable())
	}
	w.b.AddRule(w.t, chainEnd, "", nft.Drop())
}

// base begins a chain that meets packets: none while the lease is over, none of
// the node's with itself, and not those by which machines of one link find each
// other (IPv4's ARP does not come by here; without IPv6's, programs would be told
// "no route to host", which a network that is cut further away does not say).
func (w writer) base(name string, h nft.Hook, self nft.Part) {
	w.b.AddChain(w.t, name, &h)
	w.b.AddRule(w.t, name, "", nft.Without(leaseSet(), leaseKey()), nft.Accept())
	if w.s.DNS && name == chainArrive {
		w.b.AddRule(w.t, name, string(toDNS), nft.Target.Within([]byte{127, 0, 0, 11}, 32), nft.Count(), nft.Goto(chainEnd))
	}
	if self != nil {
		w.b.AddRule(w.t, name, "", self, nft.Accept())
	}
	w.b.AddRule(w.t, name, "", nft.NeighbourDiscovery(), nft.Accept())
	if w.s.Action == reject {
		// The refusals of the other side must arrive, or nobody is told.
		for _, refusal := range nft.Refusals() {
			w.b.AddRule(w.t, name, "", refusal, nft.Accept())
		}
	}
}

// meant sends the packets that the parameters mean on to a chain.
func (w writer) meant(base, next string) {
	protocols := map[Proto][]byte{tcp: {unix.IPPROTO_TCP}, udp: {unix.IPPROTO_UDP}, anyProto: {unix.IPPROTO_TCP, unix.IPPROTO_UDP}}[w.s.Proto]
	if w.s.What == onlyNew {
		protocols = []byte{unix.IPPROTO_TCP}
	}
	if w.s.Proto == anyProto && len(w.s.Ports) == 0 && w.s.What == all {
		w.b.AddRule(w.t, base, "", nft.Jump(next))
		return
	}
	for _, p := range protocols {
		parts := []nft.Part{nft.Protocol(p)}
		if w.s.What == onlyNew {
			parts = append(parts, nft.Opening())
		}
		if len(w.s.Ports) == 0 {
			w.b.AddRule(w.t, base, "", append(parts, nft.Jump(next))...)
			continue
		}
		for _, side := range []nft.Side{nft.Source, nft.Target} {
			w.b.AddRule(w.t, base, "", append(slices.Clone(parts), side.Ports(portSet()), nft.Jump(next))...)
		}
	}
}

func (w writer) arrive() {
	w.b.AddChain(w.t, chainFrom, nil)
	for _, set := range w.s.nodeSets() {
		w.b.AddRule(w.t, chainFrom, "", nft.Source.In(set), nft.Goto(chainEnd))
	}
	for _, n := range w.s.FromNets {
		w.net(chainFrom, nft.Source, n, string(fromNet(n)))
	}
	if w.s.FromClients {
		w.clients(chainFrom, nft.Source, string(fromClients))
	}
	w.base(chainArrive, nft.Arriving(), nft.FromLoopback())
	w.meant(chainArrive, chainFrom)
}

func (w writer) leave(h nft.Hook) {
	w.b.AddChain(w.t, chainTo, nil)
	for _, n := range w.s.ToNets {
		w.net(chainTo, nft.Target, n, string(toNet(n)))
	}
	if w.s.ToClients {
		w.clients(chainTo, nft.Target, string(toClients))
	}
	var self nft.Part
	if w.t.Family == nft.Inet {
		self = nft.ToLoopback()
	}
	w.base(chainLeave, h, self)
	w.meant(chainLeave, chainTo)
}

func (w writer) net(chain string, side nft.Side, p netip.Prefix, comment string) {
	w.b.AddRule(w.t, chain, comment, side.Within(p.Addr().AsSlice(), p.Bits()), nft.Count(), nft.Goto(chainEnd))
}

// clients ends what is exchanged with machines that are no nodes.
func (w writer) clients(chain string, far nft.Side, comment string) {
	near := nft.Target
	if far == nft.Target {
		near = nft.Source
	}
	for _, set := range []nft.Set{known4(), known6()} {
		if len(nft.Addresses(set, w.s.Nodes)) > 0 {
			w.b.AddRule(w.t, chain, "", far.In(set), nft.Accept())
		}
	}
	if !w.s.SSH {
		w.b.AddRule(w.t, chain, "", nft.Protocol(unix.IPPROTO_TCP), near.Port(sshPort), nft.Accept())
	}
	for _, any := range [][]byte{make([]byte, 4), make([]byte, 16)} {
		w.b.AddRule(w.t, chain, comment, far.Within(any, 0), nft.Count(), nft.Goto(chainEnd))
	}
}
