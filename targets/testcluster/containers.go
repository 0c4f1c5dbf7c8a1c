package testcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"

	"github.com/dapple-drills/dapple/targets/docker"
)

// containers is how clusters of one kind are started and found again: what all of
// them have in common is here.
type containers struct {
	image recipe
	// up starts the parts, and returns once they are ready.
	up func(ctx context.Context, r *run) error
	// describe says what is up in a place.
	describe func(ctx context.Context, info Info, p *place, o Options) (*Cluster, error)
	// holder is the kind of part that has the password of the role app.
	holder string
}

// start starts a cluster. On an error nothing of it is left.
func (c containers) start(ctx context.Context, info Info, o Options) (*Cluster, error) {
	p, err := newPlace(ctx, info.Name, o)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(ctx, p, o); err != nil {
		return nil, errors.Join(err, p.engine.Close())
	}
	began := time.Now()
	r := &run{place: p, secrets: newSecrets(), o: o}
	if err = r.begin(ctx); err == nil {
		err = r.watched(ctx, c.up)
	}
	if err != nil {
		return nil, errors.Join(err, r.stop(context.WithoutCancel(ctx)))
	}
	took := time.Since(began)
	up, err := c.describe(ctx, info, p, o)
	if err != nil {
		return nil, errors.Join(err, r.stop(context.WithoutCancel(ctx)))
	}
	up.Started, up.stop = took, r.stop
	if o.Lifetime == Stays {
		up.stop = func(context.Context) error { return p.engine.Close() }
	}
	return up, nil
}

// prepare does what is not part of the cluster's own time.
func (c containers) prepare(ctx context.Context, p *place, o Options) error {
	if err := sweep(ctx, p.api, o); err != nil {
		return err
	}
	if o.Lifetime == Stays {
		if up, err := staying(ctx, p.api, p.labels[LabelCluster], o); err != nil || up != "" {
			return errors.Join(err, fmt.Errorf("run %s: %w", up, ErrUp))
		}
	}
	image, err := ensureImage(ctx, p.api, c.image, o)
	p.image = image
	return err
}

// find describes the cluster of that name that stays.
func (c containers) find(ctx context.Context, info Info, o Options) (*Cluster, error) {
	e, err := docker.Connect(ctx)
	if err != nil {
		return nil, err
	}
	up, err := c.findIn(ctx, info, &place{engine: e, api: e.API()}, o)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	up.stop = func(context.Context) error { return e.Close() }
	return up, nil
}

func (c containers) findIn(ctx context.Context, info Info, p *place, o Options) (*Cluster, error) {
	id, err := staying(ctx, p.api, info.Name, o)
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, ErrNotUp
	}
	p.id = id
	nets, err := p.api.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", LabelRun+"="+id))})
	if err != nil {
		return nil, fmt.Errorf("listing networks: %w", err)
	}
	if len(nets) != 1 {
		return nil, fmt.Errorf("run %s has %d networks, want 1: remove it with \"dapple cluster down %s\"", id, len(nets), info.Name)
	}
	p.labels = nets[0].Labels
	if p.subnet, err = netip.ParsePrefix(p.labels[LabelSubnet]); err != nil {
		return nil, fmt.Errorf("run %s: its network's label %s: %w", id, LabelSubnet, err)
	}
	up, err := c.describe(ctx, info, p, o)
	if err != nil {
		return nil, err
	}
	return up, recallSecret(ctx, p, o, c.holder)
}

// A run is a cluster that is being started, and later stopped.
type run struct {
	*place
	o       Options
	secrets secrets
	reaper  *reaper
}

// begin makes what comes before the parts: the reaper, the password, the network.
func (r *run) begin(ctx context.Context) error {
	if r.o.Lifetime == Bound {
		reaper, err := r.startReaper(ctx)
		if err != nil {
			return err
		}
		r.reaper = reaper
	}
	if err := writeSecret(r.o.Dir, r.id, r.secrets.app); err != nil {
		return err
	}
	return r.connect(ctx)
}

// stop removes the containers first and lets go of the lifeline then, so that
// the reaper finds nothing to do, and is there if we die on the way.
func (r *run) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	errs := []error{r.removeAll(ctx)}
	if r.reaper != nil {
		errs = append(errs, r.reaper.stop(ctx))
	}
	return errors.Join(append(errs, removeSecret(r.o.Dir, r.id), r.engine.Close())...)
}

// until waits until missing says that nothing is, and tells of what is meanwhile.
func until(ctx context.Context, progress func(string), missing func(context.Context) string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %v", startTimeout))
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	before := ""
	for {
		now := missing(ctx)
		if now == "" {
			return nil
		}
		if now != before {
			progress("waiting: " + now)
			before = now
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), now)
		case <-tick.C:
		}
	}
}

// programsIn are the files of a folder that is embedded, by where they are in a
// container.
func programsIn(files fs.FS, dir string) (map[string]string, error) {
	entries, err := fs.ReadDir(files, dir)
	if err != nil {
		return nil, err
	}
	programs := map[string]string{}
	for _, e := range entries {
		data, err := fs.ReadFile(files, path.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		programs["/etc/dapple/"+e.Name()] = string(data)
	}
	return programs, nil
}
