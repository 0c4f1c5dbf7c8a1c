package mysql

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// session is a probes.Session: one connection to one server.
type session struct {
	sys   *System
	c     *conn
	taker string // the server's uuid
	run   string
	sql   string // for that run
	// moves: it came by the client endpoint, so it gives up a server that does not
	// serve it, as an application does.
	moves  bool
	gaveUp bool
}

// Open connects: to the node itself, or to a server that takes writes.
func (s *System) Open(ctx context.Context, from probes.Where) (probes.Session, *probes.Ack) {
	x, err := s.open(ctx, from)
	if err != nil {
		return nil, &probes.Ack{Class: probes.Failed, Reply: "not connected: " + told(because(ctx, err))}
	}
	return x, nil
}

func (s *System) open(ctx context.Context, from probes.Where) (*session, error) {
	c, err := s.dial(ctx, from)
	if err != nil {
		return nil, err
	}
	who, err := c.query(ctx, "SELECT @@server_uuid")
	if err != nil || len(who) != 1 {
		c.close()
		return nil, fmt.Errorf("asking the server who it is: %w", err)
	}
	return &session{sys: s, c: c, taker: who[0][0], moves: from.Node == nil}, nil
}

func (s *System) dial(ctx context.Context, from probes.Where) (*conn, error) {
	if from.Node == nil {
		addr := s.client.hosts[0]
		if len(s.hosts) > 1 {
			var err error
			if addr, err = s.seek(ctx); err != nil {
				return nil, err
			}
		}
		return connect(ctx, addr, s.login(), (&net.Dialer{}).DialContext)
	}
	return s.direct(ctx, from.Node, from.Inside)
}

// direct connects to the node itself.
func (s *System) direct(ctx context.Context, n targets.Node, inside bool) (*conn, error) {
	p, err := s.place(n)
	if err != nil {
		return nil, err
	}
	if inside {
		return s.reach(ctx, p)
	}
	addr, err := p.address(ctx)
	if err != nil {
		return nil, err
	}
	return connect(ctx, addr, s.login(), (&net.Dialer{}).DialContext)
}

// insert writes one row, and says in which view: LAST_INSERT_ID(x) is what comes back
// with the OK, so that it takes one round trip.
const insert = `INSERT INTO %s (client, seq, salt, sent_ns, view) VALUES (?, ?, ?, ?,
	LAST_INSERT_ID(COALESCE((SELECT SUBSTRING_INDEX(MAX(VIEW_ID), ':', -1) FROM performance_schema.replication_group_member_stats), 0)))`

// Put inserts one row, in autocommit. If ctx ends first, the connection is closed
// without a word.
func (x *session) Put(ctx context.Context, w probes.Write) probes.Ack {
	if x.sql == "" || x.run != w.Run {
		x.run, x.sql = w.Run, fmt.Sprintf(insert, table(w.Run))
	}
	o, number := x.put(ctx, w)
	a := probes.Ack{}
	a.Class, a.Reply = o.classify()
	if o.err == nil {
		a.Node, a.Epoch = x.taker, x.sys.reigns.of(x.taker, number)
	}
	if x.moves && (a.Class == probes.Unknown || slices.Contains(elsewhere, numberOf(o))) {
		x.gaveUp = true
	}
	return a
}

func numberOf(o outcome) uint16 { return number(o.err) }

func (x *session) put(ctx context.Context, w probes.Write) (o outcome, view uint64) {
	if o.err = ctx.Err(); o.err != nil {
		return o, 0
	}
	if x.c.gone {
		o.err = errHungUp
		return o, 0
	}
	if o.err = x.c.hungUp(); o.err != nil {
		x.c.gone = true
		return o, 0
	}
	x.c.wire.sent.Store(false)
	// The salt lets the table hold an id twice, as an audit must be able to see.
	view, o.rows, o.err = x.c.exec(ctx, x.sql, int64(w.Client), int64(w.Seq), rand.Int64(), int64(w.Sent))
	o.sent = x.c.wire.sent.Load()
	return o, view
}

// Broken says that the connection is over, or, for a client of the endpoint, that the
// server did not serve it: an application would look for another one.
func (x *session) Broken() bool { return x.gaveUp || x.c.gone }

// Close hangs up.
func (x *session) Close() error {
	x.c.close()
	return nil
}

// table is the ledger's table of a run, quoted.
func table(run string) string {
	return "`" + strings.ReplaceAll("dapple_ledger_"+run, "`", "``") + "`"
}
