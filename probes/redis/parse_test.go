package redis

import (
	"errors"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/probes"
)

func TestEndpointsAreReadAsApplicationsWriteThem(t *testing.T) {
	for dsn, want := range map[string]endpoint{
		"redis-sentinel://a:1,b,[::1]:3/2#orders": {sentinels: []string{"a:1", "b:26379", "[::1]:3"}, service: "orders", db: 2},
		"redis-sentinel://app@10.0.0.1":           {sentinels: []string{"10.0.0.1:26379"}, service: "mymaster", user: "app"},
		"rediss-sentinel://a,b,c":                 {sentinels: []string{"a:26379", "b:26379", "c:26379"}, service: "mymaster", tls: true},
		"redis://proxy/1":                         {fixed: "proxy:6379", service: "mymaster", db: 1},
		"rediss://app%40x@proxy:7000":             {fixed: "proxy:7000", service: "mymaster", user: "app@x", tls: true},
	} {
		got, err := parseEndpoint(dsn)
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(endpoint{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", dsn, d)
		}
	}
}

func TestAnEndpointThatIsNoneSaysHowToMendIt(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                               "want something like",
		"postgres://h":                   "want something like",
		"redis-sentinel://":              "is no host",
		"redis-sentinel://a,,b":          "is no host",
		"redis-sentinel://a:0":           "is no port",
		"redis-sentinel://a:b:c":         "no host with a port",
		"redis-sentinel://u:secret@a":    "clients.password",
		"redis-sentinel://a#":            "no name of what Sentinels watch",
		"redis-sentinel://a/x":           "no number of a database",
		"redis-sentinel://a/0#my master": "no name of what Sentinels watch",
		"redis://a,b":                    "without Sentinels",
		"redis://a#mymaster":             "asks none",
	} {
		_, err := parseEndpoint(dsn)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", dsn, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows the password: %v", dsn, err)
		}
	}
}

func TestSettingsThatCannotBeMeantAreRefused(t *testing.T) {
	for name, extra := range map[string]map[string]string{
		"redis_port":         {"redis_port": "70000"},
		"sentinel_port":      {"sentinel_port": "x"},
		"no number":          {"wait": "-1"},
		"no duration":        {"wait": "1", "wait_timeout": "5"},
		"how many replicas?": {"wait_timeout": "5s"},
	} {
		_, err1 := readPorts(extra)
		_, err2 := readWait(extra)
		if err := errors.Join(err1, err2); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v, want %q in it", extra, err, name)
		}
	}
	w, err := readWait(map[string]string{"wait": "2", "wait_timeout": "1500ms"})
	if err != nil || w != (wait{2, 1500 * time.Millisecond}) {
		t.Errorf("%+v, %v", w, err)
	}
}

const primaryInfo = "# Replication\r\nrole:master\r\nconnected_slaves:2\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=300,lag=0\r\nmaster_replid:aaaa\r\nmaster_replid2:bbbb\r\nmaster_repl_offset:301\r\nsecond_repl_offset:200\r\n"
const replicaInfo = "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:299\r\nconnected_slaves:0\r\nmaster_replid:aaaa\r\nmaster_replid2:0000\r\nmaster_repl_offset:310\r\nsecond_repl_offset:-1\r\n"

func TestWhatAServerSaysOfItselfIsRead(t *testing.T) {
	got, err := parseInfo("redis_version:7.0.15\r\nrun_id:r1\r\n", primaryInfo)
	if err != nil {
		t.Fatal(err)
	}
	want := info{runID: "r1", version: "7.0.15", engine: "redis", replication: replication{
		role: "master", replid: "aaaa", offset: 301, before: "bbbb", left: 200, replicas: 2,
	}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(info{}, replication{})); d != "" {
		t.Errorf("a primary (-want +got):\n%s", d)
	}
	got, err = parseInfo("redis_version:7.2.4\r\nvalkey_version:8.1.1\r\nrun_id:r2\r\n", replicaInfo)
	if err != nil {
		t.Fatal(err)
	}
	want = info{runID: "r2", version: "8.1.1", engine: "valkey", replication: replication{
		role: "slave", replid: "aaaa", offset: 299, before: "0000", left: -1, primary: "10.0.0.1:6379", linkUp: true,
	}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(info{}, replication{})); d != "" {
		t.Errorf("a replica (-want +got):\n%s", d)
	}
	for text, want := range map[string]string{
		"":                                  "role",
		"role:sentinel\r\n":                 "role",
		"role:master\r\nconnected_slaves:0": "master_replid",
		strings.ReplaceAll(primaryInfo, "301", "many"):               "master_repl_offset",
		strings.ReplaceAll(primaryInfo, "connected_slaves:2", "x:1"): "connected_slaves",
	} {
		if _, err := parseReplication(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}

func TestAReplicaFollowsWhenItHasWhatThePrimaryHad(t *testing.T) {
	lead := info{replication: replication{role: saysPrimary, replid: "aaaa", offset: 300}}
	good := info{replication: replication{role: saysReplica, replid: "aaaa", offset: 300, linkUp: true}}
	for name, c := range map[string]struct {
		change func(*info)
		ok     bool
		lag    int64
	}{
		"it has all":     {func(*info) {}, true, 0},
		"it has more":    {func(i *info) { i.offset = 400 }, true, 0},
		"it is behind":   {func(i *info) { i.offset = 290 }, false, 10},
		"link down":      {func(i *info) { i.linkUp = false }, false, 0},
		"other history":  {func(i *info) { i.replid = "cccc" }, false, 0},
		"it gets a copy": {func(i *info) { i.syncing = true }, false, 0},
	} {
		i, m := good, probes.Member{}
		c.change(&i)
		if got := follows(i, lead, &m); got != c.ok || m.Lag != c.lag || m.Said == "" {
			t.Errorf("%s: %v, %+v", name, got, m)
		}
	}
}

func TestWhatSentinelsPublishIsRead(t *testing.T) {
	for _, c := range []struct {
		m                         message
		kind, service, host, port string
		ok                        bool
	}{
		{message{"+sdown", "master main 10.0.0.1 6379"}, "master", "main", "10.0.0.1", "6379", true},
		{message{"+odown", "master main 10.0.0.1 6379 #quorum 2/2"}, "master", "main", "10.0.0.1", "6379", true},
		{message{"+sdown", "slave 10.0.0.2:6379 10.0.0.2 6379 @ main 10.0.0.1 6379"}, "slave", "main", "10.0.0.2", "6379", true},
		{message{"+sdown", "sentinel abc 10.0.0.3 26379 @ main 10.0.0.1 6379"}, "sentinel", "main", "10.0.0.3", "26379", true},
		{message{"+new-epoch", "4"}, "", "", "", "", false},
		{message{"+tilt", "#tilt mode entered"}, "", "", "", "", false},
		{message{"+sdown", "slave 10.0.0.2:6379 10.0.0.2 6379 @"}, "", "", "", "", false},
		{message{"+sdown", "slave x 10.0.0.2 6379"}, "", "", "", "", false},
	} {
		kind, service, host, port, ok := c.m.whom()
		if kind != c.kind || service != c.service || host != c.host || port != c.port || ok != c.ok {
			t.Errorf("%+v: %s %s %s %s %v", c.m, kind, service, host, port, ok)
		}
	}
	service, host, port, ok := message{"+switch-master", "main 10.0.0.1 6379 10.0.0.2 6380"}.switched()
	if service != "main" || host != "10.0.0.2" || port != "6380" || !ok {
		t.Errorf("%s %s %s %v", service, host, port, ok)
	}
	if _, _, _, ok := (message{"+switch-master", "main 10.0.0.1"}).switched(); ok {
		t.Error("half a message is taken for one")
	}
}

func TestTheRepliesToAWriteAreItsClass(t *testing.T) {
	took := []any{int64(1), []byte("role:master\r\nmaster_replid:aaaa\r\n")}
	readonly := redigo.Error("READONLY You can't write against a read only replica.")
	abort := redigo.Error("EXECABORT Transaction discarded because of previous errors.")
	broke := errors.New("broke")
	for name, c := range map[string]struct {
		replies []any
		asked   int
		err     error
		class   probes.Class
		reply   string
	}{
		"taken":                        {[]any{"OK", "QUEUED", "QUEUED", took}, 0, nil, probes.Acked, "OK"},
		"taken, and on replicas":       {[]any{"OK", "QUEUED", "QUEUED", took, int64(2)}, 1, nil, probes.Acked, "OK"},
		"on too few":                   {[]any{"OK", "QUEUED", "QUEUED", took, int64(1)}, 2, nil, probes.Degraded, "OK, on 1 of 2"},
		"refused":                      {[]any{"OK", readonly, "QUEUED", abort}, 0, nil, probes.Failed, "READONLY You"},
		"refused, then the line broke": {[]any{"OK", readonly}, 0, broke, probes.Failed, "READONLY You"},
		"refused within":               {[]any{"OK", "QUEUED", "QUEUED", []any{redigo.Error("WRONGTYPE x"), []byte("")}}, 0, nil, probes.Failed, "WRONGTYPE"},
		"by nobody knows whom":         {[]any{redigo.Error("ERR upstream failure")}, 0, broke, probes.Unknown, "ERR upstream"},
		"no answer to EXEC":            {[]any{"OK", "QUEUED", "QUEUED"}, 0, broke, probes.Unknown, "broke"},
		"no answer to WAIT":            {[]any{"OK", "QUEUED", "QUEUED", took}, 1, broke, probes.Unknown, "OK, on no replica in time"},
		"demoted while it waits":       {[]any{"OK", "QUEUED", "QUEUED", took, redigo.Error("UNBLOCKED force unblock")}, 1, nil, probes.Unknown, "UNBLOCKED"},
		"an answer that is none":       {[]any{"OK", "QUEUED", "QUEUED", nil}, 0, nil, probes.Unknown, "the transaction's reply"},
	} {
		o := read(c.replies, c.asked)
		o.sent, o.err = true, c.err
		class, reply := o.classify()
		if class != c.class || !strings.HasPrefix(reply, c.reply) {
			t.Errorf("%s: %s %q, want %s %q", name, class, reply, c.class, c.reply)
		}
	}
	if class, reply := (outcome{err: broke}).classify(); class != probes.Failed || reply != "not sent: broke" {
		t.Errorf("nothing was sent: %s %q", class, reply)
	}
}

func TestKeysAndEntriesAreReadBack(t *testing.T) {
	for _, seq := range []uint64{0, 1, 65535, 65536, 1<<40 + 3} {
		c, err := parseKey("r_1", key("r_1", 7, seq))
		if err != nil || c != (probes.Chunk{Client: 7, No: seq >> probes.ChunkBits}) {
			t.Errorf("%d: %+v, %v", seq, c, err)
		}
		got, sent, err := parseEntry(entry(probes.Write{Seq: seq, Sent: time.Second}))
		if err != nil || got != seq || sent != time.Second {
			t.Errorf("%d: %d %v %v", seq, got, sent, err)
		}
	}
	for _, k := range []string{"", "dapple:r_1:7", "dapple:r_1:7:0:0", "dapple:r_2:7:0", "dapple:r_1:-1:0", "dapple:r_1:07:0"} {
		if c, err := parseKey("r_1", k); err == nil {
			t.Errorf("%q is read as %+v", k, c)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	f.Add("redis-sentinel://u@a:1,b,[::1]:3/2#orders")
	f.Add("rediss://[::1")
	f.Fuzz(func(t *testing.T, dsn string) {
		e, err := parseEndpoint(dsn)
		if err == nil && (e.fixed == "") == (len(e.sentinels) == 0) {
			t.Errorf("%q leads nowhere, or two ways: %+v", dsn, e)
		}
	})
}

func FuzzParseReplication(f *testing.F) {
	f.Add(primaryInfo)
	f.Add(replicaInfo)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseReplication(text)
		if err == nil && (r.role == "" || r.replid == "") {
			t.Errorf("%q is read as %+v", text, r)
		}
	})
}

func FuzzMessages(f *testing.F) {
	f.Add("+sdown", "slave 10.0.0.2:6379 10.0.0.2 6379 @ main 10.0.0.1 6379")
	f.Add("+switch-master", "main 10.0.0.1 6379 10.0.0.2 6380")
	f.Fuzz(func(t *testing.T, channel, payload string) {
		m := message{channel, payload}
		if kind, service, host, port, ok := m.whom(); ok && (kind == "" || service == "" || host == "" || port == "") {
			t.Errorf("%+v is about %q %q %q %q", m, kind, service, host, port)
		}
		if service, host, port, ok := m.switched(); ok && (service == "" || host == "" || port == "") {
			t.Errorf("%+v leads to %q %q %q", m, service, host, port)
		}
	})
}

func FuzzParseKeysAndEntries(f *testing.F) {
	f.Add("r", "dapple:r:1:2", "3 4")
	f.Fuzz(func(t *testing.T, run, k, e string) {
		if c, err := parseKey(run, k); err == nil && key(run, c.Client, c.No<<probes.ChunkBits) != k {
			t.Errorf("%q is read as %+v", k, c)
		}
		_, _, _ = parseEntry(e) // it must not panic
	})
}
