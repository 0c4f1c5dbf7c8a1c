package http

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"sync"
	"time"
)

// A dial makes a network connection.
type dial func(ctx context.Context, network, addr string) (net.Conn, error)

// A link is one connection, and HTTP/1.1 on it. When the connection is over, the
// link is: net/http would connect anew behind our back, and send a request a
// second time where it holds that to be safe, which hides outages and may write
// twice. Here a second connection cannot be had, so neither can happen.
//
// It is used by one goroutine at a time.
type link struct {
	t    *nethttp.Transport
	conn *once
}

// errOver is what net/http gets when it tries to connect a second time.
var errOver = errors.New("the connection is over")

// connect dials, and shakes hands if e is https.
func connect(ctx context.Context, e endpoint, dial dial) (*link, error) {
	raw, err := dial(ctx, "tcp", e.addr)
	if err != nil {
		return nil, err
	}
	if e.tls {
		c := tls.Client(raw, &tls.Config{ServerName: e.host, MinVersion: tls.VersionTLS12})
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("TLS: %w", err), raw.Close())
		}
		raw = c
	}
	l := &link{conn: &once{Conn: raw, tls: e.tls}}
	l.t = &nethttp.Transport{
		DialContext: l.conn.give, DialTLSContext: l.conn.give, DisableCompression: true,
		MaxIdleConnsPerHost: 1, MaxResponseHeaderBytes: 1 << 20,
	}
	return l, nil
}

// do sends one request and waits for the head of the answer. sent says, if there
// is none, whether a byte of the request may have left. No redirect is followed.
func (l *link) do(r *nethttp.Request) (resp *nethttp.Response, sent bool, err error) {
	l.conn.begin()
	r.GetBody = nil // nothing could send the body again
	resp, err = l.t.RoundTrip(r)
	if err != nil {
		sent = l.conn.seal()
		if why := l.conn.why(); why != nil && r.Context().Err() == nil && errors.Is(err, errOver) {
			err = why
		}
		return nil, sent, err
	}
	return resp, true, nil
}

// over says whether the connection is of no more use.
func (l *link) over() bool { return l.conn.why() != nil }

func (l *link) close() {
	_ = l.conn.Close() // its only error is to be closed already
	l.t.CloseIdleConnections()
}

// once is a network connection that is given away a single time, and that knows
// whether it was written to and how it ended.
type once struct {
	net.Conn
	tls bool

	mu     sync.Mutex
	given  bool
	sealed bool
	tried  int // writes that may have sent something, since begin
	err    error
}

func (o *once) give(context.Context, string, string) (net.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.given {
		return nil, errOver
	}
	o.given = true
	return o, nil
}

// begin begins the counting of a request.
func (o *once) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tried = 0
}

// seal lets nothing be written from now on, and says whether anything may have
// been since begin. After it the answer is final.
func (o *once) seal() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
	if o.err == nil {
		o.err = errOver
	}
	return o.tried > 0
}

// errSealed: the request was given up before this.
var errSealed = errors.New("the request was given up")

func (o *once) Write(b []byte) (int, error) {
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return 0, errSealed
	}
	o.tried++
	o.mu.Unlock()
	n, err := o.Conn.Write(b)
	prompt(o.Conn)
	if err != nil {
		o.ended(err)
	}
	if err != nil && n == 0 && !o.tls { // a record of TLS may have left in part
		o.mu.Lock()
		o.tried--
		o.mu.Unlock()
	}
	return n, err
}

func (o *once) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	if err != nil {
		o.ended(err)
	}
	return n, err
}

func (o *once) Close() error {
	o.ended(errOver)
	return o.Conn.Close()
}

func (o *once) ended(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
}

// why is the first error of the connection, or nil while it works.
func (o *once) why() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// dialFor bounds a connection to a node that is only looked at.
const dialFor = 5 * time.Second

// fromHere dials from this machine. Keep-alive probes of TCP are on, as they are
// for an application.
func fromHere() dial { return (&net.Dialer{Timeout: dialFor}).DialContext }
