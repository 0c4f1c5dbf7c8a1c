package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
)

// A dial makes a network connection.
type dial func(ctx context.Context, network, addr string) (net.Conn, error)

// A conn is one connection to one member: when it is over, it stays over. gRPC
// would make it anew behind our back, to a member that may be another one by
// then.
type conn struct {
	rpc *grpc.ClientConn
	raw *once

	sent atomic.Bool // the payload of a call was handed to the transport; see stage
}

// errOver is what gRPC gets when it tries to connect a second time.
var errOver = errors.New("the connection is over")

// connect dials, shakes hands, and returns once the member has answered in
// HTTP/2: a frozen member's kernel takes connections, but does not answer them.
func connect(ctx context.Context, e endpoint, how how, dial dial) (*conn, error) {
	raw, err := dial(ctx, "tcp", e.addr)
	if err != nil {
		return nil, err
	}
	if e.tls {
		if raw, err = secure(ctx, raw, e.host, how.tls); err != nil {
			return nil, err
		}
	}
	c := &conn{raw: &once{Conn: raw}}
	c.rpc, err = grpc.NewClient("passthrough:///"+e.addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // TLS, if any, is done
		grpc.WithContextDialer(c.raw.give),
		grpc.WithStatsHandler((*stage)(&c.sent)),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0), // an old session stays open, however idle
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: never, MinConnectTimeout: time.Minute}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	if err := c.await(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// never: gRPC's own attempts to reconnect are useless here, so they are rare.
var never = backoff.Config{BaseDelay: 24 * time.Hour, Multiplier: 1, MaxDelay: 24 * time.Hour}

func secure(ctx context.Context, raw net.Conn, host string, config *tls.Config) (net.Conn, error) {
	config = config.Clone()
	config.ServerName = host
	t := tls.Client(raw, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS: %w", err), raw.Close())
	}
	return t, nil
}

func (c *conn) await(ctx context.Context) error {
	c.rpc.Connect()
	for {
		switch at := c.rpc.GetState(); at {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			if err := c.raw.why(); err != nil {
				return err
			}
			return errors.New("no HTTP/2 was spoken")
		default:
			if !c.rpc.WaitForStateChange(ctx, at) {
				return ctx.Err()
			}
		}
	}
}

// over says whether the connection is of no more use.
func (c *conn) over() bool { return c.raw.why() != nil }

func (c *conn) close() {
	_ = c.rpc.Close() // its only error is to be closed already
	_ = c.raw.Close() // likewise; it is ours if gRPC never took it
}

// once is a network connection that is given to gRPC a single time, and that
// remembers how it ended.
type once struct {
	net.Conn
	given atomic.Bool

	mu  sync.Mutex
	err error
}

func (o *once) give(context.Context, string) (net.Conn, error) {
	if o.given.Swap(true) {
		o.ended(errOver)
		return nil, errOver
	}
	return o, nil
}

func (o *once) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	o.ended(err)
	return n, err
}

func (o *once) Write(b []byte) (int, error) {
	n, err := o.Conn.Write(b)
	o.ended(err)
	return n, err
}

func (o *once) ended(err error) {
	if err == nil {
		return
	}
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

// stage notes when the payload of a call has been handed to the transport. Until
// then no byte of a write has left; from then on it may have. It serves calls
// that are made one after the other.
type stage atomic.Bool

func (s *stage) HandleRPC(_ context.Context, what stats.RPCStats) {
	if _, ok := what.(*stats.OutPayload); ok {
		(*atomic.Bool)(s).Store(true)
	}
}

func (s *stage) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (s *stage) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (s *stage) HandleConn(context.Context, stats.ConnStats)                       {}
