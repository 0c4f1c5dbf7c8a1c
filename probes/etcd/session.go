package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// session is a probes.Session: one connection to one member.
type session struct {
	c     *conn
	kv    pb.KVClient
	token string
	// moves: it came by the client endpoint, so it gives a member up that does
	// not serve it, as an application does.
	moves  bool
	gaveUp bool
}

// Open connects: to the node itself, or to the next of the client endpoints that
// answers. Each client begins with another endpoint than the one before it, and
// gives each a fair share of the time that is left.
func (s *System) Open(ctx context.Context, from probes.Where) (probes.Session, *probes.Ack) {
	x, err := s.open(ctx, from)
	if err != nil {
		return nil, &probes.Ack{Class: probes.Failed, Reply: "not connected: " + reason(because(ctx, err))}
	}
	return x, nil
}

func (s *System) open(ctx context.Context, from probes.Where) (*session, error) {
	if from.Node == nil {
		return s.any(ctx)
	}
	p, err := s.place(from.Node)
	if err != nil {
		return nil, err
	}
	e, err := p.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	e.user = s.clients[0].user
	var inside targets.Node
	if from.Inside {
		inside = from.Node
	}
	dial, err := p.dialer(inside)
	if err != nil {
		return nil, err
	}
	return s.to(ctx, e, dial)
}

// any tries the client endpoints in turn.
func (s *System) any(ctx context.Context) (*session, error) {
	first := int(s.next.Add(1) % uint64(len(s.clients)))
	var errs []error
	for i := range s.clients {
		e := s.clients[(first+i)%len(s.clients)]
		x, err := s.try(ctx, e, len(s.clients)-i)
		if err == nil {
			x.moves = true
			return x, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errs[0]
}

// try connects to e within its share of the time: one of left endpoints.
func (s *System) try(ctx context.Context, e endpoint, left int) (*session, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	return s.to(ctx, e, s.bind.Dial)
}

func (s *System) to(ctx context.Context, e endpoint, dial dial) (*session, error) {
	c, err := connect(ctx, e, s.how, dial)
	if err != nil {
		return nil, err
	}
	x := &session{c: c, kv: pb.NewKVClient(c.rpc)}
	if e.user == "" {
		return x, nil
	}
	if x.token, err = s.authenticate(ctx, c, e.user); err != nil {
		c.close()
		return nil, err
	}
	return x, nil
}

func (s *System) authenticate(ctx context.Context, c *conn, user string) (string, error) {
	if s.password == nil {
		return "", fmt.Errorf("user %s: clients.password is missing", user)
	}
	secret, err := s.password()
	if err != nil {
		return "", fmt.Errorf("reading clients.password: %w", err)
	}
	r, err := pb.NewAuthClient(c.rpc).Authenticate(ctx, &pb.AuthenticateRequest{Name: user, Password: secret})
	if err != nil {
		return "", errors.New("authentication: " + told(err))
	}
	return r.Token, nil
}

// because is err, or why ctx ended if that is the cause of it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// as gives ctx what each call of the session carries.
func (x *session) as(ctx context.Context) context.Context { return bearing(ctx, x.token) }

func bearing(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
}

// Put writes one key. Nothing repeats it; if anything did, the key's version
// would show it (see Ledger.IDs).
func (x *session) Put(ctx context.Context, w probes.Write) probes.Ack {
	x.c.sent.Store(false)
	r, err := x.kv.Put(x.as(ctx), &pb.PutRequest{
		Key:   []byte(key(w.Run, w.Client, w.Seq)),
		Value: strconv.AppendInt(nil, int64(w.Sent), 10),
	})
	a := probes.Ack{}
	a.Class, a.Reply = classify(err, x.c.sent.Load())
	if err == nil {
		a.Node, a.Epoch = formatID(r.Header.MemberId), formatTerm(r.Header.RaftTerm)
		return a
	}
	if x.moves && (a.Class == probes.Unknown || a.Reply == noLeader) {
		x.gaveUp = true
	}
	return a
}

var noLeader = told(rpctypes.ErrGRPCNoLeader)

// Broken says that the connection is over, or, for a client of the endpoint,
// that the member did not serve it: an application would turn to another.
func (x *session) Broken() bool { return x.gaveUp || x.c.over() }

// Close hangs up.
func (x *session) Close() error {
	x.c.close()
	return nil
}

// root is below which all keys of the ledger are.
const root = "/dapple/"

// prefix is that of a run's keys.
func prefix(run string) string { return root + run + "/" }

// key is where a write is. The sequence number has a fixed width, so that the
// keys of a client are in its order.
func key(run string, client int, seq uint64) string {
	return prefix(run) + strconv.Itoa(client) + "/" + fmt.Sprintf("%016x", seq)
}

// parseKey is the inverse of key.
func parseKey(run, k string) (client int, seq uint64, err error) {
	rest, ok := strings.CutPrefix(k, prefix(run))
	no, hex, cut := strings.Cut(rest, "/")
	if !ok || !cut || len(hex) != 16 {
		return 0, 0, fmt.Errorf("%q is not a key of run %s", k, run)
	}
	client, err1 := strconv.Atoi(no)
	seq, err2 := strconv.ParseUint(hex, 16, 64)
	if err := errors.Join(err1, err2); err != nil || client < 0 || k != key(run, client, seq) {
		return 0, 0, fmt.Errorf("%q is not a key of run %s", k, run)
	}
	return client, seq, nil
}
