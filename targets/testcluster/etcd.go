package testcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/testcluster/embedded"
)

// etcd is the cluster that needs nothing but this program: three members of the
// server that is linked into it. See package embedded.
type etcd struct {
	tune   func(embedded.Options) embedded.Options
	housed bool // in namespaces
}

func etcdKinds() []kind {
	make := func(name, summary string, e etcd) kind {
		return kind{Info: Info{Name: name, Kind: "etcd", Summary: summary, Objectives: etcdObjectives()}, start: e.start, find: e.find, down: e.down}
	}
	return []kind{
		make("etcd", "3 x etcd, child processes on loopback; no Docker, no root", etcd{tune: asItIs}),
		make("etcd-fast-election", "as etcd, with an election timeout of 100 ms, which mistakes a stall for a death", etcd{tune: embedded.FastElection}),
		make("etcd-netns", "3 x etcd, each in a network and on a small disk of its own; no Docker, no root", etcd{tune: asItIs, housed: true}),
	}
}

func asItIs(o embedded.Options) embedded.Options { return o }

func etcdObjectives() scenarios.Objectives {
	o := leaseObjectives()
	o.Detection, o.RTO = duration(3*time.Second), duration(10*time.Second)
	return o
}

// etcdDir is where a cluster that stays lives. One that is bound chooses a place
// of its own, which goes with it.
func etcdDir(o Options) string { return filepath.Join(o.Dir, "clusters", o.As) }

// stamp says what lives in an etcdDir, for List.
type stamp struct {
	Name  string    `json:"name"`
	As    string    `json:"as"`
	Since time.Time `json:"since"`
}

func stampFile(o Options) string { return etcdDir(o) + ".json" }

func (e etcd) start(ctx context.Context, info Info, o Options) (*Cluster, error) {
	if e.housed {
		o.Keeper = o.Housed
	}
	if len(o.Keeper) == 0 || len(o.Member) == 0 {
		return nil, errors.New("no command for its keeper and its members: see Options")
	}
	eo := e.tune(embedded.Options{Keeper: o.Keeper, Member: o.Member, Name: info.Name, Lifeline: o.Lifetime == Bound, Namespaces: e.housed})
	if o.Etcd != (EtcdSettings{}) {
		if eo.ElectionMS != 0 {
			return nil, fmt.Errorf("this cluster has its own election timeout (%d ms): no other settings can be asked for", eo.ElectionMS)
		}
		eo.HeartbeatMS, eo.ElectionMS = int(o.Etcd.Heartbeat.Milliseconds()), int(o.Etcd.Election.Milliseconds())
	}
	if o.Lifetime == Stays {
		if _, err := embedded.Open(ctx, etcdDir(o)); err == nil {
			return nil, fmt.Errorf("in %s: %w", etcdDir(o), ErrUp)
		}
		// What a keeper that was killed left there.
		if err := os.RemoveAll(etcdDir(o)); err != nil {
			return nil, err
		}
		eo.Dir = etcdDir(o)
	}
	o.Progress("starting 3 x etcd as child processes")
	began := time.Now()
	kept, err := embedded.Start(ctx, eo)
	if err != nil {
		return nil, err
	}
	c := etcdCluster(info, kept, o)
	c.Started = time.Since(began)
	if o.Lifetime == Bound {
		c.stop = kept.Close
		return c, nil
	}
	data, err := json.Marshal(stamp{Name: info.Name, As: o.As, Since: time.Now()})
	if err == nil {
		err = os.WriteFile(stampFile(o), data, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, kept.Close(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func etcdCluster(info Info, kept *embedded.Cluster, o Options) *Cluster {
	c := &Cluster{Name: info.Name, Run: filepath.Base(kept.Dir()), Lifetime: o.Lifetime, System: kept.System, Nodes: kept.Nodes, Extra: kept.Extra, Dial: kept.Dial}
	c.System.Objectives = info.Objectives
	c.ready = func(ctx context.Context) error { return etcdReady(ctx, c) }
	return c
}

func (e etcd) find(ctx context.Context, info Info, o Options) (*Cluster, error) {
	kept, err := embedded.Open(ctx, etcdDir(o))
	if errors.Is(err, targets.ErrGone) {
		return nil, ErrNotUp
	}
	if err != nil {
		return nil, err
	}
	o.Lifetime = Stays
	return etcdCluster(info, kept, o), nil
}

func (e etcd) down(ctx context.Context, _ Info, o Options) error {
	kept, err := embedded.Open(ctx, etcdDir(o))
	switch {
	case errors.Is(err, targets.ErrGone):
		// A keeper that was killed took its members along and left the files.
		return errors.Join(ErrNotUp, os.RemoveAll(etcdDir(o)), os.RemoveAll(stampFile(o)))
	case err != nil:
		return err
	}
	return errors.Join(kept.Close(ctx), os.RemoveAll(stampFile(o)))
}

// listEtcd lists those that stay: the others belong to a process that knows them.
func listEtcd(ctx context.Context, o Options) ([]Status, error) {
	files, err := filepath.Glob(filepath.Join(o.Dir, "clusters", "*.json"))
	if err != nil {
		return nil, err
	}
	var all []Status
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var s stamp
		if err := json.Unmarshal(data, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		o.As = s.As
		kept, err := embedded.Open(ctx, etcdDir(o))
		if errors.Is(err, targets.ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		st := Status{Name: s.Name, As: s.As, Run: filepath.Base(kept.Dir()), Lifetime: Stays, Since: s.Since, Parts: len(kept.Nodes)}
		for _, n := range kept.Nodes {
			if state, err := n.(targets.Starter).State(ctx); err == nil && state.Running {
				st.Running++
			}
		}
		all = append(all, st)
	}
	return all, nil
}

// etcdReady waits until each member says that it is healthy, for which it needs
// a leader and a quorum (etcd, GET /health).
func etcdReady(ctx context.Context, c *Cluster) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := etcdHealthy(ctx, c)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func etcdHealthy(ctx context.Context, c *Cluster) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: c.Dial}}
	for _, h := range c.System.Nodes.Hosts {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL+"/health", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s says %s", h.Name, resp.Status)
		}
	}
	return nil
}
