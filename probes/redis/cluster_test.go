package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/redis"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/process"
)

// TestMain lets the test's own binary be the keeper of servers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "keeper" {
		if err := process.KeeperMain(context.Background(), os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// patience bounds each wait for servers.
const patience = 30 * time.Second

// A bench is real servers, each on an address of its own in 127.0.0.0/8, with or
// without Sentinels beside them, and their system.
type bench struct {
	nodes     []targets.Node // the servers r1, r2, …
	sentinels []targets.Node // s1, s2, …
	addrs     []string
	dirs      []string
	ports     [2]int // of servers and Sentinels
	binding   probes.Binding
	sys       *redis.System
}

// A setup is what a bench is made of.
type setup struct {
	servers   int
	sentinels bool
	conf      []string // lines for every server
	files     map[string]string
	extra     map[string]string
}

const secret = "test-secret"

// make makes a bench, and waits until it is at rest.
func (s setup) make(t testing.TB) *bench {
	t.Helper()
	testenv.NeedRedis(t)
	b := &bench{ports: [2]int{20000 + rand.IntN(5000), 26000 + rand.IntN(5000)}}
	dir := t.TempDir()
	net := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(250), rand.IntN(250))
	var members []process.Member
	for i := 1; i <= s.servers; i++ {
		b.addrs = append(b.addrs, net+strconv.Itoa(10+i))
		b.dirs = append(b.dirs, filepath.Join(dir, fmt.Sprintf("r%d", i)))
		members = append(members, b.server(t, s, i))
	}
	for i := 1; i <= s.servers && s.sentinels; i++ {
		members = append(members, b.sentinel(t, i))
	}
	b.start(t, dir, members)
	b.binding = probes.Binding{Nodes: b.nodes, Extra: s.extra, Clients: probes.Clients{
		DSN: "redis://" + b.addr(0), Password: func() (string, error) { return secret, nil },
	}}
	if s.sentinels {
		var all []string
		for i := range b.addrs {
			all = append(all, b.sentinelAddr(i))
		}
		b.binding.Clients.DSN = "redis-sentinel://" + strings.Join(all, ",") + "#main"
	}
	if b.binding.Extra == nil {
		b.binding.Extra = map[string]string{}
	}
	b.binding.Extra["redis_port"] = strconv.Itoa(b.ports[0])
	b.atRest(t)
	b.sys = b.open(t, nil)
	return b
}

func (b *bench) addr(i int) string { return net.JoinHostPort(b.addrs[i], strconv.Itoa(b.ports[0])) }
func (b *bench) sentinelAddr(i int) string {
	return net.JoinHostPort(b.addrs[i], strconv.Itoa(b.ports[1]))
}

func (b *bench) server(t testing.TB, s setup, i int) process.Member {
	dir, addr := b.dirs[i-1], b.addrs[i-1]
	lines := []string{
		"bind " + addr, "bind-source-addr " + addr, "port " + strconv.Itoa(b.ports[0]), "dir " + dir, "appendonly yes", `save ""`,
		"requirepass " + secret, "masterauth " + secret, "repl-diskless-sync-delay 0", "appendfsync no",
	}
	if i > 1 && s.sentinels {
		lines = append(lines, fmt.Sprintf("replicaof %s %d", b.addrs[0], b.ports[0]))
	}
	return member(t, dir, fmt.Sprintf("r%d", i), "redis-server", addr, append(lines, s.conf...), s.files)
}

// The timing of the Sentinels of a bench.
const (
	downAfter       = time.Second
	failoverTimeout = 3 * time.Second
)

func (b *bench) sentinel(t testing.TB, i int) process.Member {
	addr := b.addrs[i-1]
	return member(t, b.dirs[i-1], fmt.Sprintf("s%d", i), "redis-sentinel", addr, []string{
		"bind " + addr, "bind-source-addr " + addr, "port " + strconv.Itoa(b.ports[1]), "dir " + b.dirs[i-1], "sentinel announce-ip " + addr,
		fmt.Sprintf("sentinel monitor main %s %d 2", b.addrs[0], b.ports[0]), "sentinel auth-pass main " + secret,
		fmt.Sprintf("sentinel down-after-milliseconds main %d", downAfter.Milliseconds()),
		fmt.Sprintf("sentinel failover-timeout main %d", failoverTimeout.Milliseconds()),
	}, nil)
}

func member(t testing.TB, dir, name, program, addr string, lines []string, files map[string]string) process.Member {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, name+".conf")
	all := map[string]string{conf: strings.Join(lines, "\n") + "\n"}
	for file, text := range files {
		all[filepath.Join(dir, file)] = text
	}
	for path, text := range all {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return process.Member{Name: name, Argv: []string{program, conf}, Addresses: []string{addr}}
}

func (b *bench) start(t testing.TB, dir string, members []process.Member) {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := process.Start(t.Context(), process.Options{Keeper: []string{me, "keeper"}, Dir: filepath.Join(dir, "k"), Members: members, Lifeline: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kept.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, n := range kept.Nodes() {
		if n.Name()[0] == 'r' {
			b.nodes = append(b.nodes, n)
		} else {
			b.sentinels = append(b.sentinels, n)
		}
	}
	begin(t, b.nodes)
}

func begin(t testing.TB, nodes []targets.Node) {
	t.Helper()
	for _, n := range nodes {
		if err := n.(targets.Starter).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// atRest waits until every server answers and follows, and then has the Sentinels
// find each other: they ask about replicas at once, and then every 10 s only.
func (b *bench) atRest(t testing.TB) {
	t.Helper()
	for i := range b.addrs {
		eventually(t, b.nodes[i].Name()+" to answer", func() bool {
			out, err := redigo.String(b.raw(i, "INFO", "replication"))
			want := "role:master"
			if i > 0 && len(b.sentinels) > 0 {
				want = "master_link_status:up"
			}
			return err == nil && strings.Contains(out, want)
		})
	}
	begin(t, b.sentinels)
	for i := range b.sentinels {
		eventually(t, b.sentinels[i].Name()+" to know the others", func() bool {
			f, err := redigo.StringMap(call(b.sentinelAddr(i), "", "SENTINEL", "MASTER", "main"))
			n := strconv.Itoa(len(b.addrs) - 1)
			return err == nil && f["num-slaves"] == n && f["num-other-sentinels"] == n && f["flags"] == "master"
		})
	}
}

// raw asks a server, past the system.
func (b *bench) raw(i int, cmd string, args ...any) (any, error) {
	return call(b.addr(i), secret, cmd, args...)
}

// must is raw that has to go well.
func (b *bench) must(t testing.TB, i int, cmd string, args ...any) {
	t.Helper()
	if _, err := b.raw(i, cmd, args...); err != nil {
		t.Fatalf("%s %v on r%d: %v", cmd, args, i+1, err)
	}
}

func call(addr, password, cmd string, args ...any) (any, error) {
	c, err := redigo.Dial("tcp", addr, redigo.DialPassword(password), redigo.DialConnectTimeout(time.Second), redigo.DialReadTimeout(2*time.Second))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Do(cmd, args...)
}

// open opens the bench as a system, with changes to how it is bound.
func (b *bench) open(t testing.TB, change func(*probes.Binding)) *redis.System {
	t.Helper()
	binding := b.binding
	if change != nil {
		change(&binding)
	}
	sys, err := redis.Open(t.Context(), binding)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
	})
	return sys
}

// session opens a session that is closed with the test.
func session(t testing.TB, sys *redis.System, from probes.Where) probes.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	x, refused := sys.Open(ctx, from)
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
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return x.Put(ctx, w)
}

func want(t testing.TB, what string, got probes.Ack, class probes.Class, reply string) {
	t.Helper()
	if got.Class != class || !strings.HasPrefix(got.Reply, reply) {
		t.Errorf("%s: %+v, want %s and %q", what, got, class, reply)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func signal(t testing.TB, n targets.Node, sig syscall.Signal) {
	t.Helper()
	p := n.(targets.Processes)
	procs, err := p.Processes(t.Context())
	if err != nil || len(procs) == 0 {
		t.Fatalf("processes of %s: %v, %v", n.Name(), procs, err)
	}
	h, err := p.Hold(t.Context(), procs[0].ProcID)
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
