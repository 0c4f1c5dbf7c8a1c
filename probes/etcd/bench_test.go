package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/etcd"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/process"
	"github.com/dapple-drills/dapple/targets/testcluster/embedded"
)

// TestMain lets the test's own binary be keeper and members of real clusters.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "keeper":
		err = process.KeeperMain(context.Background(), os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "etcd-member":
		err = embedded.MemberMain(context.Background(), os.Args[2:])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A bench is a real cluster and its system.
type bench struct {
	*embedded.Cluster
	sys     *etcd.System
	binding probes.Binding
}

func cluster(t testing.TB, change func(*embedded.Options)) *bench {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := embedded.Options{Keeper: []string{me, "keeper"}, Member: []string{me, "etcd-member"}, Dir: filepath.Join(t.TempDir(), "c"), Lifeline: true}
	if change != nil {
		change(&o)
	}
	c, err := embedded.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Cluster: c, binding: probes.Binding{
		Nodes: c.Nodes, Extra: c.Extra,
		Clients: probes.Clients{DSN: c.System.Clients.DSN, Connect: time.Second, Statement: 2 * time.Second},
	}}
	if b.sys, err = etcd.Open(t.Context(), b.binding); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(b.sys.Close(), c.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	return b
}

// leader waits until one node claims to lead in a term of its own.
func (b *bench) leader(t testing.TB) (leader targets.Node, others []targets.Node) {
	t.Helper()
	eventually(t, "one leader", func() bool {
		leader, others = nil, nil
		for _, n := range b.Nodes {
			if c := b.role(t, n); c.Role == probes.Primary && c.Epoch != "" {
				leader = n
			} else {
				others = append(others, n)
			}
		}
		return leader != nil && len(others) == len(b.Nodes)-1
	})
	return leader, others
}

func (b *bench) role(t testing.TB, n targets.Node) probes.Claim {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return b.sys.Role(ctx, n)
}

// signal sends sig to the member and, for a deadly one, waits for its death.
func signal(t testing.TB, n targets.Node, sig syscall.Signal) {
	t.Helper()
	s, err := n.(targets.Starter).State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h, err := n.(targets.Processes).Hold(t.Context(), s.Main)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if sig == syscall.SIGKILL {
		if err := h.Exited(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func restart(t testing.TB, n targets.Node) {
	t.Helper()
	eventually(t, n.Name()+" to run again", func() bool {
		if err := n.(targets.Starter).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := n.(targets.Starter).State(t.Context())
		return err == nil && s.Running
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		}
	}
}

func (b *bench) open(t testing.TB, from probes.Where) probes.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	x, refused := b.sys.Open(ctx, from)
	if refused != nil {
		t.Fatalf("open: %+v", *refused)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func put(t testing.TB, x probes.Session, within time.Duration, w probes.Write) probes.Ack {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return x.Put(ctx, w)
}

// raw is a connection for what the probe itself never does.
func (b *bench) raw(t testing.TB, i int) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(b.System.Nodes.Hosts[i].URL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func want(t testing.TB, what string, got probes.Ack, class probes.Class, reply string) {
	t.Helper()
	if got.Class != class || !strings.HasPrefix(got.Reply, reply) {
		t.Errorf("%s: %+v, want %s %q", what, got, class, reply)
	}
}
