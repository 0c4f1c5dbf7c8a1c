package mysql_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/mysql"
	"github.com/dapple-drills/dapple/probes/systemtest"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/testcluster"
	"github.com/dapple-drills/dapple/targets/testcluster/clustertest"
)

// patience bounds each wait for the group. A member that died is expelled after 20 s
// at most, and one that is started is let in within some seconds.
const patience = 3 * time.Minute

func TestGroupReplicationKeepsTheLawsOfSystems(t *testing.T) {
	c := clustertest.Shared(t, "mysqlgr")
	b := bench{c}
	systemtest.Run(t, &systemtest.Bench{
		Kind: mysql.Kind, Binding: binding(c), Failover: true, Patience: patience,
		Stop: func(ctx context.Context, node string) error { return crash(ctx, b.node(node)) },
		Start: func(ctx context.Context, node string) error {
			return b.node(node).(targets.Starter).Start(ctx)
		},
		Cases: []systemtest.Case{
			{Name: "1290", Want: probes.Failed, Reply: "1290 ", Provoke: func(t *testing.T, s probes.System, run string) probes.Ack {
				return put(t, s, b.having(t, s, probes.Replica), run)
			}},
			b.onPrimary("3231", "SET GLOBAL group_replication_transaction_size_limit = 1", "SET GLOBAL group_replication_transaction_size_limit = DEFAULT", probes.Failed),
			b.onPrimary("3032", "SET GLOBAL offline_mode = ON", "SET GLOBAL offline_mode = OFF", probes.Failed),
			b.onPrimary("1142", "REVOKE ALL ON app.* FROM app; GRANT SELECT ON app.* TO app", "GRANT ALL ON app.* TO app", probes.Failed),
		},
	})
}

func TestAUserWhoMayWriteAndNotLookIsToldWhatIsMissing(t *testing.T) {
	c := clustertest.Shared(t, "mysqlgr")
	sys := open(t, c)
	n := bench{c}.having(t, sys, probes.Primary)
	root(t, n, "REVOKE SELECT ON performance_schema.* FROM app")
	defer root(t, n, "GRANT SELECT ON performance_schema.* TO app")
	fresh := open(t, c)
	claim := fresh.Role(t.Context(), n)
	if claim.Role != probes.Silent || !strings.Contains(claim.Detail, "GRANT SELECT ON performance_schema.*") {
		t.Errorf("its role is %+v", claim)
	}
	if _, err := fresh.Identity(t.Context(), n); err == nil || !strings.Contains(err.Error(), "GRANT SELECT") {
		t.Errorf("its identity: %v", err)
	}
}

func TestAWriteThatWaitsForLongerThanItsClientIsUnknown(t *testing.T) {
	c := clustertest.Shared(t, "mysqlgr")
	sys := open(t, c)
	run := "wait" + fmt.Sprint(time.Now().UnixNano()%1e9)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := sys.Prepare(ctx, run); err != nil {
		t.Fatal(err)
	}
	n := bench{c}.having(t, sys, probes.Primary)
	x, refused := sys.Open(ctx, probes.Where{Node: n})
	if refused != nil {
		t.Fatalf("%+v", *refused)
	}
	defer x.Close()
	lock := make(chan struct{})
	go func() {
		defer close(lock)
		root(t, n, "LOCK TABLES app.dapple_ledger_"+run+" READ; SELECT SLEEP(4)")
	}()
	waits := func() bool {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		ack := x.Put(short, probes.Write{Run: run})
		if ack.Class == probes.Acked {
			return false
		}
		if ack.Class != probes.Unknown || ack.Reply != "no reply in time" || !x.Broken() {
			t.Errorf("%+v, broken: %v", ack, x.Broken())
		}
		return true
	}
	for !waits() {
		select {
		case <-lock:
			t.Fatal("the lock came and went, and no write waited for it")
		default:
		}
	}
	<-lock
	if err := sys.Clean(ctx, run); err != nil {
		t.Error(err)
	}
}

// A bench is a cluster whose nodes are found by name or by role.
type bench struct{ *testcluster.Cluster }

func (b bench) node(name string) targets.Node {
	for _, n := range b.Nodes {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// having waits for a node in that role.
func (b bench) having(t *testing.T, s probes.System, role probes.Role) targets.Node {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		for _, n := range b.Nodes {
			if s.Role(t.Context(), n).Role == role {
				return n
			}
		}
	}
	t.Fatalf("no node is %s", role)
	return nil
}

// onPrimary is a write to the primary while something is set there.
func (b bench) onPrimary(number, set, back string, want probes.Class) systemtest.Case {
	return systemtest.Case{Name: number, Want: want, Reply: number + " ", Provoke: func(t *testing.T, s probes.System, run string) probes.Ack {
		n := b.having(t, s, probes.Primary)
		root(t, n, set)
		defer root(t, n, back)
		ack := put(t, s, n, run)
		// Of what is refused at the door, the number is all that matters.
		ack.Reply = strings.TrimPrefix(ack.Reply, "not connected: ")
		return ack
	}}
}

func put(t *testing.T, s probes.System, n targets.Node, run string) probes.Ack {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	x, refused := s.Open(ctx, probes.Where{Node: n})
	if refused != nil {
		return *refused
	}
	defer x.Close()
	return x.Put(ctx, probes.Write{Run: run})
}

// root runs statements on the node itself, as nobody from outside may.
func root(t *testing.T, n targets.Node, sql string) {
	t.Helper()
	out, err := n.Exec(context.WithoutCancel(t.Context()), "mysql", "--no-defaults", "-S", "/var/lib/dapple/mysqld.sock", "-u", "root", "-e", sql)
	if err != nil {
		t.Errorf("%s on %s: %v: %s", sql, n.Name(), err, out)
	}
}

func binding(c *testcluster.Cluster) probes.Binding {
	return probes.Binding{Nodes: c.Nodes, Clients: probes.Clients{DSN: c.System.Clients.DSN, Password: c.System.Clients.Password.Resolve}, Extra: c.System.Settings.Map()}
}

func open(t *testing.T, c *testcluster.Cluster) *mysql.System {
	t.Helper()
	sys, err := mysql.Open(t.Context(), binding(c))
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

// crash kills pid 1 of a node, and waits until its engine has noticed.
func crash(ctx context.Context, n targets.Node) error {
	p := n.(targets.Processes)
	procs, err := p.Processes(ctx)
	if err != nil || len(procs) == 0 || !procs[0].Main {
		return fmt.Errorf("processes of %s: %v, %w", n.Name(), procs, err)
	}
	h, err := p.Hold(ctx, procs[0].ProcID)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		state, err := n.(targets.Starter).State(ctx)
		if err == nil && !state.Running {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s runs on: %+v, %w", n.Name(), state, err)
		}
	}
}
