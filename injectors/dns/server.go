package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// Questions that wait at once, for one fault: more are dropped, as a server that
	// is overrun does.
	mostWaiting = 1000
	// patience is how long a real server is waited for: longer than any resolver
	// waits for one answer.
	patience = 10 * time.Second
	// idle is how long a connection may rest (RFC 7766, 6.2.3: some seconds).
	idle = 30 * time.Second
	// The end of the fault waits so long for questions that have arrived to be read,
	// and for answers that are under way.
	settle = 10 * time.Millisecond
	drain  = 250 * time.Millisecond
)

// A dial connects to a name server from inside the node, past the table.
type dial func(ctx context.Context, network string, server netip.Addr) (net.Conn, error)

// A stand is where what the node sends to one of its servers is led to.
type stand struct {
	server netip.Addr
	udp    *net.UDPConn
	tcp    net.Listener
}

// A server answers in the place of others.
type server struct {
	s      state
	dial   dial
	stands []stand

	release chan struct{} // closed: nothing is held back any more
	ctx     context.Context
	cancel  context.CancelFunc
	readers sync.WaitGroup // of datagrams
	loops   sync.WaitGroup // of connections

	end     sync.Once
	mu      sync.Mutex
	over    bool // no question is taken any more
	waiting int
	jobs    sync.WaitGroup // one for each question that waits
}

// serve begins to answer, until stop. It takes the stands over.
func serve(ctx context.Context, s state, stands []stand, d dial) *server {
	v := &server{s: s, dial: d, stands: stands, release: make(chan struct{})}
	v.ctx, v.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, x := range stands {
		v.readers.Go(func() { v.datagrams(x) })
		v.loops.Go(func() { v.connections(x) })
	}
	return v
}

// stop answers at once what it holds back, and ends. Nothing must be led to it any
// more.
func (v *server) stop() { v.end.Do(v.finish) }

func (v *server) finish() {
	close(v.release)
	for _, x := range v.stands {
		_ = x.udp.SetReadDeadline(time.Now().Add(settle)) // it is open: nobody else closes it
	}
	v.readers.Wait()
	v.mu.Lock()
	v.over = true
	v.mu.Unlock()
	quiet := make(chan struct{})
	go func() { v.jobs.Wait(); close(quiet) }()
	t := time.NewTimer(drain)
	defer t.Stop()
	select {
	case <-quiet:
	case <-t.C:
	}
	v.cancel()
	for _, x := range v.stands {
		_ = errors.Join(x.udp.Close(), x.tcp.Close()) // nobody is sent there any more
	}
	v.loops.Wait()
	<-quiet
}

// begin counts a question in; false: there are too many, or it is over.
func (v *server) begin() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over || v.waiting == mostWaiting {
		return false
	}
	v.waiting++
	v.jobs.Add(1)
	return true
}

func (v *server) done() {
	v.mu.Lock()
	v.waiting--
	v.mu.Unlock()
	v.jobs.Done()
}

// datagrams reads questions by UDP until the deadline of the socket.
func (v *server) datagrams(x stand) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := x.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil || !v.begin() {
			continue // a refusal of some answer of ours is no reason to end
		}
		message := append([]byte(nil), buf[:n]...)
		go func() {
			defer v.done()
			if answer := v.answer("udp", x.server, message); answer != nil {
				_, _ = x.udp.WriteToUDPAddrPort(answer, from) // who is gone is not answered
			}
		}()
	}
}

// connections takes them until the socket is closed.
func (v *server) connections(x stand) {
	for {
		c, err := x.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		v.loops.Go(func() {
			stop := context.AfterFunc(v.ctx, func() { _ = c.Close() })
			defer stop()
			v.conversation(x.server, c)
		})
	}
}

// conversation answers the questions of one connection, each in its own time: they
// may overtake each other (RFC 7766, 6.2.1.1).
func (v *server) conversation(server netip.Addr, c net.Conn) {
	var mu sync.Mutex // of what is written
	var jobs sync.WaitGroup
	defer func() { jobs.Wait(); _ = c.Close() }()
	for {
		_ = c.SetReadDeadline(time.Now().Add(idle)) // one that is closed says so at the next read
		message, err := readFrame(c)
		if err != nil || !v.begin() {
			return
		}
		jobs.Go(func() {
			defer v.done()
			answer := v.answer("tcp", server, message)
			if answer == nil {
				if v.s.Drop {
					return // silence
				}
				_ = c.Close() // as the real one has done
				return
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = c.Write(frame(answer)) // who is gone is not answered
		})
	}
}

// answer is what is answered to the message; nil is nothing.
func (v *server) answer(network string, server netip.Addr, message []byte) []byte {
	what, own := v.s.judge(message)
	switch what {
	case dropped:
		return nil
	case answered:
		return own
	case late:
		t := time.NewTimer(v.s.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-v.release:
		case <-v.ctx.Done():
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	out, err := v.handOn(ctx, network, server, message)
	if err != nil {
		return nil // whom the real server does not answer, nobody does
	}
	return out
}

// handOn asks the real server, and returns its answer as it is.
func (v *server) handOn(ctx context.Context, network string, server netip.Addr, message []byte) ([]byte, error) {
	if len(message) < 2 {
		return nil, io.ErrUnexpectedEOF // no server answers what has no number
	}
	c, err := v.dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		if _, err := c.Write(frame(message)); err != nil {
			return nil, err
		}
		return readFrame(c)
	}
	if _, err := c.Write(message); err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<16)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= 2 && string(buf[:2]) == string(message[:2]) { // the number of the question
			return buf[:n], nil
		}
	}
}

// readFrame and frame are how messages follow each other on a connection (RFC
// 1035, 4.2.2).
func readFrame(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}
