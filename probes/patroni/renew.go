package patroni

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dapple-drills/dapple/probes"
)

var _ probes.Renewer = (*System)(nil)

// RenewedEvery is the effective loop_wait: in each round of its loop the leader
// renews its lease (patroni/ha.py, update_lock).
func (s *System) RenewedEvery(ctx context.Context) (time.Duration, error) {
	if len(s.etcd.endpoints) == 0 {
		return 0, errors.New("settings.etcd is missing: the leader's renewals are seen in etcd alone")
	}
	c, err := s.config(ctx)
	if err != nil {
		return 0, err
	}
	t, _ := c.clamp()
	return t.loopWait, nil
}

// Renewals tells when the leader renewed its lease. The renewal itself writes no
// key; right after it, in the same step, the leader writes its position to the
// status key (patroni/dcs/__init__.py, update_leader: _update_leader, then
// write_status), as long as it has moved. So a renewal came shortly before what
// is told: after the call of the last read that found the older status, and before
// the arrival of the newer one. A leader that takes no writes is not seen to renew.
func (s *System) Renewals(ctx context.Context, seen func(lo, hi time.Time)) (err error) {
	status := s.etcd
	status.key = path.Join(path.Dir(s.etcd.key), "status")
	clients, err := status.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(clients)) }()
	r := &renewals{seen: seen, asked: map[int64]time.Time{}}
	errs := make(chan error, len(clients))
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { errs <- status.renewals(ctx, c, r) })
	}
	wg.Wait()
	close(errs)
	if ctx.Err() != nil {
		return nil
	}
	for e := range errs {
		err = errors.Join(err, e)
	}
	return fmt.Errorf("watching %s in etcd: %w", status.key, err)
}

// renewals reads the key at one endpoint every readEvery until ctx ends. An
// endpoint that does not answer tells nothing; the others do.
func (c *etcdConfig) renewals(ctx context.Context, client *clientv3.Client, r *renewals) error {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		lo := time.Now()
		within, cancel := context.WithTimeout(ctx, readWithin)
		got, err := client.Get(within, c.key)
		cancel()
		if err == nil && len(got.Kvs) > 0 {
			r.read(lo, time.Now(), got.Kvs[0].ModRevision)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// renewals turns reads of a key into the bounds of its changes.
type renewals struct {
	seen func(lo, hi time.Time)

	mu    sync.Mutex
	rev   int64               // of the latest change that was read
	asked map[int64]time.Time // revision → the call of the latest read that found it
}

// read notes one linearizable read that found the key as of rev. The first is where
// the telling begins: when that change came is not known.
func (r *renewals) read(lo, hi time.Time, rev int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.rev
	if rev < before {
		return // an answer that was overtaken
	}
	if lo.After(r.asked[rev]) {
		r.asked[rev] = lo
	}
	if rev == before {
		return
	}
	r.rev = rev
	if from, ok := r.asked[before]; ok {
		delete(r.asked, before)
		r.seen(from, hi)
	}
}
