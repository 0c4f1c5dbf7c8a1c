package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// A dial makes a network connection.
type dial func(ctx context.Context, network, addr string) (net.Conn, error)

// A login is who a connection is for, once it is made.
type login struct {
	user     string
	password func() (string, error) // nil: there is none
	db       int
	tls      *tls.Config // nil: without
}

// A conn is one connection to one server or Sentinel, used by one goroutine at a
// time. Nothing makes it anew when it is over.
type conn struct {
	rpc  redigo.Conn
	raw  *stage
	gone bool
}

// clientName shows whose connections ours are, in CLIENT LIST.
const clientName = "dapple"

// connect dials, shakes hands, logs in, and returns once the other side has
// answered: a frozen server's kernel takes connections, but does not answer them.
func connect(ctx context.Context, addr string, who login, dial dial) (*conn, error) {
	raw, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	st := &stage{Conn: raw}
	st.inner, _ = raw.(syscall.Conn)
	if who.tls != nil {
		if st.Conn, err = secure(ctx, raw, addr, who.tls); err != nil {
			return nil, err
		}
	}
	c := &conn{raw: st, rpc: redigo.NewConn(st, 0, 0)}
	if err := c.logIn(ctx, who); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func secure(ctx context.Context, raw net.Conn, addr string, config *tls.Config) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	config = config.Clone()
	config.ServerName = host
	t := tls.Client(raw, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS: %w", err), raw.Close())
	}
	return t, nil
}

// logIn sends what the connection begins with in one piece.
func (c *conn) logIn(ctx context.Context, who login) error {
	var all []command
	if who.password != nil {
		secret, err := who.password()
		if err != nil {
			return fmt.Errorf("reading clients.password: %w", err)
		}
		auth := command{"AUTH", secret}
		if who.user != "" {
			auth = command{"AUTH", who.user, secret}
		}
		all = append(all, auth)
	}
	if who.db != 0 {
		all = append(all, command{"SELECT", strconv.Itoa(who.db)})
	}
	// Last, for it may be refused: Sentinels of old do not know it, and a user may
	// not be allowed to.
	all = append(all, command{"CLIENT", "SETNAME", clientName})
	replies, err := c.pipeline(ctx, all...)
	if err != nil {
		return err
	}
	return firstRefusal(replies[:len(replies)-1])
}

// A command is its words.
type command []string

// pipeline sends commands in one piece and reads their replies, of which any may
// be an error of the server (redigo.Error). An error of its own is the
// connection's, or that of ctx: then the connection is of no more use, and the
// replies are those that came before.
func (c *conn) pipeline(ctx context.Context, all ...command) (replies []any, err error) {
	err = c.within(ctx, func() error {
		if err := c.send(all...); err != nil {
			return err
		}
		var err error
		replies, err = c.receive(len(all))
		return err
	})
	return replies, err
}

// do is a pipeline of one whose error reply is an error.
func (c *conn) do(ctx context.Context, words ...string) (any, error) {
	replies, err := c.pipeline(ctx, words)
	if err != nil {
		return nil, err
	}
	if said, is := replies[0].(redigo.Error); is {
		return nil, said
	}
	return replies[0], nil
}

func (c *conn) send(all ...command) error {
	for _, words := range all {
		args := make([]any, len(words)-1)
		for i, w := range words[1:] {
			args[i] = w
		}
		if err := c.rpc.Send(words[0], args...); err != nil {
			return err
		}
	}
	return c.rpc.Flush()
}

// receive reads n replies. The first error that is the connection's ends it; what
// was read before is returned with it.
func (c *conn) receive(n int) (replies []any, err error) {
	for range n {
		r, err := c.rpc.Receive()
		var said redigo.Error
		switch {
		case errors.As(err, &said):
			r = said
		case err != nil:
			return replies, err
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// within calls do, whose reading and writing end with ctx.
func (c *conn) within(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Conn.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if !stop() {
		c.gone = true // the deadline may come yet
	}
	if err != nil {
		c.gone = true
		return because(ctx, err)
	}
	return nil
}

// because is err, or why ctx ended if that is the cause of it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// over says whether the connection is of no more use.
func (c *conn) over() bool { return c.gone || c.rpc.Err() != nil }

func (c *conn) close() {
	c.gone = true
	_ = c.rpc.Close() // its only error is that of the connection, which is over
}

var errHungUp = errors.New("closed by the other side")

// hungUp says whether the other side has ended the connection by now.
func (c *conn) hungUp() error {
	if c.raw.inner == nil {
		return nil
	}
	return hungUp(c.raw.inner)
}

// A stage is a network connection that notes when something of what was written
// has left: until then no byte of a write has.
type stage struct {
	net.Conn
	inner syscall.Conn // below TLS; nil if it cannot be looked at
	sent  atomic.Bool
}

func (s *stage) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	if n > 0 {
		s.sent.Store(true)
	}
	return n, err
}

// SetReadDeadline does nothing: redigo would clear the deadline that conn.within
// sets.
func (s *stage) SetReadDeadline(time.Time) error { return nil }
