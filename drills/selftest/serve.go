package selftest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What is spoken over the sockets: a line for a question, a line for an answer,
// and lists end with a dot.
const (
	askWrite   = "write"   // CLIENT SEQ → ok NODE EPOCH | no WHY
	askBarrier = "barrier" // likewise; an audit begins
	askRole    = "role"    // → ROLE EPOCH
	askDigests = "digests" // → lines of CLIENT CHUNK COUNT MIN MAX HASH
	askIDs     = "ids"     // CLIENT CHUNK → lines of SEQ
	askLeader  = "leader"  // → NODE EPOCH, of the control plane
	askMembers = "members" // → lines of NODE STATE EPOCH, of the control plane
	askBreak   = "break"   // of the fault
	askBroken  = "broken"  // → yes | no
	askMend    = "mend"

	endOfList = "."
	saidOK    = "ok"
	saidNo    = "no"
	saidYes   = "yes"
)

// A gate is one port of a world.
type gate struct {
	name string // a node, front, or plane
	addr string
	l    net.Listener // nil while it is closed
}

// plane is the name of the control plane's gate.
const plane = "plane"

// A server puts a world behind sockets.
type server struct {
	w      *world
	ctx    context.Context
	end    context.CancelFunc
	health net.Listener
	wg     sync.WaitGroup
	mu     sync.Mutex
	gates  map[string]*gate
	conns  map[net.Conn]caller
	failed error // why a port could not be opened again

	onEffect func(time.Time) // called once
}

// serve opens the ports of a world.
func serve(ctx context.Context, w *world) (*server, error) {
	s := &server{w: w, gates: map[string]*gate{}, conns: map[net.Conn]caller{}}
	s.ctx, s.end = context.WithCancel(ctx)
	for _, name := range []string{nodeA, nodeB, nodeC, front, plane} {
		g := &gate{name: name}
		s.gates[name] = g
		l, err := listen()
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		g.addr = l.Addr().String()
		s.accept(g, l)
	}
	var err error
	if s.health, err = listen(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	h := &http.Server{Handler: http.HandlerFunc(s.healthy), ReadHeaderTimeout: time.Second}
	s.wg.Go(func() { _ = h.Serve(s.health) }) // it ends with its listener
	return s, nil
}

// Ports are taken below those that the kernel hands out to connections by itself
// (ip_local_port_range begins at 32768), so that a port which is closed for a
// while is still free when it is opened again.
const (
	firstPort = 15000
	lastPort  = 32000
)

func listen() (l net.Listener, err error) {
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("open a port on loopback: %w", err)
}

func (s *server) accept(g *gate, l net.Listener) {
	s.mu.Lock()
	g.l = l
	s.mu.Unlock()
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.take(g, c)
		}
	})
}

func (s *server) take(g *gate, c net.Conn) {
	from := caller{g.name, time.Now()}
	s.mu.Lock()
	if s.ctx.Err() != nil || g.l == nil {
		s.mu.Unlock()
		reset(c)
		return
	}
	s.conns[c] = from
	s.mu.Unlock()
	s.wg.Go(func() {
		s.talk(c, from)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// reset ends a connection as a dead process's kernel does.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // a connection that is over already cannot be reset, and need not
	}
	_ = c.Close()
}

// shut closes a port and resets the connections that came by it, but for those
// that may stay.
func (s *server) shut(name string, stays bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gates[name]
	if g.l != nil {
		_ = g.l.Close()
		g.l = nil
	}
	for c, from := range s.conns {
		if from.node == name && !stays {
			reset(c)
		}
	}
}

// open opens a port again, and returns when.
func (s *server) open(name string) span {
	g := s.gates[name]
	lo := time.Now()
	l, err := net.Listen("tcp", g.addr)
	hi := time.Now()
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failed = errors.Join(s.failed, fmt.Errorf("open port %s of the scripted system again: %w", g.addr, err))
		return span{lo, hi}
	}
	s.accept(g, l)
	return span{lo, hi}
}

// after calls f at t, unless the server ends before.
func (s *server) after(t time.Time, f func()) {
	s.wg.Go(func() {
		if sleep(s.ctx, time.Until(t)) {
			f()
		}
	})
}

// sleep says whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// close closes everything, and waits until nobody talks any more.
func (s *server) close() error {
	s.end()
	for name := range s.gates {
		s.shut(name, false)
	}
	if s.health != nil {
		_ = s.health.Close()
	}
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *server) healthy(out http.ResponseWriter, r *http.Request) {
	s.w.mu.Lock()
	ok := s.w.healthy(strings.Trim(r.URL.Path, "/"), time.Now())
	s.w.mu.Unlock()
	if !ok {
		out.WriteHeader(http.StatusServiceUnavailable)
	}
}

// breaks is the fault: it begins now.
func (s *server) breaks() {
	s.w.mu.Lock()
	again := !s.w.effect.IsZero()
	if !again {
		s.w.effect = time.Now()
	}
	at, c := s.w.effect, s.w.c
	s.w.mu.Unlock()
	if again {
		return
	}
	s.onEffect(at)
	if c.Script.Break != Refuse {
		return
	}
	s.shut(front, false)
	s.shut(nodeA, c.Script.Fence > 0)
	s.after(at.Add(c.Script.Route), func() {
		opened := s.open(front)
		s.w.mu.Lock()
		s.w.opened = opened
		s.w.mu.Unlock()
		if !c.Script.Failover {
			s.open(nodeA)
		}
	})
}

// mends takes the fault back.
func (s *server) mends() {
	s.w.mu.Lock()
	again := !s.w.mended.IsZero() || s.w.effect.IsZero()
	if !again {
		s.w.mended = time.Now()
	}
	c := s.w.c.Script
	s.w.mu.Unlock()
	if !again && c.Break == Refuse && c.Failover {
		s.shut(nodeA, false) // what an old session was left of
		s.open(nodeA)
	}
}

// talk answers a connection until it is over.
func (s *server) talk(c net.Conn, from caller) {
	defer func() { _ = c.Close() }()
	in, out := bufio.NewReaderSize(c, 512), bufio.NewWriterSize(c, 4096)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		answer, how := s.answer(from, strings.Fields(line))
		switch how {
		case Refuse, Reset:
			reset(c)
			return
		case Hang, Delay:
			_, _ = io.Copy(io.Discard, in) // until the other side gives up
			return
		}
		if _, err := out.WriteString(answer + "\n"); err != nil || out.Flush() != nil {
			return
		}
	}
}

// answer is what is said to a question, or how it is not answered.
func (s *server) answer(from caller, words []string) (string, Break) {
	switch {
	case from.node == plane:
		return s.control(words[0]), Nothing
	case len(words) == 3 && words[0] == askWrite:
		return s.write(from, parseID(words))
	case len(words) == 3 && words[0] == askBarrier:
		s.w.barrier()
		return s.write(from, parseID(words))
	case words[0] == askRole:
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		now := time.Now()
		role, how := s.w.role(from.node, now)
		return string(role) + " " + s.w.epoch(from.node, now), how
	case words[0] == askDigests:
		return s.w.digests(), Nothing
	case len(words) == 3 && words[0] == askIDs:
		i := parseID(words)
		return s.w.ids(i.client, i.seq), Nothing
	}
	return "what?", Nothing
}

func parseID(words []string) id {
	client, _ := strconv.Atoi(words[1]) // it was written by this package
	seq, _ := strconv.ParseUint(words[2], 10, 64)
	return id{client, seq}
}

// write takes its time, half of it before it is decided.
func (s *server) write(from caller, i id) (string, Break) {
	half := time.Duration(rand.Float64() * float64(s.w.c.Service) / 2)
	sleep(s.ctx, half)
	for {
		f, epoch := s.w.write(from, i)
		switch f.how {
		case Delay:
			if left := time.Until(f.until); left > 0 && sleep(s.ctx, left) {
				continue
			}
			return "", Hang
		case Deny:
			return saidNo + " read-only", Nothing
		case Nothing, Lie:
			sleep(s.ctx, half)
			return saidOK + " " + f.node + " " + epoch, Nothing
		}
		return "", f.how
	}
}

// control answers for the control plane, and for the fault.
func (s *server) control(word string) string {
	switch word {
	case askBreak:
		s.breaks()
		return saidOK
	case askMend:
		s.mends()
		return saidOK
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	now := time.Now()
	switch word {
	case askBroken:
		if s.w.since(now, 0) && !s.w.over(now) {
			return saidYes
		}
		return saidNo
	case askLeader:
		node, epoch := s.w.leader(now)
		return or(node, endOfList) + " " + epoch
	case askMembers:
		var lines []string
		for _, n := range []string{nodeA, nodeB, nodeC} {
			lines = append(lines, n+" "+s.w.member(n, now)+" "+s.w.epoch(n, now))
		}
		return strings.Join(append(lines, endOfList), "\n")
	}
	return "what?"
}
