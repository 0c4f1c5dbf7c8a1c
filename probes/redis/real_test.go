package redis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/redis"
	"github.com/dapple-drills/dapple/probes/systemtest"
	"github.com/dapple-drills/dapple/targets"
)

// guarded is a server that takes no writes which nobody follows.
var guarded = []string{"min-replicas-to-write 1", "min-replicas-max-lag 10"}

func TestRedisUnderSentinelsKeepsTheLawsOfSystems(t *testing.T) {
	b := setup{servers: 3, sentinels: true, conf: guarded}.make(t)
	by := map[string]int{}
	for i, n := range b.nodes {
		by[n.Name()] = i
	}
	systemtest.Run(t, &systemtest.Bench{
		Kind: redis.Kind, Binding: b.binding, Failover: true,
		// The Sentinel goes with the node, as in a container.
		Stop: func(_ context.Context, node string) error {
			signal(t, b.nodes[by[node]], syscall.SIGKILL)
			signal(t, b.sentinels[by[node]], syscall.SIGKILL)
			return nil
		},
		Start: func(ctx context.Context, node string) error {
			return errors.Join(b.nodes[by[node]].(targets.Starter).Start(ctx), b.sentinels[by[node]].(targets.Starter).Start(ctx))
		},
		Cases: []systemtest.Case{
			b.refused("READONLY", func(int) {}, func(int) {}, false),
			b.refused("NOREPLICAS", b.set(t, "min-replicas-to-write", "5"), b.set(t, "min-replicas-to-write", "1"), true),
			b.refused("OOM", b.set(t, "maxmemory", "1mb"), b.set(t, "maxmemory", "0"), true),
			b.refused("MISCONF", b.breakSnapshots(t), b.mendSnapshots(t), true),
		},
	})
}

// set sets a setting of a server.
func (b *bench) set(t *testing.T, name, value string) func(i int) {
	return func(i int) { t.Helper(); b.must(t, i, "CONFIG", "SET", name, value) }
}

// breakSnapshots makes a server's snapshots fail: where the file should be is a
// folder.
func (b *bench) breakSnapshots(t *testing.T) func(i int) {
	return func(i int) {
		if err := os.MkdirAll(filepath.Join(b.dirs[i], "dump.rdb", "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		b.must(t, i, "CONFIG", "SET", "save", "3600 1")
		b.snapshot(t, i, "rdb_last_bgsave_status:err")
	}
}

func (b *bench) mendSnapshots(t *testing.T) func(i int) {
	return func(i int) {
		if err := os.RemoveAll(filepath.Join(b.dirs[i], "dump.rdb")); err != nil {
			t.Fatal(err)
		}
		b.snapshot(t, i, "rdb_last_bgsave_status:ok")
		b.must(t, i, "CONFIG", "SET", "save", "")
	}
}

func (b *bench) snapshot(t *testing.T, i int, until string) {
	t.Helper()
	b.must(t, i, "BGSAVE")
	eventually(t, until, func() bool {
		out, err := redigo.String(b.raw(i, "INFO", "persistence"))
		return err == nil && strings.Contains(out, until) && strings.Contains(out, "rdb_bgsave_in_progress:0")
	})
}

// refused is a write to the primary, or to a replica, after something was broken
// on it, which is mended then.
func (b *bench) refused(code string, breaks, mends func(i int), primary bool) systemtest.Case {
	return systemtest.Case{
		Name: code, Want: probes.Failed, Reply: code + " ",
		Provoke: func(t *testing.T, s probes.System, run string) probes.Ack {
			for i, n := range b.nodes {
				if got := s.Role(t.Context(), n); (got.Role == probes.Primary) == primary {
					breaks(i)
					defer mends(i)
					return put(t, session(t, s.(*redis.System), probes.Where{Node: n}), 5*time.Second, probes.Write{Run: run})
				}
			}
			t.Fatal("there is no such node")
			return probes.Ack{}
		},
	}
}

func TestAServerThatLoadsItsDataRefusesWrites(t *testing.T) {
	b := setup{servers: 1, conf: []string{"appendonly no", "loading-process-events-interval-bytes 1024"}}.make(t)
	for i := range 300 {
		b.must(t, 0, "SET", i, rand.Text()+rand.Text()+rand.Text())
	}
	b.must(t, 0, "SAVE")
	b.must(t, 0, "CONFIG", "SET", "key-load-delay", "10000") // µs
	b.must(t, 0, "CONFIG", "REWRITE")
	signal(t, b.nodes[0], syscall.SIGKILL)
	if err := b.nodes[0].(targets.Starter).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ack probes.Ack
	eventually(t, "the server to load", func() bool {
		x, refused := b.sys.Open(t.Context(), probes.Where{Node: b.nodes[0]})
		if refused != nil {
			return false
		}
		defer x.Close()
		ack = put(t, x, 2*time.Second, probes.Write{Run: "l"})
		return ack.Class == probes.Failed
	})
	want(t, "while it loads", ack, probes.Failed, "LOADING ")
}

func TestAReplicaThatLostItsPrimaryRefusesWrites(t *testing.T) {
	b := setup{servers: 1, conf: []string{"replica-read-only no", "replica-serve-stale-data no"}}.make(t)
	x := session(t, b.sys, probes.Where{Node: b.nodes[0]})
	b.must(t, 0, "REPLICAOF", "127.0.0.1", "1")
	want(t, "without its primary", put(t, x, 5*time.Second, probes.Write{Run: "m"}), probes.Failed, "MASTERDOWN ")
	if got := b.sys.Role(t.Context(), b.nodes[0]); got.Role != probes.Replica || !strings.Contains(got.Detail, "link down") {
		t.Errorf("it claims %+v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, refused := b.sys.Open(ctx, probes.Where{})
	if refused == nil {
		t.Fatal("a client was led to a replica")
	}
	want(t, "a client", *refused, probes.Failed, "not connected: r1, which clients are led to, is a replica")
}

func TestWhoMayNotWriteIsRefusedDefinitely(t *testing.T) {
	b := setup{servers: 1}.make(t)
	b.must(t, 0, "ACL", "SETUSER", "reader", "on", ">r", "allkeys", "+@read", "+info", "+multi", "+exec", "+client")
	as := func(user, password string) probes.Ack {
		sys := b.open(t, func(x *probes.Binding) {
			x.Clients.DSN = strings.Replace(x.Clients.DSN, "redis://", "redis://"+user+"@", 1)
			x.Clients.Password = func() (string, error) { return password, nil }
			if password == "" {
				x.Clients.Password = nil
			}
		})
		s, refused := sys.Open(t.Context(), probes.Where{Node: b.nodes[0]})
		if refused != nil {
			return *refused
		}
		defer s.Close()
		return put(t, s, 2*time.Second, probes.Write{Run: "a"})
	}
	want(t, "a reader", as("reader", "r"), probes.Failed, "NOPERM ")
	want(t, "a wrong password", as("reader", "wrong"), probes.Failed, "not connected: WRONGPASS ")
	want(t, "nobody", as("reader", ""), probes.Failed, "NOAUTH ")
}

func TestAServerThatIsBusyWithAScriptRefusesWrites(t *testing.T) {
	b := setup{servers: 1, conf: []string{"lua-time-limit 10"}}.make(t)
	x := session(t, b.sys, probes.Where{Node: b.nodes[0]})
	done := make(chan error, 1)
	go func() { _, err := b.raw(0, "EVAL", "while true do end", 0); done <- err }()
	var ack probes.Ack
	eventually(t, "the script to run for too long", func() bool {
		ack = put(t, x, 5*time.Second, probes.Write{Run: "b"})
		return ack.Class == probes.Failed
	})
	want(t, "meanwhile", ack, probes.Failed, "BUSY ")
	b.must(t, 0, "SCRIPT", "KILL")
	if err := <-done; err == nil {
		t.Error("the script ended well")
	}
}

func TestAWriteThatTooFewReplicasHaveIsDegradedOrUnknown(t *testing.T) {
	b := setup{servers: 2}.make(t)
	waiting := func(extra ...string) probes.Session {
		sys := b.open(t, func(x *probes.Binding) {
			x.Extra = map[string]string{"redis_port": b.binding.Extra["redis_port"]}
			for i := 0; i < len(extra); i += 2 {
				x.Extra[extra[i]] = extra[i+1]
			}
		})
		return session(t, sys, probes.Where{Node: b.nodes[0]})
	}
	want(t, "nobody is waited for", put(t, waiting(), 5*time.Second, probes.Write{Run: "w"}), probes.Acked, "OK")
	bounded := waiting("wait", "1", "wait_timeout", "50ms")
	got := put(t, bounded, 5*time.Second, probes.Write{Run: "w", Seq: 1})
	want(t, "for a while", got, probes.Degraded, "OK, on 0 of 1 replicas")
	if got.Node != "r1" || got.Epoch == "" || bounded.Broken() {
		t.Errorf("taken by %+v, broken: %v", got, bounded.Broken())
	}
	endless := waiting("wait", "1")
	want(t, "until the client gives up", put(t, endless, 200*time.Millisecond, probes.Write{Run: "w", Seq: 2}), probes.Unknown, "OK, on no replica in time: no reply in time")
	if !endless.Broken() {
		t.Error("a session with an answer to come is used again")
	}

	demoted := make(chan probes.Ack, 1)
	x := waiting("wait", "1")
	go func() { demoted <- put(t, x, 10*time.Second, probes.Write{Run: "w", Seq: 3}) }()
	eventually(t, "the write to wait", func() bool {
		out, err := redigo.String(b.raw(0, "INFO", "clients"))
		return err == nil && strings.Contains(out, "blocked_clients:1")
	})
	b.must(t, 0, "REPLICAOF", b.addrs[1], b.ports[0])
	// What a server says that is demoted differs: it hangs up, or says UNBLOCKED.
	want(t, "the primary is demoted", <-demoted, probes.Unknown, "")
	b.must(t, 0, "REPLICAOF", "NO", "ONE")

	b.must(t, 1, "REPLICAOF", b.addrs[0], b.ports[0])
	eventually(t, "a replica to follow", func() bool {
		out, err := redigo.String(b.raw(1, "INFO", "replication"))
		return err == nil && strings.Contains(out, "master_link_status:up")
	})
	want(t, "with a replica", put(t, waiting("wait", "1"), 10*time.Second, probes.Write{Run: "w", Seq: 4}), probes.Acked, "OK")
}

func TestAWriteWithoutAnAnswerIsUnknownAndOneThatWasNotSentFailed(t *testing.T) {
	b := setup{servers: 1}.make(t)
	n := b.nodes[0]
	old, doomed := session(t, b.sys, probes.Where{Node: n}), session(t, b.sys, probes.Where{Node: n})
	idle := session(t, b.sys, probes.Where{Node: n})
	signal(t, n, syscall.SIGSTOP)
	want(t, "a deadline", put(t, old, 200*time.Millisecond, probes.Write{Run: "u", Seq: 1}), probes.Unknown, "no reply in time")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, refused := b.sys.Open(ctx, probes.Where{Node: n})
	if refused == nil {
		t.Fatal("a frozen server was connected to")
	}
	want(t, "connecting to a frozen server", *refused, probes.Failed, "not connected: no reply in time")
	died := make(chan probes.Ack, 1)
	go func() { died <- put(t, doomed, 30*time.Second, probes.Write{Run: "u", Seq: 2}) }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	<-tick.C // the write is on its way by now; were it not, the class would be failed
	signal(t, n, syscall.SIGKILL)
	want(t, "the server's death", <-died, probes.Unknown, "")
	want(t, "after it", put(t, idle, time.Second, probes.Write{Run: "u", Seq: 3}), probes.Failed, "not sent: ")
	if !old.Broken() || !doomed.Broken() || !idle.Broken() {
		t.Error("a session whose server died is not broken")
	}
	if _, refused = b.sys.Open(t.Context(), probes.Where{Node: n}); refused == nil {
		t.Fatal("a dead server was connected to")
	}
	want(t, "connecting to a dead server", *refused, probes.Failed, "not connected: connection refused")
}
