package tc

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Where the program keeps things, below its frame pointer.
const (
	atKey   = -28 // the trie's key: 4 bytes of length …
	atFar   = -24 // … and 16 of address
	atIndex = -32 // a key of the state map
	atBytes = -36 // what was read of the packet, up to 4 bytes
)

// Of the kernel's headers.
const (
	skbProtocol    = 16 // offset in struct __sk_buff
	startNet       = 1  // BPF_HDR_START_NET: offsets count from the IP header
	fragmentOffset = 0x1fff
	unread         = 255 // a protocol that nobody has: what follows the header is none
	ndFirst        = 133 // ICMPv6 router solicitation …
	ndLast         = 137 // … to redirect (RFC 4861)
	sshPort        = 22
)

// Registers that a call leaves alone.
const (
	packet   = asm.R6
	payload  = asm.R7 // the offset of what follows the IP header
	protocol = asm.R8 // what it is
	scratch  = asm.R9
)

// program is the filter of one direction. It returns 0 for a packet that is not
// meant, and -1 for one that is: then the filter's action is done.
func program(s Spec, w way, st *steering) asm.Instructions {
	met, far4, far6 := keyMetOut, int32(16), int32(24) // the target's address
	if w == in {
		met, far4, far6 = keyMetIn, 12, 8 // the source's
	}
	return slices.Concat(
		asm.Instructions{asm.Mov.Reg(packet, asm.R1)},
		entry(st.state, keyDeadline),
		asm.Instructions{
			asm.LoadMem(scratch, asm.R0, 0, asm.DWord), asm.FnKtimeGetNs.Call(), asm.JGE.Reg(asm.R0, scratch, "pass"),
			asm.StoreImm(asm.RFP, atKey, 128, asm.Word),
			asm.LoadMem(scratch, packet, skbProtocol, asm.Word),
			asm.JEq.Imm(scratch, bigEndian(unix.ETH_P_IP), "v4"),
			asm.JEq.Imm(scratch, bigEndian(unix.ETH_P_IPV6), "v6"),
			asm.Ja.Label("pass"),
		},
		label("v6"), six(far6),
		label("v4"), four(far4),
		label("far"),
		asm.Instructions{
			asm.LoadMapPtr(asm.R1, st.far.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, atKey), asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "pass"), asm.LoadMem(asm.R1, asm.R0, 0, asm.Word), asm.JEq.Imm(asm.R1, 0, "pass"),
		},
		discovery(), label("kind"), kinds(s.Ports),
		label("meant"), entry(st.state, met),
		asm.Instructions{
			asm.Mov.Imm(asm.R1, 1), asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, -1), asm.Return(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("pass"), asm.Return(),
		})
}

// label is a place to jump to.
func label(name string) asm.Instructions {
	return asm.Instructions{asm.Mov.Reg(packet, packet).WithSymbol(name)}
}

// entry leaves the address of an entry of an array in R0.
func entry(m *ebpf.Map, key uint32) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, atIndex, int64(key), asm.Word),
		asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, atIndex), asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
	}
}

// read copies bytes of the packet to the stack, from an offset after the IP header's
// begin, or after that in base. A packet that is too short passes.
func read(to int16, size int32, offset int32, base ...asm.Register) asm.Instructions {
	p := asm.Instructions{asm.Mov.Imm(asm.R2, offset)}
	for _, r := range base {
		p = append(p, asm.Add.Reg(asm.R2, r))
	}
	return append(p, asm.Mov.Reg(asm.R1, packet), asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, int32(to)),
		asm.Mov.Imm(asm.R4, size), asm.Mov.Imm(asm.R5, startNet), asm.FnSkbLoadBytesRelative.Call(),
		asm.JNE.Imm(asm.R0, 0, "pass"))
}

// six reads an IPv6 header; headers between it and the payload are not followed.
func six(far int32) asm.Instructions {
	return slices.Concat(
		read(atBytes, 1, 6), asm.Instructions{asm.LoadMem(protocol, asm.RFP, atBytes, asm.Byte), asm.Mov.Imm(payload, 40)},
		read(atFar, 16, far), asm.Instructions{asm.Ja.Label("far")})
}

// four reads an IPv4 header. What follows that of a later fragment is not looked at.
func four(far int32) asm.Instructions {
	return slices.Concat(
		read(atBytes, 1, 0), asm.Instructions{asm.LoadMem(payload, asm.RFP, atBytes, asm.Byte), asm.And.Imm(payload, 15), asm.LSh.Imm(payload, 2)},
		read(atBytes, 1, 9), asm.Instructions{asm.LoadMem(protocol, asm.RFP, atBytes, asm.Byte)},
		asm.Instructions{
			asm.StoreImm(asm.RFP, atFar, 0, asm.Word), asm.StoreImm(asm.RFP, atFar+4, 0, asm.Word),
			asm.StoreImm(asm.RFP, atFar+8, 0, asm.Half), asm.StoreImm(asm.RFP, atFar+10, -1, asm.Half),
		},
		read(atFar+12, 4, far),
		read(atBytes, 2, 6), half(scratch, atBytes),
		asm.Instructions{
			asm.And.Imm(scratch, fragmentOffset), asm.JEq.Imm(scratch, 0, "far"), asm.Mov.Imm(protocol, unread),
		})
}

// half loads two bytes that are in the network's order.
func half(to asm.Register, at int16) asm.Instructions {
	return asm.Instructions{asm.LoadMem(to, asm.RFP, at, asm.Half), asm.HostTo(asm.BE, to, asm.Half)}
}

// discovery passes what machines of one link find each other by.
func discovery() asm.Instructions {
	return slices.Concat(
		asm.Instructions{asm.JNE.Imm(protocol, unix.IPPROTO_ICMPV6, "kind")},
		read(atBytes, 1, 0, payload),
		asm.Instructions{
			asm.LoadMem(asm.R1, asm.RFP, atBytes, asm.Byte), asm.JLT.Imm(asm.R1, ndFirst, "kind"), asm.JLE.Imm(asm.R1, ndLast, "pass"),
		})
}

// kinds goes on to "meant", or to "pass", by protocol and ports.
func kinds(ports []Range) asm.Instructions {
	p := asm.Instructions{asm.JEq.Imm(protocol, unix.IPPROTO_TCP, "ports")}
	if len(ports) == 0 {
		p = append(p, asm.Ja.Label("meant"))
	} else {
		p = append(p, asm.JNE.Imm(protocol, unix.IPPROTO_UDP, "pass"))
	}
	p = slices.Concat(p, label("ports"), read(atBytes, 4, 0, payload), half(asm.R1, atBytes), half(asm.R2, atBytes+2))
	if !slices.ContainsFunc(ports, func(r Range) bool { return r.Lo <= sshPort && sshPort <= r.Hi }) {
		p = append(p, asm.JNE.Imm(protocol, unix.IPPROTO_TCP, "ranges"), asm.JEq.Imm(asm.R1, sshPort, "pass"), asm.JEq.Imm(asm.R2, sshPort, "pass"))
	}
	p = append(p, label("ranges")...)
	for i, r := range ports {
		for _, end := range []asm.Register{asm.R1, asm.R2} {
			next := fmt.Sprint("not in range ", i, end)
			p = append(p, asm.JLT.Imm(end, int32(r.Lo), next), asm.JLE.Imm(end, int32(r.Hi), "meant"))
			p = append(p, label(next)...)
		}
	}
	if len(ports) > 0 {
		p = append(p, asm.Ja.Label("pass"))
	}
	return p
}

// bigEndian is a number of the network's order, as the machine reads it.
func bigEndian(n uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n)))
}
