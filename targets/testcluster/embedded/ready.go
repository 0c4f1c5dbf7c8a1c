package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/process"
)

// readyWithin is how long a cluster may take to come up if ctx says nothing: ten
// times and more what it takes on an idle machine.
const readyWithin = 60 * time.Second

// lookEvery is how often an unready cluster is looked at.
const lookEvery = 20 * time.Millisecond

// awaitReady returns once every member has the same leader and serves a
// linearizable read, or as soon as one has died.
func (c *Cluster) awaitReady(ctx context.Context, at []place) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	conns, err := connect(at, c.Dial)
	defer func() {
		for _, c := range conns {
			_ = c.Close() // only ever fails if closed before
		}
	}()
	if err != nil {
		return err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		notYet := ready(ctx, conns)
		if notYet == nil {
			return nil
		}
		if err := died(ctx, c.kept); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until it is ready: %w: %w", context.Cause(ctx), notYet)
		case <-tick.C:
		}
	}
}

func connect(at []place, dial func(ctx context.Context, network, addr string) (net.Conn, error)) ([]*grpc.ClientConn, error) {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	var conns []*grpc.ClientConn
	for _, p := range at {
		conn, err := grpc.NewClient("passthrough:///"+p.clientAddr(),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) }),
			// gRPC would wait a second after the first refusal.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: lookEvery, Multiplier: 1, MaxDelay: lookEvery},
				MinConnectTimeout: time.Second,
			}))
		if err != nil {
			return conns, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func ready(ctx context.Context, conns []*grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var leader uint64
	for i, conn := range conns {
		s, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", name(i), err)
		case s.Leader == 0:
			return fmt.Errorf("%s has no leader", name(i))
		case i > 0 && s.Leader != leader:
			return fmt.Errorf("%s follows %x, %s follows %x", name(i), s.Leader, name(i-1), leader)
		}
		leader = s.Leader
	}
	for i, conn := range conns {
		if _, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("/")}); err != nil {
			return fmt.Errorf("reading from %s: %w", name(i), err)
		}
	}
	return nil
}

// died returns an error with the last words of the first member that is dead.
func died(ctx context.Context, kept *process.Cluster) error {
	for _, n := range kept.Nodes() {
		s, err := n.(targets.Starter).State(ctx)
		if err != nil {
			return err
		}
		if s.Running {
			continue
		}
		said, err := lastWords(kept.Log(n.Name()))
		died := fmt.Errorf("member %s died (%s): %s", n.Name(), s.Detail, said)
		if strings.Contains(said, taken) {
			died = fmt.Errorf("%w: %w", errTaken, died)
		}
		return errors.Join(died, err)
	}
	return nil
}

// lastWords are the last lines of a log.
func lastWords(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	const most = 2 << 10
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return strings.TrimSpace(string(data)), nil
}
