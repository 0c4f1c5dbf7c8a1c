package netem

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/internal/peers"
)

// sshPort is where SSH servers listen (IANA).
const sshPort = 22

// The sets of the table. Their ids are needed within the transaction only.
func leaseSet() nft.Set { return nft.Set{Name: "lease", ID: 1, Key: nft.Mark(), Timeouts: true} }
func portSet() nft.Set  { return nft.Set{Name: "ports", ID: 2, Key: nft.Port(), Ranges: true} }
func peers4() nft.Set   { return nft.Set{Name: "peers4", ID: 3, Key: nft.IPv4()} }
func peers6() nft.Set   { return nft.Set{Name: "peers6", ID: 4, Key: nft.IPv6()} }
func known4() nft.Set   { return nft.Set{Name: "known4", ID: 5, Key: nft.IPv4()} }
func known6() nft.Set   { return nft.Set{Name: "known6", ID: 6, Key: nft.IPv6()} }

// leaseKey is the one element of the lease.
func leaseKey() []byte { return binary.NativeEndian.AppendUint32(nil, 1) }

func (s state) table() nft.Table { return nft.Table{Family: nft.Inet, Name: s.Name} }

// Packets that have been through the queue are known by their priority (which is
// otherwise for queueing disciplines, and means nothing to them with these values):
// magic, the level of the fault, what became of the packet.
const magic = 0x0da << 20

// events are those that a tag may name, by their number; 0 is none.
var events = []event{"", lost, duplicated, corrupted, reordered, overrun}

// level is the place of the fault among those on one node: packets meet the one
// with the lowest first, and what it sends on must not meet it again.
func (s state) level() uint32 { return uint32(s.Queue/2) % 96 }

// tag is the priority of a packet of which e became.
func (s state) tag(way Direction, e event) uint32 {
	kind := uint32(max(0, slices.Index(events, e)))
	if way == ingress {
		kind |= 0x80
	}
	return magic | s.level()<<12 | kind<<4
}

// queue is the number of the queue of a direction.
func (s state) queue(way Direction) uint16 {
	if way == ingress {
		return s.Queue + 1
	}
	return s.Queue
}

// ways are the directions that are meant.
func (s state) ways() (list []Direction) {
	if s.leaves() {
		list = append(list, egress)
	}
	if s.arrives() {
		list = append(list, ingress)
	}
	return list
}

// counted is the comment of a counting rule.
func counted(way Direction, e event) string { return strings.TrimSpace(string(way) + " " + string(e)) }

// A writer writes the table.
type writer struct {
	b        *nft.Batch
	s        state
	t        nft.Table
	byTarget bool
}

func (w writer) write(lease time.Duration) {
	w.b.AddTable(w.t)
	w.sets(lease)
	for _, way := range w.s.ways() {
		w.far(way)
		w.base(way)
	}
}

func (w writer) sets(lease time.Duration) {
	add := func(set nft.Set, list []nft.Element) {
		if len(list) > 0 {
			w.b.AddSet(w.t, set)
			w.b.AddElements(w.t, set, list)
		}
	}
	add(leaseSet(), []nft.Element{{Key: leaseKey(), Timeout: lease}})
	var ports []nft.Element
	for _, x := range peers.Spans(w.s.Ports) {
		ports = append(ports, nft.PortRange(x.Lo, x.Hi)...)
	}
	add(portSet(), ports)
	for _, set := range []nft.Set{peers4(), peers6()} {
		add(set, nft.Addresses(set, w.s.farAddresses()))
	}
	for _, set := range []nft.Set{known4(), known6()} {
		add(set, nft.Addresses(set, w.s.Nodes))
	}
}

func (s state) farAddresses() (all []netip.Addr) {
	for _, p := range s.Peers {
		all = append(all, p.Addrs...)
	}
	return all
}

// far hands packets to the queue whose other end is meant.
func (w writer) far(way Direction) {
	hand, far, side := "hand-"+string(way), "far-"+string(way), nft.Target
	if way == ingress {
		side = nft.Source
	}
	w.b.AddChain(w.t, hand, nil)
	w.b.AddRule(w.t, hand, counted(way, ""), nft.Count(), nft.Hand(w.s.queue(way), w.byTarget))
	w.b.AddChain(w.t, far, nil)
	for _, set := range []nft.Set{peers4(), peers6()} {
		if len(nft.Addresses(set, w.s.farAddresses())) > 0 {
			w.b.AddRule(w.t, far, "", side.In(set), nft.Goto(hand))
		}
	}
	for _, n := range w.s.Nets {
		w.b.AddRule(w.t, far, "", side.Within(n.Addr().AsSlice(), n.Bits()), nft.Goto(hand))
	}
	if !w.s.Clients {
		return
	}
	for _, set := range []nft.Set{known4(), known6()} {
		if len(nft.Addresses(set, w.s.Nodes)) > 0 {
			w.b.AddRule(w.t, far, "", side.In(set), nft.Accept())
		}
	}
	w.b.AddRule(w.t, far, "", nft.Goto(hand))
}

// base begins a chain that meets packets: none while the lease is over, none that
// have been through the queue, none of the node's with itself, not those by which
// machines of one link find each other (IPv4's ARP does not come by here), not SSH.
func (w writer) base(way Direction) {
	name, h, lo, device := "meet-"+string(way), nft.Sending(), nft.ToLoopback(), nft.Target
	if way == ingress {
		h, lo, device = nft.Arriving(), nft.FromLoopback(), nft.Source
	}
	h.Priority += int32(w.s.level())
	w.b.AddChain(w.t, name, &h)
	w.b.AddRule(w.t, name, "", nft.Without(leaseSet(), leaseKey()), nft.Accept())
	for _, e := range events[1:] {
		end := nft.Accept()
		if e == lost || e == overrun {
			end = nft.Drop()
		}
		w.b.AddRule(w.t, name, counted(way, e), nft.Tagged(w.s.tag(way, e), w.s.tag(way, e)|0xf), nft.Count(), end)
	}
	w.b.AddRule(w.t, name, "", nft.Tagged(magic|w.s.level()<<12, magic|0xfffff), nft.Accept())
	w.b.AddRule(w.t, name, "", lo, nft.Accept())
	w.b.AddRule(w.t, name, "", nft.NeighbourDiscovery(), nft.Accept())
	if len(w.s.Ports) == 0 || !peers.Means(w.s.Ports, sshPort) {
		for _, side := range []nft.Side{nft.Source, nft.Target} {
			w.b.AddRule(w.t, name, "", nft.Protocol(unix.IPPROTO_TCP), side.Port(sshPort), nft.Accept())
		}
	}
	w.meant(name, "far-"+string(way), device)
}

// meant sends the packets that the parameters mean on to a chain.
func (w writer) meant(base, next string, device nft.Side) {
	var through nft.Part
	if w.s.Interface != "" {
		through = nft.Through(w.s.Interface, device)
	}
	if len(w.s.Ports) == 0 {
		w.b.AddRule(w.t, base, "", through, nft.Jump(next))
		return
	}
	for _, p := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		for _, side := range []nft.Side{nft.Source, nft.Target} {
			w.b.AddRule(w.t, base, "", through, nft.Protocol(p), side.Ports(portSet()), nft.Jump(next))
		}
	}
}
