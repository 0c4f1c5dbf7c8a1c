package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// sendFrame hands a packet to a device as if the stack had routed it there. What a
// program sends to a machine that cannot be found (no route, nobody answers ARP)
// never gets to the device, where the wall is; this does.
func sendFrame(x shot, source netip.Addr) (fd int, err error) {
	device, err := firstDevice()
	if err != nil {
		return -1, err
	}
	protocol := uint16(unix.ETH_P_IP)
	if x.to.Addr().Is6() {
		protocol = unix.ETH_P_IPV6
	}
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	to := &unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol)), Ifindex: device, Halen: 6,
		// An address that no machine has: a locally administered one (IEEE 802).
		Addr: [8]byte{0x02, 'd', 'a', 'p', 'p', 'l'},
	}
	return fd, sendError(x, unix.Sendto(fd, packet(x, source), 0, to))
}

func firstDevice() (index int, err error) {
	list, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("listing network devices: %w", err)
	}
	for _, l := range list {
		if l.Flags&net.FlagLoopback == 0 && l.Flags&net.FlagUp != 0 {
			return l.Index, nil
		}
	}
	return 0, errors.New("it has no network device that is up")
}

// sourcePort is where our packets say that they come from: one that programs get
// by chance and that no service has (IANA, dynamic ports).
const sourcePort = 61999

// packet is a UDP datagram, or the first packet of a TCP connection (RFC 768, 9293,
// 791, 8200). Its checksums above IP are left out: nobody is to read it.
func packet(x shot, source netip.Addr) []byte {
	inner := make([]byte, 8, 20+len(payload))
	protocol := byte(unix.IPPROTO_UDP)
	if x.proto == tcp {
		protocol, inner = unix.IPPROTO_TCP, inner[:20]
		inner[12], inner[13] = 5<<4, 2 // five words of header, SYN
	} else {
		inner = append(inner, payload...)
		binary.BigEndian.PutUint16(inner[4:], uint16(len(inner)))
	}
	binary.BigEndian.PutUint16(inner, sourcePort)
	binary.BigEndian.PutUint16(inner[2:], x.to.Port())
	if x.to.Addr().Is6() {
		head := make([]byte, 40)
		head[0], head[6], head[7] = 6<<4, protocol, 64
		binary.BigEndian.PutUint16(head[4:], uint16(len(inner)))
		copy(head[8:], source.AsSlice())
		copy(head[24:], x.to.Addr().AsSlice())
		return append(head, inner...)
	}
	head := make([]byte, 20)
	head[0], head[8], head[9] = 4<<4|5, 64, protocol
	binary.BigEndian.PutUint16(head[2:], uint16(len(head)+len(inner)))
	copy(head[12:], source.AsSlice())
	copy(head[16:], x.to.Addr().AsSlice())
	var sum uint32
	for i := 0; i < len(head); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(head[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(head[10:], ^uint16(sum))
	return append(head, inner...)
}
