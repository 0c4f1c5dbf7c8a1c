package patroni

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A server is a real etcd member in this process.
type server struct {
	*embed.Etcd
	once sync.Once
}

// stop may be called again, which Close may not.
func (s *server) stop() { s.once.Do(s.Close) }

// members starts three.
func members(t *testing.T) (ms []*server, endpoints []string) {
	t.Helper()
	var confs []*embed.Config
	var initial []string
	for i := range 3 {
		peer, client := free(t), free(t)
		c := embed.NewConfig()
		c.Name, c.Dir, c.LogLevel, c.Logger = fmt.Sprintf("e%d", i), t.TempDir(), "fatal", "zap"
		c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
		c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
		c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
		c.UnsafeNoFsync = true
		initial = append(initial, c.Name+"="+peer.String())
		endpoints = append(endpoints, client.String())
		confs = append(confs, c)
	}
	for _, c := range confs {
		c.InitialCluster = strings.Join(initial, ",")
		e, err := embed.StartEtcd(c)
		if err != nil {
			t.Fatal(err)
		}
		m := &server{Etcd: e}
		t.Cleanup(m.stop)
		ms = append(ms, m)
	}
	for _, m := range ms {
		select {
		case <-m.Server.ReadyNotify():
		case <-time.After(30 * time.Second):
			t.Fatal("etcd is not ready")
		}
	}
	return ms, endpoints
}

func free(t *testing.T) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "http", Host: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return u
}

// recorder collects events as they come.
type recorder struct {
	mu     sync.Mutex
	events []recorded
	more   chan struct{}
}

type recorded struct {
	lo, hi time.Time
	timeline.Event
}

func (r *recorder) emit(lo, hi time.Time, e timeline.Event) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, recorded{lo, hi, e})
	select {
	case r.more <- struct{}{}:
	default:
	}
	return len(r.events)
}

// next waits for event i and checks that what happened within [lo, hi] is in it.
func (r *recorder) next(t *testing.T, i int, node string, lo, hi time.Time) recorded {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		n := len(r.events)
		r.mu.Unlock()
		if n > i {
			break
		}
		select {
		case <-r.more:
		case <-limit:
			t.Fatalf("event %d never came", i)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.events[i]
	if e.Kind != timeline.Leader || e.Node != node || e.Evidence == "" {
		t.Errorf("event %d is %+v, want the leader %q", i, e, node)
	}
	if e.hi.Before(lo) || e.lo.After(hi) {
		t.Errorf("event %d, %s: [%v, %v] misses what happened within [%v, %v]", i, e.Evidence, e.lo.Sub(lo), e.hi.Sub(lo), 0, hi.Sub(lo))
	}
	return e
}

func TestChangesOfTheLeaderKeyAreBoundedThroughTheLossOfEtcdMembers(t *testing.T) {
	ms, endpoints := members(t)
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	c := etcdConfig{endpoints: endpoints, key: "/service/main/leader"}
	if _, err := client.Put(ctx, c.key, "a"); err != nil {
		t.Fatal(err)
	}
	r := &recorder{more: make(chan struct{}, 1)}
	k := &key{path: c.key, nodeOf: func(s string) string { return s }, emit: r.emit}
	viewed, done := make(chan struct{}), make(chan error, 1)
	watching, stop := context.WithCancel(ctx)
	go func() { done <- c.watchEtcd(watching, k, func() { close(viewed) }) }()
	<-viewed

	// do changes the key by way of a client of its own.
	do := func(change func() error) (lo, hi time.Time) {
		t.Helper()
		lo = time.Now()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		return lo, time.Now()
	}
	put := func(v string) func() error {
		return func() error { _, err := client.Put(ctx, c.key, v); return err }
	}
	remove := func() error { _, err := client.Delete(ctx, c.key); return err }
	lo, hi := do(remove)
	r.next(t, 0, "", lo, hi)
	lo, hi = do(put("b"))
	r.next(t, 1, "b", lo, hi)
	do(put("b")) // the same holder
	do(func() error { _, err := client.Put(ctx, c.key+"/other", "x"); return err })

	lost := ms[0]
	for _, m := range ms { // the leader: the other two have to elect one
		if m.Server.Leader() == m.Server.MemberID() {
			lost = m
		}
	}
	lost.stop()
	lo, hi = do(func() error {
		for {
			if err := remove(); err == nil || ctx.Err() != nil {
				return err
			}
		}
	})
	r.next(t, 2, "", lo, hi)
	lo, hi = do(put("c"))
	r.next(t, 3, "c", lo, hi)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(r.events) != 4 {
		t.Errorf("%d events, want 4: %+v", len(r.events), r.events)
	}
}

func TestALeaseThatEndsIsADeletionAtItsTime(t *testing.T) {
	_, endpoints := members(t)
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := etcdConfig{endpoints: endpoints, key: "/service/main/leader"}
	before := time.Now()
	lease, err := client.Grant(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(ctx, c.key, "a", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	r := &recorder{more: make(chan struct{}, 1)}
	k := &key{path: c.key, nodeOf: func(s string) string { return s }, emit: r.emit}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- c.watchEtcd(watching, k, func() {}) }()
	e := r.next(t, 0, "", before.Add(2*time.Second), before.Add(20*time.Second))
	if e.hi.Before(before.Add(2 * time.Second)) {
		t.Errorf("a lease of 2 s ended after %v", e.hi.Sub(before))
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnEtcdThatNeverAnswersIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	u := free(t)
	c := etcdConfig{endpoints: []string{u.String()}, key: "/x"}
	k := &key{emit: (&recorder{}).emit}
	if err := c.watchEtcd(ctx, k, func() { t.Error("a first view of nothing") }); err == nil {
		t.Error("no error")
	}
}
