package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapple-drills/dapple/probes"
)

func TestEndpointsAreReadAsEtcdctlTakesThem(t *testing.T) {
	got, err := parseEndpoints("http://a:1, b:2379,https://app@[::1]:7,http://c/")
	if err != nil {
		t.Fatal(err)
	}
	want := []endpoint{
		{addr: "a:1", host: "a"},
		{addr: "b:2379", host: "b"},
		{addr: "[::1]:7", host: "::1", tls: true, user: "app"},
		{addr: "c:2379", host: "c"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(endpoint{})); diff != "" {
		t.Error(diff)
	}
}

func TestABadEndpointIsRefusedWithWhatWasFoundAndNeverWithAPassword(t *testing.T) {
	for list, want := range map[string]string{
		"":                          "an empty endpoint",
		"http://a:1,":               "an empty endpoint",
		"redis://a:1":               `scheme "redis"`,
		"http://:2379":              "want something like",
		"http://a:1/path":           "want something like",
		"http://a:0":                "is no port",
		"http://a:99999":            "is no port",
		"http://app:hunter2@a:1":    "clients.password",
		"http://app:hunter2@a:1:1x": "is no URL",
	} {
		_, err := parseEndpoints(list)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", list, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the password is in %v", list, err)
		}
	}
}

func TestSettingsThatCannotBeMeantAreRefused(t *testing.T) {
	good := probes.Binding{Clients: probes.Clients{DSN: "http://127.0.0.1:1"}}
	for want, change := range map[string]func(*probes.Binding){
		"clients.dsn is missing": func(b *probes.Binding) { b.Clients.DSN = "" },
		"mixes http and https":   func(b *probes.Binding) { b.Clients.DSN = "http://a,https://b" },
		"settings.etcd_port":     func(b *probes.Binding) { b.Extra = map[string]string{"etcd_port": "x"} },
		"want node=value":        func(b *probes.Binding) { b.Extra = map[string]string{"endpoints": "http://a"} },
		"node n1 is there twice": func(b *probes.Binding) { b.Extra = map[string]string{"endpoints": "n1=a,n1=b"} },
		"settings.ca":            func(b *probes.Binding) { b.Clients.DSN, b.Extra = "https://a", map[string]string{"ca": "/nonexistent"} },
		"settings.cert and setti": func(b *probes.Binding) {
			b.Clients.DSN, b.Extra = "https://a", map[string]string{"cert": "/nonexistent"}
		},
	} {
		b := good
		change(&b)
		if _, err := Open(t.Context(), b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := Open(t.Context(), good); err != nil {
		t.Errorf("a system that is down: %v", err)
	}
}

func TestTheNodesPortIsThatOfTheClientsUnlessTheyDiffer(t *testing.T) {
	for list, want := range map[string]string{"a:7,b:7": "7", "a:7,b:8": "2379", "a": "2379"} {
		all, err := parseEndpoints(list)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := nodePort("", all); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", list, got, err, want)
		}
	}
}

func TestOnlyEtcdsOwnRefusalsProveThatAWriteIsAbsent(t *testing.T) {
	for _, c := range []struct {
		err  error
		sent bool
		want probes.Class
		told string
	}{
		{nil, true, probes.Acked, "OK"},
		{rpctypes.ErrGRPCPermissionDenied, true, probes.Failed, "PermissionDenied etcdserver: permission denied"},
		{rpctypes.ErrGRPCNoSpace, true, probes.Failed, "ResourceExhausted etcdserver: mvcc: database space exceeded"},
		{rpctypes.ErrGRPCInvalidAuthToken, true, probes.Failed, "Unauthenticated etcdserver: invalid auth token"},
		{rpctypes.ErrGRPCCompacted, true, probes.Failed, "OutOfRange etcdserver: mvcc: required revision has been compacted"},
		{rpctypes.ErrGRPCNoLeader, true, probes.Failed, "Unavailable etcdserver: no leader"},
		{rpctypes.ErrGRPCTimeout, true, probes.Unknown, "Unavailable etcdserver: request timed out"},
		{rpctypes.ErrGRPCTimeoutDueToLeaderFail, true, probes.Unknown, "Unavailable etcdserver: request timed out, possibly due to previous leader failure"},
		{rpctypes.ErrGRPCTimeoutDueToConnectionLost, true, probes.Unknown, "Unavailable etcdserver: request timed out, possibly due to connection lost"},
		{rpctypes.ErrGRPCLeaderChanged, true, probes.Unknown, "Unavailable etcdserver: leader changed"},
		{rpctypes.ErrGRPCStopped, true, probes.Unknown, "Unavailable etcdserver: server stopped"},
		// gRPC's own troubles by the same codes, after the write has left.
		{status.Error(codes.ResourceExhausted, "grpc: received message larger than max"), true, probes.Unknown, "ResourceExhausted"},
		{status.Error(codes.FailedPrecondition, "etcdserver: something that no etcd says"), true, probes.Unknown, "FailedPrecondition"},
		{status.Error(codes.Unavailable, "error reading from server: read tcp 127.0.0.1:41234->127.0.0.1:2379: connection reset by peer"), true, probes.Unknown, "Unavailable connection broke"},
		{status.Error(codes.DeadlineExceeded, "context deadline exceeded"), true, probes.Unknown, "DeadlineExceeded no reply in time"},
		{status.Error(codes.Unavailable, "connection error"), false, probes.Failed, "not sent: Unavailable connection broke"},
		{context.Canceled, false, probes.Failed, "not sent: given up"},
	} {
		class, told := classify(c.err, c.sent)
		if class != c.want || told != c.told {
			t.Errorf("%v (sent: %v): got %s %q, want %s %q", c.err, c.sent, class, told, c.want, c.told)
		}
	}
}

func TestAFailureToConnectIsWordedWithoutAddressesAndPorts(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2379}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for want, err := range map[string]error{
		"connection refused":         refused,
		"no answer in time":          fmt.Errorf("x: %w", context.DeadlineExceeded),
		"closed by the other side":   io.EOF,
		"name nowhere: no such host": &net.DNSError{Name: "nowhere", Err: "no such host"},
		"something else":             errors.New("something else"),
	} {
		if got := reason(err); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}

func TestTheTimingIsReadFromEtcdsCommandLine(t *testing.T) {
	for line, want := range map[string]timing{
		"etcd --name=a": {heartbeat: 100 * time.Millisecond, election: time.Second},
		"etcd --heartbeat-interval=50 --election-timeout 500":             {heartbeat: 50 * time.Millisecond, election: 500 * time.Millisecond},
		"dapple etcd-member -election-timeout=100 -heartbeat-interval 10": {heartbeat: 10 * time.Millisecond, election: 100 * time.Millisecond},
		"etcd election-timeout=7":                                         {heartbeat: 100 * time.Millisecond, election: time.Second},
	} {
		got, err := parseArgs(strings.Fields(line))
		if err != nil || got.heartbeat != want.heartbeat || got.election != want.election {
			t.Errorf("%s: got %+v, %v; want %+v", line, got, err, want)
		}
	}
	for _, line := range []string{"etcd --election-timeout=1s", "etcd --election-timeout=0", "etcd --heartbeat-interval", "etcd --config-file=/x"} {
		if _, err := parseArgs(strings.Fields(line)); err == nil {
			t.Errorf("%s was taken", line)
		}
	}
}

func TestMembersThatDifferAreToldAndTheLongestTimingPredicts(t *testing.T) {
	got := slowest(map[string]timing{
		"n1": {heartbeat: 100 * time.Millisecond, election: time.Second},
		"n2": {heartbeat: 50 * time.Millisecond, election: 3 * time.Second},
	})
	if got.heartbeat != 100*time.Millisecond || got.election != 3*time.Second || len(got.notes) != 1 || !strings.Contains(got.notes[0], "n2 has") {
		t.Errorf("%+v", got)
	}
}

func TestTimingThatCannotBeReadIsDeclaredOrAssumedAndSaidSo(t *testing.T) {
	for _, c := range []struct {
		extra map[string]string
		want  time.Duration
		note  string
	}{
		{nil, time.Second, "assumed"},
		{map[string]string{"election-timeout": "5s"}, 5 * time.Second, "as declared"},
	} {
		got, err := declared(c.extra)
		if err != nil || got.election != c.want || len(got.notes) != 1 || !strings.Contains(got.notes[0], c.note) {
			t.Errorf("%v: %+v, %v", c.extra, got, err)
		}
	}
	if _, err := declared(map[string]string{"heartbeat-interval": "100"}); err == nil || !strings.Contains(err.Error(), "settings.heartbeat-interval") {
		t.Errorf("a number without a unit: %v", err)
	}
}

func TestALogDatesOnlyTheMembersOwnPromotions(t *testing.T) {
	log := strings.Join([]string{
		`{"level":"info","ts":"2026-11-23T22:25:25.820420Z","logger":"raft","msg":"5503e41bed9c5364 became leader at term 2"}`,
		`{"level":"info","ts":"2026-11-23T22:25:25.820435Z","logger":"raft","msg":"raft.node: 5503e41bed9c5364 elected leader 5503e41bed9c5364 at term 2"}`,
		`{"level":"info","ts":"yesterday","msg":"5503e41bed9c5364 became leader at term 3"}`,
		`became leader at term 4`,
		`{"level":"warn","ts":"2026-11-23T22:25:26Z","msg":"request","content":"x became leader at term 9"}`,
	}, "\n")
	got := leaderships([]byte(log))
	if len(got) != 1 || got[0].term != "2" || got[0].at.UnixMicro() != 1795472725820420 {
		t.Errorf("%+v", got)
	}
}

func FuzzAnEndpointIsReadOrRefused(f *testing.F) {
	for _, seed := range []string{"http://a:1", "b", "https://app@[::1]:7/", "http://u:p@h", "://", "a:b:c", "http://%zz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseEndpoint(text)
		if err != nil {
			return
		}
		if _, port, err := net.SplitHostPort(e.addr); err != nil || port == "" || e.host == "" {
			t.Errorf("%q became %+v: %v", text, e, err)
		}
	})
}

func FuzzAKeyIsReadOrRefused(f *testing.F) {
	f.Add("run", "/dapple/run/0/0000000000000001")
	f.Add("run", "/dapple/run/-1/0000000000000001")
	f.Add("r", "/dapple/r/00/000000000000000g")
	f.Fuzz(func(t *testing.T, run, k string) {
		client, seq, err := parseKey(run, k)
		if err == nil && key(run, client, seq) != k {
			t.Errorf("%q became client %d, seq %d", k, client, seq)
		}
	})
}

func FuzzACommandLineIsReadOrRefused(f *testing.F) {
	f.Add("etcd --heartbeat-interval=50 --election-timeout 500")
	f.Fuzz(func(t *testing.T, line string) {
		got, err := parseArgs(strings.Fields(line))
		if err == nil && (got.heartbeat <= 0 || got.election <= 0) {
			t.Errorf("%q became %+v", line, got)
		}
	})
}

func FuzzALogNeverBreaksTheReader(f *testing.F) {
	f.Add([]byte(`{"ts":"2026-11-23T22:25:25.820420Z","msg":"5503e41bed9c5364 became leader at term 2"}`))
	f.Fuzz(func(t *testing.T, log []byte) {
		for _, l := range leaderships(log) {
			if l.term == "" || l.at.IsZero() && !strings.Contains(l.said, "0001-01-01") {
				t.Errorf("%+v", l)
			}
		}
	})
}
