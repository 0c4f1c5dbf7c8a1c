package partition

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
)

// payload says to whoever reads it what it is.
const payload = "dapple: is this way cut?"

// Fire sends one packet for each shot: a datagram, or the first of a connection
// that is then given up. A shot that cannot be sent says so.
func (kernelGround) Fire(ctx context.Context, at peers.Site, s state, shots []shot) error {
	v := volley{at: at, s: s}
	defer v.end()
	for len(shots) > 0 { // those from one place stand together
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 1
		for n < len(shots) && shots[n].from == shots[0].from {
			n++
		}
		v.from(shots[:n])
		shots = shots[n:]
	}
	return nil
}

// A volley is the shots of one look.
type volley struct {
	at      peers.Site
	s       state
	sockets []int
}

func (v *volley) end() {
	for _, fd := range v.sockets {
		_ = unix.Close(fd) // it has done its work
	}
}

// from sends shots from one namespace.
func (v *volley) from(shots []shot) {
	err := v.inside(shots[0], func() error {
		for i := range shots {
			v.fire(&shots[i])
		}
		return nil
	})
	if err != nil {
		for i := range shots {
			shots[i].err = err
		}
	}
}

// inside calls do where the shot is to come from.
func (v *volley) inside(x shot, do func() error) error {
	switch x.from {
	case ownNamespace:
		if v.at.Own {
			return errors.New("dapple is in the node's own network")
		}
		return do()
	case "":
		return kernel.InNetNS(v.at.Path, do)
	}
	id, err := kernel.NetNSOf(x.from)
	if err != nil {
		return err
	}
	if !id.Is(x.ns) {
		return peers.ErrMoved
	}
	return kernel.InNetNS(x.from, do)
}

func (v *volley) fire(x *shot) {
	var fd int
	if x.leaves && v.s.LeaveBy == leaveDevice {
		fd, x.err = sendFrame(*x, v.s.source(x.to.Addr()))
	} else {
		fd, x.err = send(*x)
	}
	if fd >= 0 {
		v.sockets = append(v.sockets, fd)
	}
	if x.sent = x.err == nil; x.sent {
		x.answered = answered(fd)
	}
}

// source is an address of the node of the same version of IP.
func (s state) source(to netip.Addr) netip.Addr {
	for _, a := range s.Mine {
		if a.Is4() == to.Is4() && !a.IsLinkLocalUnicast() {
			return a
		}
	}
	if to.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func send(x shot) (fd int, err error) {
	typ, proto := unix.SOCK_DGRAM, unix.IPPROTO_UDP
	if x.proto == tcp {
		typ, proto = unix.SOCK_STREAM, unix.IPPROTO_TCP
	}
	family, to := sockaddr(x.to)
	fd, err = unix.Socket(family, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = unix.Connect(fd, to)
	if x.proto == tcp {
		if errors.Is(err, unix.EINPROGRESS) {
			err = nil
		}
		return fd, sendError(x, err)
	}
	if err == nil {
		_, err = unix.Write(fd, []byte(payload))
	}
	return fd, sendError(x, err)
}

func sendError(x shot, err error) error {
	if err != nil {
		return fmt.Errorf("sending to %v: %w", x.to, err)
	}
	return nil
}

func sockaddr(to netip.AddrPort) (int, unix.Sockaddr) {
	if a := to.Addr(); a.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: a.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// answered says whether somebody has answered by now: a closed port, or one that
// takes connections. On one machine that is before the call that sends returns.
func answered(fd int) bool {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return false
	}
	if unix.Errno(code) == unix.ECONNREFUSED {
		return true
	}
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || typ != unix.SOCK_STREAM {
		return false
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	const established = 1 // include/net/tcp_states.h
	return err == nil && info.State == established
}
