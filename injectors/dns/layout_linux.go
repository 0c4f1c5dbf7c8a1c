package dns

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/nft"
)

// port is where name servers are asked (RFC 1035).
const port = 53

// Packets of dapple's own are known by their priority (which is otherwise for
// queueing disciplines, and means nothing to them with these values): ours, and
// those that netem sends on once it has held them back.
const (
	tag      = 0x0db << 20
	firstTag = 0x0da << 20
	lastTag  = tag | 0xfffff
)

const chainSend = "send"

// leaseSet holds the lease. Its id is needed within the transaction only.
func leaseSet() nft.Set { return nft.Set{Name: "lease", ID: 1, Key: nft.Mark(), Timeouts: true} }

// leaseKey is the one element of the lease.
func leaseKey() []byte { return binary.NativeEndian.AppendUint32(nil, 1) }

func (s state) table() nft.Table { return nft.Table{Family: nft.Inet, Name: s.Table} }

// led is the comment of the rule that counts what is led to us.
func led(server netip.Addr, network string) string { return network + " for " + server.String() }

// self is the address at which we stand for a server.
func self(server netip.Addr) netip.Addr {
	if server.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// networks are the two ways to ask, and where we stand for each.
func (x stand) networks(do func(network string, protocol byte, at uint16)) {
	do("udp", unix.IPPROTO_UDP, x.udp.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Port())
	do("tcp", unix.IPPROTO_TCP, x.tcp.Addr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Port())
}

// layout writes the table. What we answer comes from the server that was asked, also
// when the lease is over: it was asked before.
func (s state) layout(b *nft.Batch, lease time.Duration, stands []stand) {
	t, h := s.table(), nft.Rerouting()
	b.AddTable(t)
	b.AddSet(t, leaseSet())
	b.AddElements(t, leaseSet(), []nft.Element{{Key: leaseKey(), Timeout: lease}})
	b.AddChain(t, chainSend, &h)
	for _, x := range stands {
		server, self := x.server.AsSlice(), self(x.server).AsSlice()
		x.networks(func(_ string, protocol byte, at uint16) {
			b.AddRule(t, chainSend, "", nft.Protocol(protocol), nft.Source.Is(self), nft.Source.Port(at),
				nft.Source.SetAddress(server), nft.Source.SetPort(protocol, port), nft.Accept())
		})
	}
	b.AddRule(t, chainSend, "", nft.Without(leaseSet(), leaseKey()), nft.Accept())
	b.AddRule(t, chainSend, "", nft.Tagged(firstTag, lastTag), nft.Accept())
	for _, x := range stands {
		server, self := x.server.AsSlice(), self(x.server).AsSlice()
		x.networks(func(network string, protocol byte, at uint16) {
			b.AddRule(t, chainSend, led(x.server, network), nft.Protocol(protocol), nft.Target.Is(server), nft.Target.Port(port), nft.Count(),
				nft.Target.SetAddress(self), nft.Target.SetPort(protocol, at), nft.Accept())
		})
	}
}
