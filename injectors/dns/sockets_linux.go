package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
)

// sockets are made inside one network namespace, which is kept open: its path may
// lead elsewhere once the node's process is gone.
type sockets struct {
	ns   *os.File
	path string
}

func openSockets(path string) (*sockets, error) {
	ns, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a network namespace: %w", peers.Permission(err))
	}
	return &sockets{ns, fmt.Sprintf("/proc/self/fd/%d", ns.Fd())}, nil
}

func (o *sockets) close() error { return o.ns.Close() }

// stands opens one for each server, on ports that the kernel chooses.
func (o *sockets) stands(servers []netip.Addr) (list []stand, err error) {
	defer func() {
		if err != nil {
			for _, x := range list {
				err = errors.Join(err, x.udp.Close(), x.tcp.Close())
			}
		}
	}()
	for _, server := range servers {
		x, at := stand{server: server}, netip.AddrPortFrom(self(server), 0)
		err := kernel.InNetNS(o.path, func() (err error) {
			if x.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err != nil {
				return err
			}
			if x.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)); err != nil {
				err = errors.Join(err, x.udp.Close())
			}
			return err
		})
		if err != nil {
			return list, fmt.Errorf("standing for name server %v: %w", server, err)
		}
		list = append(list, x)
	}
	return list, nil
}

// dial connects past the table.
func (o *sockets) dial(ctx context.Context, network string, server netip.Addr) (net.Conn, error) {
	to := netip.AddrPortFrom(server, port)
	if network == "tcp" {
		return kernel.DialFrom(ctx, tagged, o.path, network, to.String())
	}
	return dialUDP(o.path, to, true)
}

// tagged is a kernel.Sockets.
func tagged(ctx context.Context, path string, v6 bool) (int, error) {
	fd, err := kernel.NetNSSocket(ctx, path, v6)
	if err != nil {
		return -1, err
	}
	if err := setTag(fd); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func setTag(fd int) error {
	return os.NewSyscallError("tagging a socket", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, tag))
}

// dialUDP connects a socket inside the namespace; direct is past the table.
func dialUDP(path string, to netip.AddrPort, direct bool) (c net.Conn, err error) {
	var d net.Dialer
	if direct {
		d.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			return errors.Join(raw.Control(func(fd uintptr) { err = setTag(int(fd)) }), err)
		}
	}
	err = kernel.InNetNS(path, func() (err error) {
		c, err = d.Dial("udp", to.String()) // an address: nobody is asked, nothing is waited for
		return err
	})
	return c, err
}

// Ask asks by UDP. A question that cannot be asked says so.
func (kernelGround) Ask(ctx context.Context, at peers.Site, questions []*question) error {
	var wg sync.WaitGroup
	for _, q := range questions {
		wg.Go(func() { q.err = q.ask(ctx, at.Path) })
	}
	wg.Wait()
	return ctx.Err()
}

func (q *question) ask(ctx context.Context, path string) error {
	m := new(dns.Msg)
	m.SetQuestion(q.name, q.kind)
	out, err := m.Pack()
	if err != nil {
		return err
	}
	c, err := dialUDP(path, netip.AddrPortFrom(q.server, port), q.direct)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	begin := time.Now()
	if err := c.SetDeadline(begin.Add(q.wait)); err != nil {
		return err
	}
	if _, err := c.Write(out); err != nil {
		return err
	}
	return q.hear(c, m.Id, begin)
}

// hear reads until the answer comes. That it does not is no error, nor is that
// nobody listens.
func (q *question) hear(c net.Conn, id uint16, begin time.Time) error {
	buf := make([]byte, 1<<16)
	for {
		n, err := c.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ECONNREFUSED):
			return nil
		case err != nil:
			return err
		}
		took, a := time.Since(begin), new(dns.Msg)
		if a.Unpack(buf[:n]) == nil && a.Id == id && a.Response {
			q.answer, q.took = a, took
			return nil
		}
	}
}
