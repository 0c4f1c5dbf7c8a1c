package testcluster_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/redis"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/testcluster"
	"github.com/dapple-drills/dapple/targets/testcluster/clustertest"
)

func TestALostRedisNodeTakesItsSentinelAlongAndIsReplaced(t *testing.T) {
	c := clustertest.Shared(t, "redis-sentinel")
	if c.Started > time.Minute {
		t.Errorf("it was ready after %v", c.Started)
	}
	sys, err := redis.Open(t.Context(), probes.Binding{Nodes: c.Nodes, Clients: probes.Clients{DSN: c.System.Clients.DSN, Password: c.System.Clients.Password.Resolve}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
	})
	settings, notes, err := sys.Settings(t.Context())
	if err != nil || len(notes) > 0 {
		t.Errorf("settings: %v, %v", err, notes)
	}
	for name, want := range map[string]string{"down-after-milliseconds": "5000", "failover-timeout": "10000", "quorum": "2", "min-replicas-to-write": "1", "min-replicas-max-lag": "2"} {
		if settings[name] != want {
			t.Errorf("%s is %q, want %q", name, settings[name], want)
		}
	}
	old := redisPrimary(t, c, sys, nil)
	sentinel := redisAddr(t, old) + ":26379"
	redisKill(t, old)
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", sentinel); err == nil {
		conn.Close()
		t.Error("the Sentinel of a lost node answers")
	}
	redisPrimary(t, c, sys, old)
	// That it rejoins is tested where servers are processes: it takes a while.
	if err := old.(targets.Starter).Start(t.Context()); err != nil {
		t.Error(err)
	}
}

// redisPrimary waits until exactly one node claims to be the primary, another than
// not, which may be down.
func redisPrimary(t *testing.T, c *testcluster.Cluster, sys *redis.System, not targets.Node) targets.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var primaries []targets.Node
		var said []string
		for _, n := range c.Nodes {
			claim := sys.Role(ctx, n)
			if claim.Role == probes.Primary {
				primaries = append(primaries, n)
			}
			said = append(said, fmt.Sprintf("%s is %s", n.Name(), claim.Role))
		}
		if len(primaries) == 1 && (not == nil || primaries[0].Name() != not.Name()) {
			return primaries[0]
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no primary: %s", strings.Join(said, ", "))
		case <-tick.C:
		}
	}
}

func redisAddr(t *testing.T, n targets.Node) string {
	t.Helper()
	addrs, err := n.(targets.Addresser).Addresses(t.Context())
	if err != nil || len(addrs) == 0 {
		t.Fatalf("the address of %s: %v, %v", n.Name(), addrs, err)
	}
	return addrs[0]
}

// redisKill kills pid 1 of a node, and waits until its engine has noticed.
func redisKill(t *testing.T, n targets.Node) {
	t.Helper()
	p := n.(targets.Processes)
	procs, err := p.Processes(t.Context())
	if err != nil || len(procs) == 0 || !procs[0].Main {
		t.Fatalf("processes of %s: %v, %v", n.Name(), procs, err)
	}
	h, err := p.Hold(t.Context(), procs[0].ProcID)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		state, err := n.(targets.Starter).State(t.Context())
		if err == nil && !state.Running {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s runs on: %+v, %v", n.Name(), state, err)
		}
	}
}
