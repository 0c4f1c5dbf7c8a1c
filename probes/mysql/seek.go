package mysql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// A host is an address of the clients' endpoint, with the connection over which it is
// asked who is primary.
type host struct {
	addr string
	line line
}

// look bounds the wait for servers that do not answer, so that the others' answer is
// not held up. It is far above a round trip and below any failover.
const look = time.Second

// An answer is what one host said when it was asked.
type answer struct {
	addr string
	v    view
	err  error
}

// seek finds a server that takes writes: all are asked at once, and the first is
// taken that says of itself that it is a primary, can be written to, and reaches the
// majority. It is what MySQL Router looks at too. Those that answer later are not
// waited for, and their connections are kept.
func (s *System) seek(ctx context.Context) (addr string, err error) {
	answers := make(chan answer, len(s.hosts))
	for _, h := range s.hosts {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), look)
			defer cancel()
			a := answer{addr: h.addr}
			a.err = h.line.ask(ctx, func(ctx context.Context) (*conn, error) {
				return connect(ctx, h.addr, s.login(), (&net.Dialer{}).DialContext)
			}, func(ctx context.Context, c *conn) (err error) {
				a.v, err = c.view(ctx)
				return err
			})
			answers <- a
		}()
	}
	var said []error
	for range s.hosts {
		select {
		case a := <-answers:
			if a.err == nil && a.v.leads() {
				return a.addr, nil
			}
			if a.err == nil {
				a.err = errors.New(a.v.String())
			}
			said = append(said, a.err)
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return "", &nobody{said}
}

// nobody is that no server says that it takes writes.
type nobody struct{ said []error }

func (n *nobody) Error() string { return fmt.Sprintf("none of %d servers takes writes", len(n.said)) }
