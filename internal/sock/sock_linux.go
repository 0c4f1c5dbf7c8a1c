package sock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// Destroy ends the TCP connections inside the network namespace at path for which
// match says so, and returns how many: the program there reads ECONNABORTED, and
// the other end gets a reset if the way to it is open. It takes CAP_NET_ADMIN and
// CONFIG_INET_DIAG_DESTROY.
func Destroy(path string, match func(local, remote netip.AddrPort) bool) (ended int, err error) {
	err = kernel.InNetNS(path, func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			n, err := destroy(family, match)
			ended += n
			if err != nil {
				return err
			}
		}
		return nil
	})
	return ended, err
}

// open says whether a connection of that state has someone to be told of its end
// (include/net/tcp_states.h): not TIME_WAIT, CLOSE, LISTEN.
func open(state uint8) bool { return state != 6 && state != 7 && state != 10 }

func destroy(family uint8, match func(local, remote netip.AddrPort) bool) (ended int, err error) {
	sockets, err := netlink.SocketDiagTCP(family)
	if err != nil {
		return 0, fmt.Errorf("listing TCP connections: %w", err)
	}
	for _, s := range sockets {
		if s == nil || !open(s.State) || !match(end(s.ID.Source, s.ID.SourcePort), end(s.ID.Destination, s.ID.DestinationPort)) {
			continue
		}
		q := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
		q.AddData(request{family, s.ID})
		_, err := q.Execute(unix.NETLINK_INET_DIAG, 0)
		switch {
		case errors.Is(err, unix.ENOENT): // it ended meanwhile
		case errors.Is(err, unix.EOPNOTSUPP):
			return ended, fmt.Errorf("ending a TCP connection: this kernel has no CONFIG_INET_DIAG_DESTROY: %w: %w", targets.ErrUnsupported, err)
		case err != nil:
			return ended, fmt.Errorf("ending the TCP connection to %v: %w", end(s.ID.Destination, s.ID.DestinationPort), err)
		default:
			ended++
		}
	}
	return ended, nil
}

// end is one end of a connection. An IPv4 connection of an IPv6 socket is one of
// IPv4.
func end(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

// A request is struct inet_diag_req_v2 (linux/inet_diag.h) for one connection,
// with the cookie that makes it that very one.
type request struct {
	family uint8
	id     netlink.SocketID
}

const requestSize = 56

// Len and Serialize are what nl asks for.
func (r request) Len() int { return requestSize }

func (r request) Serialize() []byte {
	b := make([]byte, requestSize)
	b[0], b[1] = r.family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], 0xffffffff) // any state
	binary.BigEndian.PutUint16(b[8:], r.id.SourcePort)
	binary.BigEndian.PutUint16(b[10:], r.id.DestinationPort)
	put(b[12:28], r.family, r.id.Source)
	put(b[28:44], r.family, r.id.Destination)
	binary.NativeEndian.PutUint32(b[44:], r.id.Interface)
	binary.NativeEndian.PutUint32(b[48:], r.id.Cookie[0])
	binary.NativeEndian.PutUint32(b[52:], r.id.Cookie[1])
	return b
}

func put(b []byte, family uint8, ip net.IP) {
	if family == unix.AF_INET {
		copy(b, ip.To4())
		return
	}
	copy(b, ip.To16())
}
