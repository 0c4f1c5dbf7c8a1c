package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/dapple-drills/dapple/probes"
)

// timelineNow is the timeline that a primary writes to, as a number. It comes
// from the name of its WAL file: what pg_control says lags until a checkpoint.
const timelineNow = `('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int`

// insert takes client, seq and the time of sending, and brings back who took
// the row, on which timeline, in the same round trip.
const insert = `insert into %s (client, seq, sent_ns, node, epoch)
	values ($1, $2, $3, inet_server_addr(), ` + timelineNow + `)
	returning node, epoch`

// durability, where it is declared, comes with each row: Patroni and people
// switch synchronous replication off while sessions are open.
const durability = `, current_setting('synchronous_commit'), current_setting('synchronous_standby_names') <> ''`

// session is a probes.Session.
type session struct {
	sys *System
	c   *conn

	run  string
	runs int
	put  statement
	args [20]byte // int4, int8, int8

	taker, epoch, weak string // of the row at hand; the strings are kept from row to row
	keep               func([][]byte)
}

// Open connects: to the node itself, or where the clients' DSN leads.
func (s *System) Open(ctx context.Context, from probes.Where) (probes.Session, *probes.Ack) {
	e := s.endpoint
	if from.Node != nil {
		var err error
		if e, err = s.to(ctx, s.place(from.Node), from.Inside); err != nil {
			return nil, &probes.Ack{Class: probes.Failed, Reply: "not sent: " + err.Error()}
		}
	}
	c, err := e.open(ctx)
	if err != nil {
		if from.Node != nil {
			s.moved(ctx, s.place(from.Node))
		}
		return nil, &probes.Ack{Class: probes.Failed, Reply: "not connected: " + reason(because(ctx, err))}
	}
	return newSession(s, c), nil
}

func newSession(s *System, c *conn) *session {
	x := &session{sys: s, c: c}
	x.keep = x.row
	x.put.types = []uint32{pgtype.Int4OID, pgtype.Int8OID, pgtype.Int8OID}
	x.put.bind.ParameterFormatCodes = []int16{1} // all binary
	x.put.bind.Parameters = [][]byte{x.args[0:4], x.args[4:12], x.args[12:20]}
	return x
}

// Put inserts w. If ctx ends first, the connection is closed without a word,
// and what became of w is unknown.
func (x *session) Put(ctx context.Context, w probes.Write) probes.Ack {
	if w.Run != x.run || x.put.sql == "" {
		x.prepare(w.Run)
	}
	binary.BigEndian.PutUint32(x.args[0:], uint32(int32(w.Client)))
	binary.BigEndian.PutUint64(x.args[4:], w.Seq)
	binary.BigEndian.PutUint64(x.args[12:], uint64(w.Sent/time.Nanosecond))
	o := x.c.exec(ctx, &x.put, x.keep)
	a := o.classify()
	if o.rows > 0 {
		a.Node, a.Epoch = x.taker, x.epoch
	}
	if a.Class == probes.Acked && x.weak != "" {
		a.Class, a.Reply = probes.Degraded, oneRow+", "+x.weak
	}
	return a
}

// prepare makes the statement of a run. A session seldom sees a second one.
func (x *session) prepare(run string) {
	x.run = run
	x.runs++
	x.put.name = fmt.Sprintf("dapple_put_%d", x.runs)
	x.put.sql = fmt.Sprintf(insert, x.sys.table(run))
	if x.sys.synchronous {
		x.put.sql += durability
	}
}

// row keeps who took the row. A session stays with one server, so the strings
// are made once.
func (x *session) row(v [][]byte) {
	x.taker = again(x.taker, v[0])
	x.epoch = again(x.epoch, v[1])
	if len(v) > 3 {
		x.weak = weakness(string(v[2]), string(v[3]) == "t")
	}
}

func again(s string, b []byte) string {
	if string(b) == s {
		return s
	}
	return string(b)
}

// weakness says why a commit under these settings is on no standby
// (PostgreSQL manual, synchronous_commit).
func weakness(commit string, standbys bool) string {
	switch {
	case commit == "off" || commit == "local":
		return "synchronous_commit " + commit
	case !standbys:
		return "no synchronous standby"
	}
	return ""
}

func (x *session) Broken() bool { return x.c.gone }

func (x *session) Close() error {
	x.c.close()
	return nil
}

// table is the ledger's table of a run, quoted.
func (s *System) table(run string) string {
	name := quote("dapple_ledger_" + run)
	if s.schema != "" {
		name = quote(s.schema) + "." + name
	}
	return name
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
