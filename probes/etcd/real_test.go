package etcd_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/etcd"
	"github.com/dapple-drills/dapple/probes/systemtest"
	"github.com/dapple-drills/dapple/targets"
)

func TestEtcdKeepsTheLawsOfSystems(t *testing.T) {
	b := cluster(t, nil)
	leader, _ := b.leader(t)
	// A law says that what the endpoint takes is taken by the primary. Here any
	// member takes it, so the endpoint of this test is the leader.
	for i, n := range b.Nodes {
		if n == leader {
			b.binding.Clients.DSN = b.System.Nodes.Hosts[i].URL
		}
	}
	by := map[string]targets.Node{}
	for _, n := range b.Nodes {
		by[n.Name()] = n
	}
	systemtest.Run(t, &systemtest.Bench{
		Kind: etcd.Kind, Binding: b.binding, Failover: true, Forwards: true,
		Stop: func(_ context.Context, node string) error {
			signal(t, by[node], syscall.SIGKILL)
			return nil
		},
		Start: func(ctx context.Context, node string) error { return by[node].(targets.Starter).Start(ctx) },
		Cases: []systemtest.Case{{
			Name: "TooLarge", Want: probes.Failed, Reply: "InvalidArgument etcdserver: request is too large",
			Provoke: func(t *testing.T, _ probes.System, _ string) probes.Ack {
				return put(t, b.open(t, probes.Where{}), 5*time.Second, probes.Write{Run: strings.Repeat("x", 1_700_000)}) // etcd's limit is 1.5 MiB, gRPC's a little more
			},
		}},
	})
}

func TestAlarmsRefuseWritesDefinitely(t *testing.T) {
	b := cluster(t, nil)
	x := b.open(t, probes.Where{})
	m := pb.NewMaintenanceClient(b.raw(t, 0))
	for alarm, reply := range map[pb.AlarmType]string{
		pb.AlarmType_NOSPACE: "ResourceExhausted etcdserver: mvcc: database space exceeded",
		pb.AlarmType_CORRUPT: "DataLoss etcdserver: corrupt cluster",
	} {
		for _, do := range []pb.AlarmRequest_AlarmAction{pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE} {
			if _, err := m.Alarm(t.Context(), &pb.AlarmRequest{Action: do, Alarm: alarm}); err != nil {
				t.Fatal(err)
			}
			got := put(t, x, 5*time.Second, probes.Write{Run: "alarm", Client: int(alarm), Seq: uint64(do)})
			if do == pb.AlarmRequest_ACTIVATE {
				want(t, alarm.String(), got, probes.Failed, reply)
			} else {
				want(t, "after "+alarm.String(), got, probes.Acked, "OK")
			}
		}
	}
	holds(t, b, "alarm", 2)
}

// holds checks how many writes of a run are there.
func holds(t *testing.T, b *bench, run string, n uint64) {
	t.Helper()
	digests, err := b.sys.Digests(t.Context(), nil, run)
	if err != nil {
		t.Fatal(err)
	}
	var count uint64
	for _, d := range digests {
		count += d.Count
	}
	if count != n {
		t.Errorf("%d writes of run %s are there, want %d", count, run, n)
	}
}

func TestAuthenticationDecidesBeforeAWriteIsMade(t *testing.T) {
	b := cluster(t, nil)
	a := pb.NewAuthClient(b.raw(t, 0))
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	do(a.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "root", Password: "r"}))
	do(a.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}))
	do(a.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "guest", Password: "g"}))
	do(a.AuthEnable(ctx, &pb.AuthEnableRequest{}))

	want(t, "nobody", put(t, b.open(t, probes.Where{}), 5*time.Second, probes.Write{Run: "auth"}), probes.Failed, "InvalidArgument etcdserver: user name is empty")

	as := func(user, password string) (*etcd.System, error) {
		binding := b.binding
		binding.Clients.DSN = strings.ReplaceAll(binding.Clients.DSN, "http://", "http://"+user+"@")
		binding.Clients.Password = func() (string, error) { return password, nil }
		return etcd.Open(ctx, binding)
	}
	for _, c := range []struct {
		user, password string
		class          probes.Class
		reply          string
	}{
		{"root", "wrong", probes.Failed, "not connected: authentication: InvalidArgument etcdserver: authentication failed"},
		{"guest", "g", probes.Failed, "PermissionDenied etcdserver: permission denied"},
		{"root", "r", probes.Acked, "OK"},
	} {
		sys, err := as(c.user, c.password)
		if err != nil {
			t.Fatal(err)
		}
		x, refused := sys.Open(ctx, probes.Where{})
		if refused == nil {
			ack := put(t, x, 5*time.Second, probes.Write{Run: "auth", Seq: 1})
			refused = &ack
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		}
		want(t, c.user, *refused, c.class, c.reply)
		if c.class == probes.Acked {
			for _, n := range b.Nodes {
				if got := sys.Role(ctx, n); got.Role != probes.Primary && got.Role != probes.Replica {
					t.Errorf("%s with authentication on: %+v", n.Name(), got)
				}
			}
			if err := sys.Fork(ctx, func(_, _ time.Time, e timeline.Event) int {
				t.Errorf("a fork: %+v", e)
				return 0
			}); err != nil {
				t.Error(err)
			}
		}
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAWriteWithoutAQuorumIsUnknownHoweverItEnds(t *testing.T) {
	b := cluster(t, nil)
	leader, others := b.leader(t)
	old := b.open(t, probes.Where{Node: leader})
	doomed := b.open(t, probes.Where{Node: leader})
	patient := b.open(t, probes.Where{Node: leader})
	for _, n := range others {
		signal(t, n, syscall.SIGSTOP)
	}
	want(t, "a deadline", put(t, old, 300*time.Millisecond, probes.Write{Run: "q", Seq: 1}), probes.Unknown, "DeadlineExceeded no reply in time")
	if old.Broken() {
		t.Error("a session to a node is broken by a deadline")
	}
	// etcd itself gives up after 5 s and two election timeouts.
	want(t, "etcd's own deadline", put(t, patient, 30*time.Second, probes.Write{Run: "q", Seq: 2}), probes.Unknown, "Unavailable etcdserver: request timed out")

	died := make(chan probes.Ack, 1)
	go func() { died <- put(t, doomed, 30*time.Second, probes.Write{Run: "q", Seq: 3}) }()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	<-tick.C // the write is on its way by now; were it not, the class would be failed
	signal(t, leader, syscall.SIGKILL)
	want(t, "the member's death", <-died, probes.Unknown, "Unavailable connection broke")
	if !doomed.Broken() {
		t.Error("a session whose member died is not broken")
	}
	want(t, "after it", put(t, doomed, time.Second, probes.Write{Run: "q", Seq: 4}), probes.Failed, "not sent: ")
	want(t, "after it, again", put(t, old, time.Second, probes.Write{Run: "q", Seq: 5}), probes.Failed, "not sent: ")

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, refused := b.sys.Open(ctx, probes.Where{Node: leader})
	if refused == nil {
		t.Fatal("a dead member was connected to")
	}
	want(t, "connecting to a dead member", *refused, probes.Failed, "not connected: connection refused")
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, refused = b.sys.Open(ctx, probes.Where{Node: others[0]}); refused == nil {
		t.Fatal("a frozen member was connected to")
	}
	want(t, "connecting to a frozen member", *refused, probes.Failed, "not connected: no answer in time")
	if got := b.role(t, others[0]); got.Role != probes.Silent || got.Detail == "" {
		t.Errorf("a frozen member claims %+v", got)
	}

	for _, n := range others {
		signal(t, n, syscall.SIGCONT)
	}
	restart(t, leader)
	if err := b.sys.Ready(t.Context(), probes.Write{Run: "q", Client: 9}); err != nil {
		t.Fatal(err)
	}
	ids := map[uint64]int{}
	if err := b.sys.IDs(t.Context(), nil, "q", probes.Chunk{}, func(seq uint64) { ids[seq]++ }); err != nil {
		t.Fatal(err)
	}
	for seq, times := range ids {
		if times > 1 || seq > 3 {
			t.Errorf("write %d, which was not sent or sent once, is there %d times", seq, times)
		}
	}
}

func TestAClientOfTheEndpointTurnsToAnotherMemberWhenOneDoesNotServe(t *testing.T) {
	b := cluster(t, nil)
	_, others := b.leader(t)
	signal(t, others[0], syscall.SIGKILL)
	signal(t, others[1], syscall.SIGSTOP)
	takers := map[string]bool{}
	for range 3 { // whatever endpoint is first
		x := b.open(t, probes.Where{})
		if ack := put(t, x, 200*time.Millisecond, probes.Write{Run: "e"}); ack.Class != probes.Unknown {
			t.Errorf("without a quorum: %+v", ack)
		}
		if !x.Broken() {
			t.Error("the client stays with a member that does not serve it")
		}
	}
	signal(t, others[1], syscall.SIGCONT)
	restart(t, others[0])
	eventually(t, "all members to take writes of clients", func() bool {
		x := b.open(t, probes.Where{})
		if ack := put(t, x, time.Second, probes.Write{Run: "e", Client: 1, Seq: uint64(len(takers))}); ack.Class == probes.Acked {
			takers[b.sys.NodeName(ack.Node)] = true
		}
		return len(takers) == len(b.Nodes) && !takers[""]
	})
}

func TestALedgerOfManyPagesIsReadWhole(t *testing.T) {
	b := cluster(t, nil)
	const keys, batch = 20_000, 100
	fill(t, b, keys, batch)
	digests, err := b.sys.Digests(t.Context(), nil, "many")
	if err != nil || len(digests) != 1 || digests[0].Count != keys || digests[0].Min != 0 || digests[0].Max != keys-1 {
		t.Errorf("%+v, %v", digests, err)
	}
	next := uint64(0)
	if err := b.sys.IDs(t.Context(), nil, "many", probes.Chunk{}, func(seq uint64) {
		if seq != next {
			t.Fatalf("after %d comes %d", next, seq)
		}
		next++
	}); err != nil || next != keys {
		t.Errorf("%d ids, %v", next, err)
	}
	if err := b.sys.Clean(t.Context(), "many"); err != nil {
		t.Fatal(err)
	}
	holds(t, b, "many", 0)
}

// fill makes the keys of a run by transactions, past the sessions.
func fill(t testing.TB, b *bench, keys, batch int) {
	t.Helper()
	kv := pb.NewKVClient(b.raw(t, 0))
	for seq := 0; seq < keys; {
		var q pb.TxnRequest
		for range batch {
			put := &pb.PutRequest{Key: fmt.Appendf(nil, "/dapple/many/0/%016x", seq), Value: []byte("0")}
			q.Success = append(q.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
			seq++
		}
		if _, err := kv.Txn(t.Context(), &q); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkDigests is an audit's reading, per key.
func BenchmarkDigests(b *testing.B) {
	c := cluster(b, nil)
	const keys = 50_000
	fill(b, c, keys, 100)
	for b.Loop() {
		if _, err := c.sys.Digests(b.Context(), nil, "many"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
}
