package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A Part is one statement or match of a rule, as one or more expressions. Rules
// use the registers 1 and 2 of 16 bytes between the expressions of one part only.
type Part []attr

// reg is the register that parts use (NFT_REG_1).
const reg = unix.NFT_REG_1

// The verdicts that need no chain (linux/netfilter.h; nf_tables.h).
const (
	drop     int32 = 0
	accept   int32 = 1
	jump     int32 = -3
	goTo     int32 = -4
	loopback       = 1 // the index of lo in every network namespace (net/core/dev.c)
)

func expr(name string, attrs ...attr) attr {
	return nest(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, name), nest(unix.NFTA_EXPR_DATA, attrs...))
}

func data(kind uint16, v []byte) attr { return nest(kind, raw(unix.NFTA_DATA_VALUE, v)) }

func meta(key uint32) attr {
	return expr("meta", num32(unix.NFTA_META_KEY, key), num32(unix.NFTA_META_DREG, reg))
}

func compare(v []byte) attr {
	return expr("cmp", num32(unix.NFTA_CMP_SREG, reg), num32(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ), data(unix.NFTA_CMP_DATA, v))
}

func load(base, offset, size uint32) attr {
	return expr("payload", num32(unix.NFTA_PAYLOAD_DREG, reg), num32(unix.NFTA_PAYLOAD_BASE, base),
		num32(unix.NFTA_PAYLOAD_OFFSET, offset), num32(unix.NFTA_PAYLOAD_LEN, size))
}

func mask(m []byte) attr {
	return expr("bitwise", num32(unix.NFTA_BITWISE_SREG, reg), num32(unix.NFTA_BITWISE_DREG, reg),
		num32(unix.NFTA_BITWISE_LEN, uint32(len(m))), data(unix.NFTA_BITWISE_MASK, m), data(unix.NFTA_BITWISE_XOR, make([]byte, len(m))))
}

func lookup(s Set, flags uint32) attr {
	return expr("lookup", text(unix.NFTA_LOOKUP_SET, s.Name), num32(unix.NFTA_LOOKUP_SREG, reg),
		num32(unix.NFTA_LOOKUP_SET_ID, s.ID), num32(unix.NFTA_LOOKUP_FLAGS, flags))
}

func verdict(code int32, chain string) Part {
	v := []attr{num32(unix.NFTA_VERDICT_CODE, uint32(code))}
	if chain != "" {
		v = append(v, text(unix.NFTA_VERDICT_CHAIN, chain))
	}
	return Part{expr("immediate", num32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT),
		nest(unix.NFTA_IMMEDIATE_DATA, nest(unix.NFTA_DATA_VERDICT, v...)))}
}

// counter is the expression without its place in a list, as sets take it.
func counter() []attr {
	return []attr{text(unix.NFTA_EXPR_NAME, "counter"), nest(unix.NFTA_EXPR_DATA, num64(unix.NFTA_COUNTER_BYTES, 0), num64(unix.NFTA_COUNTER_PACKETS, 0))}
}

// Count counts the packets that got this far.
func Count() Part { return Part{nest(unix.NFTA_LIST_ELEM, counter()...)} }

// Accept lets the packet pass this base chain.
func Accept() Part { return verdict(accept, "") }

// Drop takes the packet away.
func Drop() Part { return verdict(drop, "") }

// Jump goes on in another chain, and comes back.
func Jump(chain string) Part { return verdict(jump, chain) }

// Goto goes on in another chain for good.
func Goto(chain string) Part { return verdict(goTo, chain) }

// Reset answers a TCP packet as a closed port does, and drops it.
func Reset() Part { return reject(unix.NFT_REJECT_TCP_RST, 0) }

// Unreachable answers with the ICMP or ICMPv6 message "port unreachable", and
// drops the packet.
func Unreachable() Part {
	return reject(unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_PORT_UNREACH)
}

func reject(kind, code uint32) Part {
	return Part{expr("reject", num32(rejectType, kind), raw(rejectCode, []byte{byte(code)}))}
}

// Without matches while key is not in the set.
func Without(s Set, key []byte) Part {
	return Part{
		expr("immediate", num32(unix.NFTA_IMMEDIATE_DREG, reg), data(unix.NFTA_IMMEDIATE_DATA, key)),
		lookup(s, unix.NFT_LOOKUP_F_INV),
	}
}

// FromLoopback matches what arrives over lo: the node talks to itself.
func FromLoopback() Part {
	return Part{meta(unix.NFT_META_IIF), compare(binary.NativeEndian.AppendUint32(nil, loopback))}
}

// ToLoopback matches what is sent over lo.
func ToLoopback() Part {
	return Part{meta(unix.NFT_META_OIF), compare(binary.NativeEndian.AppendUint32(nil, loopback))}
}

// Hand hands the packet to the queue of that number. Without a program that reads
// it, the packet goes on as if the rule were not there. byTarget uses the target
// of xtables by the same name, for kernels whose nf_tables has no queue of its own.
func Hand(number uint16, byTarget bool) Part {
	const bypass = 1 // NFT_QUEUE_FLAG_BYPASS, NFQ_FLAG_BYPASS
	if byTarget {
		// struct xt_NFQ_info_v3: queue, how many, flags
		info := binary.NativeEndian.AppendUint16(nil, number)
		info = binary.NativeEndian.AppendUint16(info, 1)
		info = binary.NativeEndian.AppendUint16(info, bypass)
		return Part{expr("target", text(targetName, "NFQUEUE"), num32(targetRevision, 3), raw(targetInfo, append(info, 0, 0)))}
	}
	num16 := func(kind, v uint16) attr { return raw(kind, binary.BigEndian.AppendUint16(nil, v)) }
	return Part{expr("queue", num16(unix.NFTA_QUEUE_NUM, number), num16(unix.NFTA_QUEUE_TOTAL, 1), num16(unix.NFTA_QUEUE_FLAGS, bypass))}
}

// Tagged matches packets whose priority is between lo and hi.
func Tagged(lo, hi uint32) Part {
	be := binary.BigEndian.AppendUint32
	return Part{
		meta(unix.NFT_META_PRIORITY),
		expr("byteorder", num32(unix.NFTA_BYTEORDER_SREG, reg), num32(unix.NFTA_BYTEORDER_DREG, reg), num32(unix.NFTA_BYTEORDER_OP, unix.NFT_BYTEORDER_HTON),
			num32(unix.NFTA_BYTEORDER_LEN, 4), num32(unix.NFTA_BYTEORDER_SIZE, 4)),
		expr("range", num32(unix.NFTA_RANGE_SREG, reg), num32(unix.NFTA_RANGE_OP, unix.NFT_RANGE_EQ),
			data(unix.NFTA_RANGE_FROM_DATA, be(nil, lo)), data(unix.NFTA_RANGE_TO_DATA, be(nil, hi))),
	}
}

// Through matches packets that come, or leave, by the device of that name; unless
// leaving is meant, they come.
func Through(device string, leaving Side) Part {
	key := uint32(unix.NFT_META_IIFNAME)
	if leaving == Target {
		key = unix.NFT_META_OIFNAME
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return Part{meta(key), compare(name)}
}

// A Side is one end of a packet.
type Side int

// The ends of a packet.
const (
	Source Side = iota
	Target
)

// address loads an address of the packet if it is of the version that has size
// bytes. Offsets are those of the IP headers (RFC 791, RFC 8200).
func (s Side) address(size int) []attr {
	protocol, offset := uint16(unix.ETH_P_IP), uint32(12)
	if size == 16 {
		protocol, offset = unix.ETH_P_IPV6, 8
	}
	if s == Target {
		offset += uint32(size)
	}
	return []attr{
		meta(unix.NFT_META_PROTOCOL), compare(binary.BigEndian.AppendUint16(nil, protocol)),
		load(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, uint32(size)),
	}
}

// In matches packets whose address on that side is in the set.
func (s Side) In(set Set) Part { return append(s.address(int(set.Key.size)), lookup(set, 0)) }

// Within matches packets whose address on that side begins with the bits of net.
func (s Side) Within(net []byte, bits int) Part {
	m, masked := make([]byte, len(net)), make([]byte, len(net))
	for i := range m {
		for b := range 8 {
			if i*8+b < bits {
				m[i] |= 0x80 >> b
			}
		}
		masked[i] = net[i] & m[i]
	}
	return append(s.address(len(net)), mask(m), compare(masked))
}

// Ports matches packets whose port on that side is in the set. It must follow a
// Protocol that has ports.
func (s Side) Ports(set Set) Part {
	return Part{load(unix.NFT_PAYLOAD_TRANSPORT_HEADER, uint32(2*s), 2), lookup(set, 0)}
}

// Port matches packets with that port on that side, likewise.
func (s Side) Port(port uint16) Part {
	return Part{load(unix.NFT_PAYLOAD_TRANSPORT_HEADER, uint32(2*s), 2), compare(binary.BigEndian.AppendUint16(nil, port))}
}

// Protocol matches packets of a protocol above IP (unix.IPPROTO_*).
func Protocol(p byte) Part { return Part{meta(unix.NFT_META_L4PROTO), compare([]byte{p})} }

// Opening matches TCP packets that ask for a new connection: SYN without ACK, RST
// and FIN (RFC 9293). It must follow Protocol(TCP).
func Opening() Part {
	const fin, syn, rst, ack = 1, 2, 4, 16
	return Part{load(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1), mask([]byte{fin | syn | rst | ack}), compare([]byte{syn})}
}

// Refusals match the answers of a port that is closed, or rejected: a TCP reset,
// and the messages "destination unreachable" of ICMP (RFC 792, type 3) and ICMPv6
// (RFC 4443, type 1).
func Refusals() []Part {
	const rst = 4
	kind := load(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1)
	return []Part{
		append(Protocol(unix.IPPROTO_TCP), load(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1), mask([]byte{rst}), compare([]byte{rst})),
		append(Protocol(unix.IPPROTO_ICMP), kind, compare([]byte{3})),
		append(Protocol(unix.IPPROTO_ICMPV6), kind, compare([]byte{1})),
	}
}

// NeighbourDiscovery matches the ICMPv6 messages by which machines of one link
// find each other (RFC 4861, types 133 to 137): what ARP does for IPv4.
func NeighbourDiscovery() Part {
	return Part{
		meta(unix.NFT_META_L4PROTO), compare([]byte{unix.IPPROTO_ICMPV6}), load(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1),
		expr("range", num32(unix.NFTA_RANGE_SREG, reg), num32(unix.NFTA_RANGE_OP, unix.NFT_RANGE_EQ),
			data(unix.NFTA_RANGE_FROM_DATA, []byte{133}), data(unix.NFTA_RANGE_TO_DATA, []byte{137})),
	}
}
