package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dapple-drills/dapple/targets"
)

// applicationName shows whose sessions ours are, in pg_stat_activity.
const applicationName = "dapple"

// An endpoint is one way to a server, or to whichever server the clients' DSN
// leads to. It is used by many goroutines and never changed.
type endpoint struct{ config *pgx.ConnConfig }

// client is the system's client endpoint: the DSN as it was declared.
func (s *System) client() (*endpoint, error) { return s.parse(s.dsn) }

// server is the endpoint of one server whatever its role, with everything but
// the place taken from the clients' DSN. TLS is tried as it would be with the
// first host there, under that host's name: the certificates of a cluster's
// nodes name what clients connect to, and seldom their addresses.
func (s *System) server(addr string, dial pgconn.DialFunc) (*endpoint, error) {
	e, err := s.parse(s.dsn)
	if err != nil {
		return nil, err
	}
	c := &e.config.Config
	var variants []*pgconn.FallbackConfig // such as without TLS
	for _, f := range c.Fallbacks {
		if f.Host == c.Host && f.Port == c.Port {
			variants = append(variants, &pgconn.FallbackConfig{Host: addr, Port: uint16(s.port), TLSConfig: f.TLSConfig})
		}
	}
	c.Host, c.Port, c.Fallbacks = addr, uint16(s.port), variants
	c.ValidateConnect = nil // target_session_attrs
	if dial != nil {
		c.DialFunc = counting(dial)
	}
	return e, nil
}

func (s *System) parse(dsn string) (*endpoint, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("clients.dsn: %w", err) // pgx leaves the password out
	}
	if s.password != "" {
		c.Password = s.password
	}
	if s.connect > 0 && !strings.Contains(dsn, "connect_timeout") {
		c.ConnectTimeout = s.connect // per host, as libpq's
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = applicationName
	}
	c.DialFunc = counting(c.DialFunc)
	return &endpoint{c}, nil
}

// open connects for the use of this package's own exchange of messages.
func (e *endpoint) open(ctx context.Context) (*conn, error) {
	pc, err := pgconn.ConnectConfig(ctx, &e.config.Config)
	if err != nil {
		return nil, err
	}
	return takeOver(ctx, pc)
}

// ask connects for a few statements of which speed does not matter. The caller
// closes it.
func (e *endpoint) ask(ctx context.Context) (*pgx.Conn, error) {
	return pgx.ConnectConfig(ctx, e.config)
}

// A place is a node, its addresses and its endpoints.
type place struct {
	node targets.Node
	sem  chan struct{} // held while line is used
	line *conn         // the persistent connection of Role and its kind

	mu     sync.Mutex
	addrs  []string
	looked time.Time
	ways   map[way]*endpoint
	direct bool // dialling from inside turned out to be unsupported
}

// A way is an address and from where to dial it.
type way struct {
	addr   string
	inside bool
}

func newPlace(n targets.Node) *place {
	return &place{node: n, sem: make(chan struct{}, 1), ways: map[way]*endpoint{}}
}

// refresh asks the node for its addresses unless it was asked after since, and
// returns them. A node that is down may know none: the last known ones stay.
func (p *place) refresh(ctx context.Context, since time.Time) []string {
	p.mu.Lock()
	looked := p.looked
	p.mu.Unlock()
	a, able := p.node.(targets.Addresser)
	if !able || looked.After(since) {
		return p.addresses()
	}
	got, err := a.Addresses(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked = time.Now()
	if err == nil && len(got) > 0 {
		p.addrs = got
	}
	return slices.Clone(p.addrs)
}

func (p *place) addresses() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.addrs)
}

// stale is how long a node's addresses are believed once a dial failed: a
// container may come back with others.
const stale = time.Second

// to returns the endpoint of p's own server.
func (s *System) to(ctx context.Context, p *place, inside bool) (*endpoint, error) {
	addr, err := s.Address(ctx, p.node)
	if err != nil {
		return nil, err
	}
	w := way{addr, inside}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.ways[w]; e != nil {
		return e, nil
	}
	var dial pgconn.DialFunc
	if inside {
		d, ok := p.node.(targets.Dialer)
		if !ok {
			return nil, fmt.Errorf("dialling from inside %s: %w", p.node.Name(), targets.ErrUnsupported)
		}
		dial = d.DialContext
	}
	e, err := s.server(w.addr, dial)
	if err != nil {
		return nil, err
	}
	p.ways[w] = e
	return e, nil
}

// Address is the address by which n is reached; a manager of PostgreSQL listens
// on it too. It is looked up again once a second if n does not know it.
func (s *System) Address(ctx context.Context, n targets.Node) (string, error) {
	p := s.place(n)
	addrs := p.addresses()
	if len(addrs) == 0 {
		addrs = p.refresh(ctx, time.Now().Add(-stale))
		s.learn(p, addrs)
	}
	if len(addrs) == 0 {
		return "", fmt.Errorf("no address of %s is known", n.Name())
	}
	return addrs[0], nil
}

// moved has the addresses looked up again after a dial failed.
func (s *System) moved(ctx context.Context, p *place) {
	s.learn(p, p.refresh(ctx, time.Now().Add(-stale)))
}

// fromInside says whether questions to p are dialled from inside: so that a
// partition between us and the node does not silence it.
func (p *place) fromInside() bool {
	_, able := p.node.(targets.Dialer)
	p.mu.Lock()
	defer p.mu.Unlock()
	return able && !p.direct
}

func (p *place) fromOutside() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.direct = true
}
