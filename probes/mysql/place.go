package mysql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// A line is one connection for questions, made anew when it is over. It may be used
// by many goroutines, one after the other.
type line struct {
	turn chan struct{} // held while it is used; a mutex that a context can leave
	c    *conn
}

func newLine() line { return line{turn: make(chan struct{}, 1)} }

// ask calls do with the connection, and ends it if do failed: after silence TCP
// repeats ever more rarely, so a server that is back would be seen back long after
// it is. A new connection sees it at once.
func (l *line) ask(ctx context.Context, dial func(context.Context) (*conn, error), do func(context.Context, *conn) error) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.c != nil && l.c.hungUp() != nil {
		l.drop()
	}
	if l.c == nil {
		c, err := dial(ctx)
		if err != nil {
			return because(ctx, err)
		}
		l.c = c
	}
	err := do(ctx, l.c)
	if err != nil {
		l.drop()
	}
	return err
}

func (l *line) drop() {
	l.c.close()
	l.c = nil
}

// hangUp waits for whoever uses the connection, and ends it.
func (l *line) hangUp() {
	l.turn <- struct{}{}
	if l.c != nil {
		l.drop()
	}
	<-l.turn
}

// A place is what is kept for a node: where it answers, and one connection for
// looking at its server.
type place struct {
	node targets.Node
	port string
	line line

	mu    sync.Mutex
	addrs []string
	when  time.Time // addrs were asked for
	plain bool      // dialling from inside turned out to be unsupported
}

func newPlace(n targets.Node, port string) *place {
	return &place{node: n, port: port, line: newLine()}
}

// addrFor is how long a node's addresses are believed: one that is started again
// may get others.
const addrFor = 5 * time.Second

// address is where the node's server is reached. A node that is down may know no
// address: the last known ones stay.
func (p *place) address(ctx context.Context) (string, error) {
	p.mu.Lock()
	addrs, fresh := p.addrs, time.Since(p.when) < addrFor
	p.mu.Unlock()
	if a, able := p.node.(targets.Addresser); able && !fresh {
		// The engine is asked without the lock: it may take its time.
		if now, err := a.Addresses(ctx); err == nil && len(now) > 0 {
			addrs = now
			p.mu.Lock()
			p.addrs, p.when = now, time.Now()
			p.mu.Unlock()
		}
	}
	if len(addrs) == 0 {
		return "", fmt.Errorf("no address of %s is known", p.node.Name())
	}
	return net.JoinHostPort(addrs[0], p.port), nil
}

// dialer dials as a neighbour of the node does: from inside its network namespace
// if that can be, so that a cut between us and the node does not silence it.
func (p *place) dialer() dial {
	outside := (&net.Dialer{}).DialContext
	inside, ok := p.node.(targets.Dialer)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		p.mu.Lock()
		plain := p.plain
		p.mu.Unlock()
		if !ok || plain {
			return outside(ctx, network, addr)
		}
		c, err := inside.DialContext(ctx, network, addr)
		if errors.Is(err, targets.ErrUnsupported) {
			p.mu.Lock()
			p.plain = true
			p.mu.Unlock()
			return outside(ctx, network, addr)
		}
		return c, err
	}
}

// login is that of the clients.
func (s *System) login() login {
	return login{user: s.client.user, password: s.password, database: s.client.database, tls: s.tls}
}

// reach connects to the server of p, as its neighbour.
func (s *System) reach(ctx context.Context, p *place) (*conn, error) {
	addr, err := p.address(ctx)
	if err != nil {
		return nil, err
	}
	return connect(ctx, addr, s.login(), p.dialer())
}

// look asks the server of p for its view of the group, over the connection that is
// kept for it.
func (s *System) look(ctx context.Context, p *place) (view, error) {
	var v view
	err := p.line.ask(ctx, func(ctx context.Context) (*conn, error) { return s.reach(ctx, p) }, func(ctx context.Context, c *conn) (err error) {
		v, err = c.view(ctx)
		return err
	})
	if err != nil {
		return view{}, err
	}
	s.know(v, p)
	return v, nil
}

// know remembers what a view told.
func (s *System) know(v view, p *place) {
	s.learn(v.self, p)
	s.reigns.seen(v)
}
