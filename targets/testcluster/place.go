package testcluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	mobycontainer "github.com/moby/moby/api/types/container"
	mobynetwork "github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"

	"github.com/dapple-drills/dapple/targets/docker"
)

// quiet sets testcontainers up, once per process, before it reads its settings:
// its own reaper is an image that cannot be had without a registry, and ours
// stands in for it; its log lines are nobody's.
var quiet = sync.OnceValue(func() error {
	tclog.SetDefault(tclog.NewNoopLogger())
	if os.Getenv("TESTCONTAINERS_RYUK_DISABLED") != "" {
		return nil
	}
	return os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
})

// A place is where the containers of one run are: an engine, a network, labels.
type place struct {
	engine *docker.Engine
	api    *client.Client
	image  string
	id     string // of the run
	labels map[string]string
	prefix string // of the names of containers

	subnet  netip.Prefix
	network string
}

// newPlace connects, and chooses the run's id. It makes nothing yet.
func newPlace(ctx context.Context, name string, o Options) (*place, error) {
	e, err := docker.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := sameEngine(e.Endpoint()); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	p := &place{engine: e, api: e.API(), id: newID(4), labels: maps.Clone(o.Labels)}
	if p.labels == nil {
		p.labels = map[string]string{}
	}
	p.labels[LabelCluster], p.labels[LabelAs], p.labels[LabelRun], p.labels[LabelLifetime] = name, o.As, p.id, string(o.Lifetime)
	p.prefix = "dapple-" + o.As + "-"
	if o.Lifetime == Bound {
		p.prefix += p.id + "-"
	}
	return p, nil
}

// sameEngine makes testcontainers, which looks for an engine in ways of its own,
// use the one that we found.
func sameEngine(e docker.Endpoint) error {
	if err := quiet(); err != nil {
		return fmt.Errorf("setting testcontainers up: %w", err)
	}
	if os.Getenv("DOCKER_HOST") != "" || e.Host == client.DefaultDockerHost {
		return nil
	}
	if e.Certs != "" {
		return fmt.Errorf("clusters on the engine at %s: an engine with certificates must be given by DOCKER_HOST and DOCKER_CERT_PATH", e)
	}
	return os.Setenv("DOCKER_HOST", e.Host)
}

// newID is 2n random hexadecimal digits.
func newID(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// with is the labels of one part.
func (p *place) with(part, node string) map[string]string {
	l := maps.Clone(p.labels)
	l[LabelPart] = part
	if node != "" {
		l[LabelNode] = node
	}
	return l
}

// connect makes the run's network on a subnet that nobody else has.
func (p *place) connect(ctx context.Context) error {
	free, err := freeSubnets(ctx, p.api, p.id)
	if err != nil {
		return err
	}
	for _, subnet := range free {
		labels := maps.Clone(p.labels)
		labels[LabelSubnet] = subnet.String()
		n, err := tcnetwork.New(ctx, tcnetwork.WithLabels(labels), tcnetwork.WithIPAM(&mobynetwork.IPAM{
			Config: []mobynetwork.IPAMConfig{{Subnet: subnet, Gateway: host(subnet, 1)}},
		}))
		if overlaps(err) {
			continue // somebody was faster
		}
		if err != nil {
			return fmt.Errorf("making a network with the addresses %s: %w", subnet, err)
		}
		p.subnet, p.network = subnet, n.Name
		return nil
	}
	return fmt.Errorf("making a network: all of %d free subnets were taken at once", len(free))
}

// A part is one container to be started.
type part struct {
	kind  string // of LabelPart
	name  string // of LabelNode; also its host name
	addr  netip.Addr
	cmd   []string
	env   map[string]string
	files map[string]string // path → content
	// programs are files that can be run.
	programs map[string]string
	tmpfs    map[string]string // path → options
}

// start starts a container with a fixed address, no restart policy, and nothing
// that outlives it.
func (p *place) start(ctx context.Context, c part) error {
	files := make([]testcontainers.ContainerFile, 0, len(c.files)+len(c.programs))
	for path, content := range c.files {
		files = append(files, testcontainers.ContainerFile{Reader: newReader(content), ContainerFilePath: path, FileMode: 0o444})
	}
	for path, content := range c.programs {
		files = append(files, testcontainers.ContainerFile{Reader: newReader(content), ContainerFilePath: path, FileMode: 0o555})
	}
	_, err := testcontainers.Run(ctx, p.image,
		testcontainers.WithLogger(tclog.NewNoopLogger()),
		testcontainers.WithName(p.prefix+c.name),
		testcontainers.WithLabels(p.with(c.kind, c.name)),
		testcontainers.WithEnv(c.env),
		testcontainers.WithCmd(c.cmd...),
		testcontainers.WithFiles(files...),
		tcnetwork.WithNetworkName([]string{c.name}, p.network),
		testcontainers.WithConfigModifier(func(k *mobycontainer.Config) { k.Hostname = c.name }),
		testcontainers.WithHostConfigModifier(func(h *mobycontainer.HostConfig) {
			h.RestartPolicy = mobycontainer.RestartPolicy{Name: mobycontainer.RestartPolicyDisabled}
			h.Tmpfs = c.tmpfs
			h.ShmSize = 256 << 20 // bytes; Docker's 64 MiB is too little for PostgreSQL's parallel queries
		}),
		testcontainers.WithEndpointSettingsModifier(func(s map[string]*mobynetwork.EndpointSettings) {
			s[p.network].IPAMConfig = &mobynetwork.EndpointIPAMConfig{IPv4Address: c.addr}
		}),
	)
	if err != nil {
		return fmt.Errorf("starting container %s%s: %w", p.prefix, c.name, err)
	}
	return nil
}

// remove removes all of the run but its reaper, and says what could not be.
func (p *place) remove(ctx context.Context) error {
	ours := filters.NewArgs(filters.Arg("label", LabelRun+"="+p.id))
	cs, err := p.api.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	if err != nil {
		return fmt.Errorf("listing containers: %w", err)
	}
	errs := make([]error, len(cs))
	var wg sync.WaitGroup
	for i, c := range cs {
		if c.Labels[LabelPart] == partReaper {
			continue
		}
		wg.Go(func() {
			err := p.api.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
			// Gone already, or somebody else (the reaper) is at it.
			if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
				errs[i] = fmt.Errorf("removing container %s: %w", c.ID[:12], err)
			}
		})
	}
	wg.Wait()
	nets, err := p.api.NetworkList(ctx, network.ListOptions{Filters: ours})
	if err != nil {
		errs = append(errs, fmt.Errorf("listing networks: %w", err))
	}
	for _, n := range nets {
		if err := p.api.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("removing network %s: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// removeAll removes until nothing is left: a container that was being made while
// we looked is seen the next time.
func (p *place) removeAll(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.remove(ctx)
		if err == nil {
			left, listErr := p.left(ctx)
			if listErr == nil && left == 0 {
				return nil
			}
			err = listErr
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// left counts the containers of the run, its reaper excluded.
func (p *place) left(ctx context.Context) (int, error) {
	cs, err := p.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", LabelRun+"="+p.id))})
	if err != nil {
		return 0, fmt.Errorf("listing containers: %w", err)
	}
	n := 0
	for _, c := range cs {
		if c.Labels[LabelPart] != partReaper {
			n++
		}
	}
	return n, nil
}
