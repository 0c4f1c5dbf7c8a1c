package netem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
)

// payload says to whoever reads it what it is; the packet's number follows.
const payload = "dapple: how long does this take? "

// Travel sends datagrams from one namespace to a socket in the other, and notes
// when each arrives. A trip that cannot be made says so.
func (kernelGround) Travel(ctx context.Context, at peers.Site, s state, trips []*trip) error {
	var wg sync.WaitGroup
	for _, t := range trips {
		wg.Go(func() {
			r := route{at: at, s: s, t: t}
			t.err = r.travel(ctx)
		})
	}
	wg.Wait()
	return ctx.Err()
}

// A route is where a trip goes.
type route struct {
	at       peers.Site
	s        state
	t        *trip
	from, to *net.UDPConn
}

func (r *route) travel(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(); err != nil {
		return err
	}
	arrived := make(chan struct{})
	sends := make([]time.Time, r.t.count)
	var mu sync.Mutex // of sends
	go func() {
		defer close(arrived)
		r.arrive(sends, &mu)
	}()
	for k := range r.t.count {
		packet := binary.BigEndian.AppendUint32([]byte(payload), uint32(k))
		packet = append(packet, make([]byte, max(0, r.t.size-len(packet)))...)
		mu.Lock()
		sends[k] = time.Now()
		mu.Unlock()
		if _, err = r.from.Write(packet); err != nil {
			break
		}
		r.t.sent++
	}
	deadline := time.Now().Add(r.t.wait)
	if until, ok := ctx.Deadline(); ok && until.Before(deadline) {
		deadline = until
	}
	stop := context.AfterFunc(ctx, func() { _ = r.to.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := r.to.SetReadDeadline(deadline); err != nil {
		return err
	}
	<-arrived
	return err
}

// arrive reads until all are there, or the deadline. Reading is never early: a
// busy machine makes the times longer than they were.
func (r *route) arrive(sends []time.Time, mu *sync.Mutex) {
	buf, there := make([]byte, 2048), map[int]bool{}
	for len(there) < len(sends) {
		n, err := r.to.Read(buf)
		if err != nil {
			return
		}
		now := time.Now()
		if n < len(payload)+4 || string(buf[:len(payload)]) != payload {
			r.t.altered++
			continue
		}
		k := int(binary.BigEndian.Uint32(buf[len(payload):]))
		if k >= len(sends) {
			r.t.altered++
			continue
		}
		mu.Lock()
		first, sent := sends[0], sends[k]
		mu.Unlock()
		there[k] = true
		r.t.order = append(r.t.order, k)
		r.t.took = append(r.t.took, now.Sub(sent))
		r.t.since = append(r.t.since, now.Sub(first))
	}
}

// open makes the sockets. With ports, one of them stands at one end: whichever is
// free.
func (r *route) open() error {
	if len(r.s.Ports) == 0 {
		return r.sockets(0, 0)
	}
	port := int(peers.Spans(r.s.Ports)[0].Lo)
	err := r.sockets(port, 0)
	if errors.Is(err, unix.EADDRINUSE) {
		err = errors.Join(r.close(), r.sockets(0, port))
	}
	return err
}

func (r *route) sockets(fromPort, toPort int) (err error) {
	far, near := r.t.path, r.at.Path
	fromPath, toPath := far, near
	if r.t.way == egress {
		fromPath, toPath = near, far
	}
	if err := r.same(); err != nil {
		return err
	}
	to := r.t.to
	err = kernel.InNetNS(toPath, func() (err error) {
		r.to, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, uint16(toPort))))
		return err
	})
	if err != nil {
		return fmt.Errorf("listening at %v: %w", to, err)
	}
	return kernel.InNetNS(fromPath, func() (err error) {
		r.from, err = net.DialUDP("udp", &net.UDPAddr{Port: fromPort}, r.to.LocalAddr().(*net.UDPAddr))
		return err
	})
}

// same makes sure that the other end is in the namespace that was planned for.
func (r *route) same() error {
	id, err := kernel.NetNSOf(r.t.path)
	if err == nil && !id.Is(r.t.ns) {
		err = peers.ErrMoved
	}
	return err
}

func (r *route) close() (err error) {
	for _, c := range []*net.UDPConn{r.from, r.to} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	r.from, r.to = nil, nil
	return err
}
