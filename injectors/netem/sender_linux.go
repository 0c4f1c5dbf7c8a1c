package netem

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/internal/peers"
)

// A sender sends packets as they are, IP header and all, from inside the node's
// network namespace. What is sent to an address of the node itself arrives over
// loopback.
type sender struct {
	path    string
	mtu     int               // of the narrowest device
	sockets map[socketKey]int // made when they are needed
}

type socketKey struct {
	family int
	tag    uint32
}

func newSender(at peers.Site, s state) (*sender, error) {
	devices, err := peers.Devices(at)
	if err != nil {
		return nil, err
	}
	if len(devices) == 0 {
		return nil, errors.New("it has no network device but lo: nothing leaves it")
	}
	o := &sender{path: at.Path, mtu: 1 << 16, sockets: map[socketKey]int{}}
	for _, d := range devices {
		o.mtu = min(o.mtu, d.MTU)
	}
	// All sockets are made beforehand: later, the node may have no memory left, or
	// be gone.
	for _, way := range s.ways() {
		for _, e := range events {
			for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
				if err := o.open(family, s.tag(way, e)); err != nil {
					return nil, errors.Join(err, o.close())
				}
			}
		}
	}
	return o, nil
}

func (o *sender) open(family int, tag uint32) error {
	fd := -1
	err := kernel.InNetNS(o.path, func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		if family == unix.AF_INET6 && errors.Is(err, unix.EAFNOSUPPORT) {
			return nil // then nobody sends IPv6
		}
		return fmt.Errorf("making a raw socket: %w", err)
	}
	o.sockets[socketKey{family, tag}] = fd
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, int(tag)); err != nil {
		return fmt.Errorf("tagging a raw socket: %w", err)
	}
	// Room for a burst; without the capability the usual size has to do.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20)
	if family == unix.AF_INET6 {
		const ownHeader = 36 // IPV6_HDRINCL, linux/in6.h
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, ownHeader, 1); err != nil {
			return fmt.Errorf("setting up a raw socket: %w", err)
		}
	}
	return nil
}

// can says whether the packet can be sent so: one that is to be cut into fragments
// is not.
func (o *sender) can(p nft.Packet) bool {
	_, err := target(p.Data)
	return err == nil && p.Size <= o.mtu
}

var errNoIP = errors.New("it is no IP packet")

// target is where a packet goes (RFC 791, RFC 8200).
func target(data []byte) (netip.Addr, error) {
	switch {
	case len(data) >= 20 && data[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(data[16:20])), nil
	case len(data) >= 40 && data[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(data[24:40])), nil
	}
	return netip.Addr{}, errNoIP
}

// send sends a packet. One that cannot be is lost, as it may be on any network.
func (o *sender) send(data []byte, tag uint32, device int) {
	to, err := target(data)
	if err != nil {
		return
	}
	if to.Is4() {
		_ = unix.Sendto(o.sockets[socketKey{unix.AF_INET, tag}], data, 0, &unix.SockaddrInet4{Addr: to.As4()})
		return
	}
	sa := &unix.SockaddrInet6{Addr: to.As16()}
	if to.IsLinkLocalUnicast() {
		sa.ZoneId = uint32(device)
	}
	_ = unix.Sendto(o.sockets[socketKey{unix.AF_INET6, tag}], data, 0, sa)
}

func (o *sender) close() (err error) {
	for key, fd := range o.sockets {
		err = errors.Join(err, unix.Close(fd))
		delete(o.sockets, key)
	}
	return err
}
