package patroni

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// etcdConfig says where the leader key is.
type etcdConfig struct {
	endpoints []string
	key       string
	ca        string
}

// readEvery is the pause between two linearizable reads of the leader key, which
// bound its changes from below; they go round the endpoints.
const readEvery = 50 * time.Millisecond

// readWithin bounds one read: an etcd that lost its quorum answers none.
const readWithin = 2 * time.Second

// openWithin bounds the wait for the first answer of any endpoint.
const openWithin = 10 * time.Second

// open makes one client per endpoint, so that a member that is frozen or cut off
// holds up nothing but its own: the client's balancer would notice after its
// keepalive only, whose least period is 10 s (grpc, keepalive.ClientParameters).
func (c *etcdConfig) open() (clients []*clientv3.Client, err error) {
	secure, err := c.tls()
	if err != nil {
		return nil, err
	}
	for _, e := range c.endpoints {
		conf := clientv3.Config{
			Endpoints: []string{e}, DialTimeout: readWithin, Logger: zap.NewNop(),
			DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: readWithin,
			MaxUnaryRetries: 1, // 0 stands for the default of 100
		}
		if strings.HasPrefix(e, "https://") {
			conf.TLS = secure
		}
		k, err := clientv3.New(conf)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("settings.etcd %s: %w", e, err), closeAll(clients))
		}
		clients = append(clients, k)
	}
	return clients, nil
}

func closeAll(clients []*clientv3.Client) error {
	var errs []error
	for _, k := range clients {
		errs = append(errs, k.Close())
	}
	return errors.Join(errs...)
}

func (c *etcdConfig) tls() (*tls.Config, error) {
	if c.ca == "" {
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, fmt.Errorf("settings.etcd_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("settings.etcd_ca: %s holds no certificate", c.ca)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// version asks the members for theirs, and returns the first.
func (c *etcdConfig) version(ctx context.Context) (string, error) {
	clients, err := c.open()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	var errs []error
	for i, k := range clients {
		st, err := k.Status(ctx, c.endpoints[i])
		if err == nil {
			return st.Version, closeAll(clients)
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("asking etcd for its version: %w", errors.Join(append(errs, closeAll(clients))...))
}

// watchEtcd feeds k from all endpoints until ctx ends. viewed is called after
// the first read.
func (c *etcdConfig) watchEtcd(ctx context.Context, k *key, viewed func()) (err error) {
	clients, err := c.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(clients)) }()
	rev, err := c.begin(ctx, clients, k)
	if err != nil {
		return err
	}
	viewed()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, client := range clients {
		wg.Go(func() { c.follow(ctx, client, k, rev+1) })
	}
	c.read(ctx, clients, k, &wg)
	wg.Wait()
	return nil
}

// begin reads the key at whichever endpoint answers first.
func (c *etcdConfig) begin(ctx context.Context, clients []*clientv3.Client, k *key) (rev int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	answers := make(chan error, len(clients))
	for _, client := range clients {
		go func() { answers <- c.look(ctx, client, k) }()
	}
	var errs []error
	for range clients {
		err := <-answers
		if err == nil {
			return k.seen(), nil
		}
		errs = append(errs, err)
	}
	return 0, fmt.Errorf("reading %s from etcd: %w", c.key, errors.Join(errs...))
}

// look reads the key linearizably: what it finds held at some instant between
// the call and the reply.
func (c *etcdConfig) look(ctx context.Context, client *clientv3.Client, k *key) error {
	lo := time.Now()
	r, err := client.Get(ctx, c.key)
	if err != nil {
		return err
	}
	l := look{lo: lo, hi: time.Now(), rev: r.Header.Revision}
	if len(r.Kvs) > 0 {
		l.leader = string(r.Kvs[0].Value)
	}
	k.read(l)
	return nil
}

// read starts a read every readEvery, each at the next endpoint, whether or not
// the last one has been answered.
func (c *etcdConfig) read(ctx context.Context, clients []*clientv3.Client, k *key, wg *sync.WaitGroup) {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, readWithin)
			defer cancel()
			_ = c.look(ctx, clients[i%len(clients)], k) // no answer, no bound
		})
	}
}

// follow watches the key at one endpoint from revision on, and takes up the
// watch again where it broke off.
func (c *etcdConfig) follow(ctx context.Context, client *clientv3.Client, k *key, revision int64) {
	for ctx.Err() == nil {
		// A member without a leader would go on silently; so it says so.
		w := client.Watch(clientv3.WithRequireLeader(ctx), c.key, clientv3.WithRev(revision))
		for r := range w {
			at := time.Now()
			for _, e := range r.Events {
				value := string(e.Kv.Value)
				if e.Type == clientv3.EventTypeDelete {
					value = ""
				}
				k.change(at, e.Kv.ModRevision, value)
				revision = e.Kv.ModRevision + 1
			}
			if errors.Is(r.Err(), rpctypes.ErrCompacted) {
				revision = r.CompactRevision
				k.missed()
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(readEvery):
		}
	}
}
