package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nf_tables.h that package unix lacks.
const (
	payloadSource   = 5 // NFTA_PAYLOAD_SREG
	payloadSumType  = 6 // NFTA_PAYLOAD_CSUM_TYPE
	payloadSumAt    = 7 // NFTA_PAYLOAD_CSUM_OFFSET
	payloadSumFlags = 8 // NFTA_PAYLOAD_CSUM_FLAGS

	sumInet   = 1 // NFT_PAYLOAD_CSUM_INET: the sum of RFC 1071
	sumPseudo = 1 // NFT_PAYLOAD_L4CSUM_PSEUDOHDR: the one that counts the addresses too
)

// store writes what is in the register into the packet, and mends the sum at sumAt,
// if there is one, and those that flags name.
func store(base, offset, size, sumType, sumAt, flags uint32) attr {
	return expr("payload", num32(payloadSource, reg), num32(unix.NFTA_PAYLOAD_BASE, base),
		num32(unix.NFTA_PAYLOAD_OFFSET, offset), num32(unix.NFTA_PAYLOAD_LEN, size),
		num32(payloadSumType, sumType), num32(payloadSumAt, sumAt), num32(payloadSumFlags, flags))
}

func constant(v []byte) attr {
	return expr("immediate", num32(unix.NFTA_IMMEDIATE_DREG, reg), data(unix.NFTA_IMMEDIATE_DATA, v))
}

// Is matches packets that have exactly the address on that side.
func (s Side) Is(address []byte) Part { return s.Within(address, 8*len(address)) }

// SetAddress has the packet, which must be of the same version of IP, come from or
// go to another address. Nothing is remembered of it: what is answered has to be
// set right by a rule too. Offsets are those of the IP headers (RFC 791, RFC 8200).
func (s Side) SetAddress(address []byte) Part {
	size := uint32(len(address))
	offset, sumType, sumAt := uint32(12), uint32(sumInet), uint32(10)
	if size == 16 {
		offset, sumType, sumAt = 8, 0, 0 // IPv6 has no sum of its own
	}
	if s == Target {
		offset += size
	}
	return Part{constant(address), store(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size, sumType, sumAt, sumPseudo)}
}

// SetPort likewise sets a port. It must follow Protocol(protocol), which is TCP or
// UDP.
func (s Side) SetPort(protocol byte, port uint16) Part {
	sumAt := uint32(16) // RFC 9293
	if protocol == unix.IPPROTO_UDP {
		sumAt = 6 // RFC 768
	}
	return Part{constant(binary.BigEndian.AppendUint16(nil, port)),
		store(unix.NFT_PAYLOAD_TRANSPORT_HEADER, uint32(2*s), 2, sumInet, sumAt, 0)}
}
