package mysql

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	mysqldriver "github.com/go-sql-driver/mysql"
)

// A dial makes a network connection.
type dial func(ctx context.Context, network, addr string) (net.Conn, error)

// A login is who a connection is for, once it is made.
type login struct {
	user     string
	password func() (string, error) // nil: there is none
	database string
	tls      *tls.Config // nil: without
}

// A conn is one connection to one server, used by one goroutine at a time, without
// database/sql: nothing pools it, and nothing makes it anew when it is over.
type conn struct {
	link link
	wire *wire
	gone bool
}

// A link is what is used of a connection of the driver.
type link interface {
	driver.ExecerContext
	driver.QueryerContext
	io.Closer
}

// connect dials and logs in. It returns once the server has answered.
func connect(ctx context.Context, addr string, who login, dial dial) (*conn, error) {
	c := mysqldriver.NewConfig()
	c.User, c.DBName, c.Net, c.Addr = who.user, who.database, "tcp", addr
	if who.password != nil {
		secret, err := who.password()
		if err != nil {
			return nil, fmt.Errorf("reading clients.password: %w", err)
		}
		c.Passwd = secret
	}
	c.InterpolateParams = true // one round trip a statement; only numbers are put in
	c.Logger = &mysqldriver.NopLogger{}
	if who.tls != nil {
		c.TLS = forHost(who.tls, addr)
	}
	w := &wire{}
	c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w.Conn = raw
		return w, nil
	}
	how, err := mysqldriver.NewConnector(c)
	if err != nil {
		return nil, err
	}
	made, err := how.Connect(ctx)
	if err != nil {
		return nil, w.cause(because(ctx, err))
	}
	l, ok := made.(link)
	if !ok {
		return nil, errors.Join(fmt.Errorf("dapple: internal error: the driver's %T has no contexts", made), made.Close())
	}
	return &conn{link: l, wire: w}, nil
}

// exec runs a statement. Of the two numbers, insertID is what LAST_INSERT_ID was
// given.
func (c *conn) exec(ctx context.Context, sql string, args ...int64) (insertID uint64, rows int64, err error) {
	r, err := c.link.ExecContext(ctx, sql, named(args))
	if err != nil {
		return 0, 0, c.failed(ctx, err)
	}
	id, err := r.LastInsertId()
	if err != nil {
		return 0, 0, err
	}
	rows, err = r.RowsAffected()
	return uint64(id), rows, err
}

// query reads all rows, as texts; NULL is "".
func (c *conn) query(ctx context.Context, sql string, args ...int64) (all [][]string, err error) {
	err = c.stream(ctx, sql, args, func(v []driver.Value) error {
		row := make([]string, len(v))
		for i, x := range v {
			row[i] = text(x)
		}
		all = append(all, row)
		return nil
	})
	return all, err
}

// stream calls see with each row, without holding them.
func (c *conn) stream(ctx context.Context, sql string, args []int64, see func([]driver.Value) error) error {
	r, err := c.link.QueryContext(ctx, sql, named(args))
	if err != nil {
		return c.failed(ctx, err)
	}
	v := make([]driver.Value, len(r.Columns()))
	for {
		err := r.Next(v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = see(v)
		}
		if err != nil {
			c.gone = true // rows that were not read are on the connection
			return errors.Join(c.failed(ctx, err), r.Close())
		}
	}
	if err := r.Close(); err != nil {
		return c.failed(ctx, err)
	}
	return nil
}

func named(args []int64) []driver.NamedValue {
	all := make([]driver.NamedValue, len(args))
	for i, a := range args {
		all[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return all
}

func text(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}

// failed notes whether the connection survives err, which is worded by its cause.
func (c *conn) failed(ctx context.Context, err error) error {
	var said *mysqldriver.MySQLError
	if errors.As(err, &said) {
		return err
	}
	c.gone = true
	return c.wire.cause(because(ctx, err))
}

// because is err, or why ctx ended if that is the cause of it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

func (c *conn) close() {
	c.gone = true
	_ = c.link.Close() // its only error is that of the connection, which is over
}

var errHungUp = errors.New("closed by the other side")

// hungUp says whether the other side has ended the connection by now.
func (c *conn) hungUp() error {
	inner, ok := c.wire.Conn.(syscall.Conn)
	if !ok {
		return nil // it was dialled inside a node, and cannot be looked at
	}
	return hungUp(inner)
}

// A wire is a network connection that notes when something of what was written has
// left, until when no byte of a write has; and its first error, of which the driver
// tells only that there was one.
type wire struct {
	net.Conn
	sent atomic.Bool

	mu    sync.Mutex
	first error
}

func (w *wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	if n > 0 {
		w.sent.Store(true)
	}
	w.note(err)
	return n, err
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.note(err)
	return n, err
}

func (w *wire) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first == nil {
		w.first = err
	}
}

// cause is what the driver's word for a broken connection stands for.
func (w *wire) cause(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	vague := errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysqldriver.ErrInvalidConn)
	if vague && w.first != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return w.first
	}
	return err
}
