package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/dapple-drills/dapple/probes"
)

// session is a probes.Session: one connection to one server.
type session struct {
	sys   *System
	c     *conn
	taker string
	// moves: it came by the client endpoint, so it gives up a server that does not
	// serve it, as an application does.
	moves  bool
	gaveUp bool
}

// Open connects: to the node itself, or to whom the Sentinels name. That one is
// asked whether it is the primary before it is used, as the guide for clients of
// Sentinels says; a replica is refused.
func (s *System) Open(ctx context.Context, from probes.Where) (probes.Session, *probes.Ack) {
	x, err := s.open(ctx, from)
	if err != nil {
		return nil, &probes.Ack{Class: probes.Failed, Reply: "not connected: " + told(because(ctx, err))}
	}
	return x, nil
}

func (s *System) open(ctx context.Context, from probes.Where) (*session, error) {
	if from.Node == nil {
		return s.byEndpoint(ctx)
	}
	p, err := s.place(from.Node)
	if err != nil {
		return nil, err
	}
	addr, err := p.address(ctx)
	if err != nil {
		return nil, err
	}
	dial := (&net.Dialer{}).DialContext
	if from.Inside {
		dial = p.dialer()
	}
	c, err := connect(ctx, net.JoinHostPort(addr, p.port), s.login(), dial)
	if err != nil {
		return nil, err
	}
	return &session{sys: s, c: c, taker: p.node.Name()}, nil
}

// byEndpoint connects as an application does.
func (s *System) byEndpoint(ctx context.Context) (*session, error) {
	addr := s.client.fixed
	if addr == "" {
		named, err := s.seek(ctx)
		if err != nil {
			return nil, err
		}
		addr = net.JoinHostPort(named.host, named.port)
	}
	c, err := connect(ctx, addr, s.login(), (&net.Dialer{}).DialContext)
	if err != nil {
		return nil, err
	}
	i, err := c.info(ctx)
	if err == nil && i.role != saysPrimary {
		err = fmt.Errorf("%s, which clients are led to, is a replica", s.taker(i, addr))
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return &session{sys: s, c: c, taker: s.taker(i, addr), moves: true}, nil
}

// taker is the node that answers at addr, by its run id, or else by the address.
func (s *System) taker(i info, addr string) string {
	if name := s.NodeName(i.runID); name != "" {
		return name
	}
	if host, _, err := net.SplitHostPort(addr); err == nil && s.client.fixed == "" {
		if p := s.at(host); p != nil {
			s.learn(i.runID, p)
			return p.node.Name()
		}
	}
	return i.runID
}

// Put appends one entry to a list, in a transaction that also tells the reign; and
// waits for replicas as the application does. If ctx ends first, the connection is
// closed without a word.
func (x *session) Put(ctx context.Context, w probes.Write) probes.Ack {
	o := x.put(ctx, w)
	a := probes.Ack{}
	a.Class, a.Reply = o.classify()
	if o.took {
		a.Node, a.Epoch = x.taker, o.epoch
	}
	if x.moves && (a.Class == probes.Unknown || slices.Contains(elsewhere, code(o.said))) {
		x.gaveUp = true
	}
	return a
}

func (x *session) put(ctx context.Context, w probes.Write) outcome {
	if x.c.over() {
		return outcome{err: errHungUp}
	}
	if err := x.c.hungUp(); err != nil {
		x.c.gone = true
		return outcome{err: err}
	}
	x.c.raw.sent.Store(false)
	all := []command{{"MULTI"}, {"RPUSH", key(w.Run, w.Client, w.Seq), entry(w)}, {"INFO", "replication"}, {"EXEC"}}
	if n := x.sys.wait.replicas; n > 0 {
		all = append(all, command{"WAIT", strconv.Itoa(n), strconv.FormatInt(x.sys.wait.timeout.Milliseconds(), 10)})
	}
	replies, err := x.c.pipeline(ctx, all...)
	o := read(replies, x.sys.wait.replicas)
	o.sent, o.err = x.c.raw.sent.Load(), err
	return o
}

// read reads the replies to a write, as far as they came: OK, QUEUED, QUEUED, what
// the transaction brought, and how many replicas have it.
func read(replies []any, asked int) outcome {
	o := outcome{asked: asked}
	for i, r := range replies {
		refused, is := r.(redigo.Error)
		switch {
		case i < 4 && is && o.said == nil: // the first that was refused says why
			o.said = refused
		case i == 3 && !is:
			o.done(r)
		case i == 4 && is && o.took: // WAIT itself, such as on a server that was demoted meanwhile
			o.said = refused
		case i == 4 && !is:
			o.waited, _ = r.(int64)
		}
	}
	return o
}

var errNoPush = errors.New("the transaction's reply tells nothing of the write")

// done reads what the transaction brought: the length of the list, and INFO.
func (o *outcome) done(reply any) {
	both, ok := reply.([]any)
	if !ok || len(both) != 2 {
		o.said = errNoPush
		return
	}
	if refused, is := both[0].(redigo.Error); is {
		o.said = refused
		return
	}
	if _, is := both[0].(int64); !is {
		o.said = errNoPush
		return
	}
	o.took = true
	if text, err := redigo.String(both[1], nil); err == nil {
		o.epoch = fields(text)["master_replid"]
	}
}

// Broken says that the connection is over, or, for a client of the endpoint, that
// the server did not serve it: an application would ask anew who the primary is.
func (x *session) Broken() bool { return x.gaveUp || x.c.over() }

// Close hangs up.
func (x *session) Close() error {
	x.c.close()
	return nil
}
