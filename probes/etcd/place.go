package etcd

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapple-drills/dapple/targets"
)

// A place is what is kept for a node: where it answers, and one connection for
// looking at it.
type place struct {
	node  targets.Node
	tls   bool
	port  string
	fixed *endpoint // as declared; nil: by the node's address

	outside dial // from where clients are

	turn chan struct{} // held while a connection is made; a mutex that a context can leave
	mu   sync.Mutex
	look *conn
	addr string
	when time.Time // addr was asked for
}

func newPlace(n targets.Node, tls bool, port string) *place {
	return &place{node: n, tls: tls, port: port, turn: make(chan struct{}, 1)}
}

// addrFor is how long a node's address is believed: one that is started again
// may get another.
const addrFor = 5 * time.Second

// endpoint is where the node itself answers.
func (p *place) endpoint(ctx context.Context) (endpoint, error) {
	if p.fixed != nil {
		return *p.fixed, nil
	}
	p.mu.Lock()
	addr, fresh := p.addr, time.Since(p.when) < addrFor
	p.mu.Unlock()
	if addr == "" || !fresh {
		now, err := p.ask(ctx)
		switch {
		case err == nil:
			addr = now
		case addr == "":
			return endpoint{}, err
		}
		p.mu.Lock()
		p.addr, p.when = addr, time.Now()
		p.mu.Unlock()
	}
	return endpoint{addr: net.JoinHostPort(addr, p.port), host: addr, tls: p.tls}, nil
}

func (p *place) ask(ctx context.Context) (string, error) {
	a, ok := p.node.(targets.Addresser)
	if !ok {
		return "", fmt.Errorf("where %s answers is not known: declare settings.endpoints: %s=http://host:port", p.node.Name(), p.node.Name())
	}
	all, err := a.Addresses(ctx)
	if err != nil {
		return "", fmt.Errorf("the address of %s: %w", p.node.Name(), err)
	}
	if len(all) == 0 {
		return "", fmt.Errorf("%s has no address now", p.node.Name())
	}
	return all[0], nil
}

// dialer dials from outside, or from inside the node's network namespace.
func (p *place) dialer(inside targets.Node) (dial, error) {
	if inside == nil {
		return p.outside, nil
	}
	d, ok := inside.(targets.Dialer)
	if !ok {
		return nil, fmt.Errorf("dialling from inside %s: %w", inside.Name(), targets.ErrUnsupported)
	}
	return d.DialContext, nil
}

// conn returns the connection for looking, made anew if it is over.
func (p *place) conn(ctx context.Context, how how) (*conn, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	c := p.look
	p.mu.Unlock()
	if c != nil && !c.over() {
		return c, nil
	}
	p.drop(c)
	e, err := p.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	if c, err = connect(ctx, e, how, p.outside); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look = c
	return c, nil
}

// drop closes c and forgets it, if it is still the one in use.
func (p *place) drop(c *conn) {
	if c == nil {
		return
	}
	p.mu.Lock()
	if p.look == c {
		p.look = nil
	}
	p.mu.Unlock()
	c.close()
}

func (p *place) hangUp() {
	p.mu.Lock()
	c := p.look
	p.mu.Unlock()
	p.drop(c)
}

// status asks the member itself.
func (s *System) status(ctx context.Context, p *place) (*pb.StatusResponse, error) {
	var r *pb.StatusResponse
	asked := time.Now()
	err := s.asking(ctx, p, func(ctx context.Context, m pb.MaintenanceClient) (err error) {
		r, err = m.Status(ctx, &pb.StatusRequest{})
		return err
	})
	if err != nil {
		return nil, err
	}
	s.learn(p, r)
	s.show(p, look{asked: asked, told: time.Now(), ok: true, leader: r.Leader, term: r.RaftTerm})
	return r, nil
}

// asking calls do with the connection for looking at p.
func (s *System) asking(ctx context.Context, p *place, do func(context.Context, pb.MaintenanceClient) error) error {
	c, err := p.conn(ctx, s.how)
	if err != nil {
		return err
	}
	token, err := s.lookAs(ctx, c)
	if err == nil {
		err = do(bearing(ctx, token), pb.NewMaintenanceClient(c.rpc))
	}
	if err != nil {
		// After silence TCP repeats ever more rarely: a member that is back would
		// be seen back long after it is. A new connection sees it at once.
		p.drop(c)
	}
	if status.Code(err) == codes.Unauthenticated {
		s.setToken("") // of before the member's restart, or too old
	}
	return err
}

// lookAs returns the token for looking, "" if none is needed. It is shared by
// all looks: to get one takes a write, which fails without a quorum, and looks
// must not fail then.
func (s *System) lookAs(ctx context.Context, c *conn) (string, error) {
	user := s.clients[0].user
	if user == "" {
		return "", nil
	}
	s.mu.Lock()
	token := s.token
	s.mu.Unlock()
	if token != "" {
		return token, nil
	}
	token, err := s.authenticate(ctx, c, user)
	if err == nil {
		s.setToken(token)
	}
	return token, err
}

func (s *System) setToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}
