package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// A conn is a connection whose messages we exchange ourselves, once pgx has
// made it: only so is it known whether a byte left, and at which message an
// exchange broke off.
//
// The order matters because in the extended protocol the server sends
// CommandComplete before it commits. It commits at Sync, and says so with
// ReadyForQuery. A wait for a synchronous standby that ends by a shutdown even
// flushes CommandComplete to the client, and then dies (syncrep.c,
// SyncRepWaitForLSN): whoever takes it for an acknowledgement counts writes
// that nobody promised.
type conn struct {
	nc    net.Conn
	fe    *pgproto3.Frontend
	wire  *counted
	tls   bool
	gone  bool // of no more use
	end   func()
	known map[string]bool // statements that the server holds
}

// counted counts the bytes that the kernel took from us.
type counted struct {
	net.Conn
	sent atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

func counting(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &counted{Conn: c}, nil
	}
}

// takeOver ends pgconn's part in pc.
func takeOver(ctx context.Context, pc *pgconn.PgConn) (*conn, error) {
	if err := pc.SyncConn(ctx); err != nil {
		return nil, errors.Join(err, pc.Conn().Close())
	}
	h, err := pc.Hijack()
	if err != nil {
		return nil, err
	}
	c := &conn{nc: h.Conn, fe: pgproto3.NewFrontend(h.Conn, h.Conn), known: map[string]bool{}}
	raw := h.Conn
	if t, ok := raw.(*tls.Conn); ok {
		c.tls, raw = true, t.NetConn()
	}
	wire, ok := raw.(*counted)
	if !ok {
		return nil, errors.Join(fmt.Errorf("dapple: internal error: dialled a %T that does not count", raw), h.Conn.Close())
	}
	c.wire = wire
	c.end = func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) } // fails only on a closed connection, which is ended too
	return c, c.nc.SetDeadline(time.Time{})
}

// A statement is prepared on its first use, in the same round trip.
type statement struct {
	name, sql string
	types     []uint32
	bind      pgproto3.Bind // Parameters are filled in before each use
}

// An outcome is how far one statement got.
type outcome struct {
	left   bool   // bytes of it may have left this machine
	rows   int    // rows that came
	tag    string // CommandComplete came, with this
	ready  bool   // ReadyForQuery came: its transaction has ended
	code   string // SQLSTATE of an error reply
	fatal  bool   // the error ended the session
	text   string // the error's message
	warned string // SQLSTATE and message of the first warning
	err    error  // what broke the exchange off
}

// exec sends st and reads until the server is ready again. row, if not nil, is
// called with each row, whose values hold until it returns.
func (c *conn) exec(ctx context.Context, st *statement, row func([][]byte)) (o outcome) {
	if c.gone {
		o.err = net.ErrClosed
		return o
	}
	if o.err = ctx.Err(); o.err != nil {
		return o
	}
	if c.pending(&o); c.gone {
		return o
	}
	stop := context.AfterFunc(ctx, c.end)
	defer func() {
		if !stop() || o.err != nil || o.fatal {
			c.drop() // ctx ended: the deadline stays set, whatever was received
		}
	}()
	before := c.wire.sent.Load()
	c.send(st)
	if err := c.fe.Flush(); err != nil {
		o.left, o.err = c.wire.sent.Load() != before, because(ctx, err)
		return o
	}
	o.left = true
	for !o.ready && o.err == nil {
		c.receive(ctx, st, &o, row)
	}
	return o
}

func (c *conn) send(st *statement) {
	if !c.known[st.name] {
		c.fe.SendParse(&pgproto3.Parse{Name: st.name, Query: st.sql, ParameterOIDs: st.types})
	}
	st.bind.PreparedStatement = st.name
	c.fe.SendBind(&st.bind)
	c.fe.SendExecute(&pgproto3.Execute{})
	c.fe.SendSync(&pgproto3.Sync{})
}

func (c *conn) receive(ctx context.Context, st *statement, o *outcome, row func([][]byte)) {
	msg, err := c.fe.Receive()
	if err != nil {
		o.err = because(ctx, err)
		return
	}
	switch m := msg.(type) {
	case *pgproto3.ParseComplete:
		c.known[st.name] = true
	case *pgproto3.DataRow:
		o.rows++
		if row != nil {
			row(m.Values)
		}
	case *pgproto3.CommandComplete:
		o.tag = tagOf(m.CommandTag)
	case *pgproto3.NoticeResponse:
		if o.warned == "" && m.SeverityUnlocalized == "WARNING" {
			o.warned = m.Code + " " + m.Message
		}
	case *pgproto3.ErrorResponse:
		o.refused(m)
	case *pgproto3.ReadyForQuery:
		o.ready = true
	}
}

func (o *outcome) refused(m *pgproto3.ErrorResponse) {
	o.code, o.text = m.Code, m.Message
	o.fatal = m.SeverityUnlocalized == "FATAL" || m.SeverityUnlocalized == "PANIC"
}

// tagOf spares the allocation for the only tag that matters.
func tagOf(b []byte) string {
	if string(b) == oneRow {
		return oneRow
	}
	return string(b)
}

// because prefers the context's reason over the deadline that it caused.
func because(ctx context.Context, err error) error {
	if e := ctx.Err(); e != nil {
		return e
	}
	return err
}

// pending looks at what came in while the connection was idle, without waiting:
// a server that was shut down has said so, or hung up, and then nothing of the
// next statement need be sent. Where the connection is no socket of ours (it
// was dialled inside a node) this is not seen, and the statement is unknown.
func (c *conn) pending(o *outcome) {
	sc, ok := c.wire.Conn.(syscall.Conn)
	if !ok || c.fe.ReadBufferLen() > 0 {
		return
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return
	}
	first, n, perr := peek(rc)
	switch {
	case perr != nil:
		o.err = perr
	case n == 0:
		o.err = errHungUp
	case n > 0 && c.tls && first == 21: // a TLS alert record: close_notify (RFC 8446, 5.1)
		o.err = errHungUp
	case n > 0 && !c.tls && first == 'E':
		c.lastWords(o)
	default:
		return
	}
	c.drop()
}

var errHungUp = errors.New("the server had hung up")

// lastWords reads the error that ended an idle session.
func (c *conn) lastWords(o *outcome) {
	if err := c.nc.SetDeadline(time.Now().Add(time.Second)); err != nil {
		o.err = err
		return
	}
	msg, err := c.fe.Receive()
	if m, ok := msg.(*pgproto3.ErrorResponse); ok && err == nil {
		o.refused(m)
		return
	}
	o.err = errHungUp
}

// drop closes the connection without a word, as a client that gives up does.
func (c *conn) drop() {
	if c.gone {
		return
	}
	c.gone = true
	_ = c.nc.Close() // nothing was promised about its end
}

// farewell bounds the time that a polite end may take.
const farewell = 200 * time.Millisecond

// close ends the session in the protocol's way.
func (c *conn) close() {
	if c.gone {
		return
	}
	if err := c.nc.SetDeadline(time.Now().Add(farewell)); err == nil {
		c.fe.Send(&pgproto3.Terminate{})
		_ = c.fe.Flush() // the server sees the end either way
	}
	c.drop()
}
