package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets/docker"
)

// cluster describes the run in p, which is up.
func (v patroni) cluster(ctx context.Context, info Info, p *place, o Options) (*Cluster, error) {
	sys, err := v.system(info, p, o)
	if err != nil {
		return nil, err
	}
	nodes, err := p.engine.Find(ctx, docker.Query{Labels: sys.Nodes.Docker.Label})
	if err != nil {
		return nil, err
	}
	return &Cluster{
		Name: info.Name, Run: p.id, Lifetime: Lifetime(p.labels[LabelLifetime]), System: sys, Nodes: nodes,
		ready: func(ctx context.Context) error { return v.ready(ctx, p, o.Progress, func(context.Context, missing) {}) },
	}, nil
}

// system is what a system file for the cluster says.
func (v patroni) system(info Info, p *place, o Options) (scenarios.System, error) {
	var etcd []string
	for _, h := range v.etcdHosts(p.subnet) {
		etcd = append(etcd, "http://"+h)
	}
	settings, err := scenarios.NewParams(map[string]any{
		"scope": scope, "etcd": etcd, "rest_port": restPort, "postgres_port": postgresPort,
		"haproxy": "inter 1s fall 2 rise 2", // as in haproxy.cfg.tmpl
	})
	health := scenarios.Health{HTTP: fmt.Sprintf("http://{node}:%d/primary", restPort)}
	if v.portCheck {
		health = scenarios.Health{TCP: fmt.Sprintf("{node}:%d", postgresPort)}
	}
	if err != nil {
		return scenarios.System{}, err
	}
	state := "replicated-async"
	if v.sync {
		state = "replicated-sync"
	}
	return scenarios.System{
		Name: info.Name, Kind: "patroni", Environment: scenarios.CI,
		Nodes: scenarios.Nodes{Docker: &scenarios.DockerNodes{Label: scenarios.Strings{LabelRun + "=" + p.id, LabelPart + "=" + partNode}}},
		Clients: scenarios.Clients{
			DSN:      fmt.Sprintf("postgres://app@%s:%d/app?sslmode=disable", host(p.subnet, haproxyHost), haproxyPrimary),
			Password: scenarios.Secret{File: secretFile(o.Dir, p.id)},
		},
		Health:     health,
		Objectives: info.Objectives,
		Design:     scenarios.Design{Pattern: "active-passive", Detection: "lease", State: state, Recovery: "automatic"},
		Settings:   settings,
	}, nil
}

// recallSecret writes the password file anew if another user, or another state
// directory, started the cluster. The parts of the kind holder have it.
func recallSecret(ctx context.Context, p *place, o Options, holder string) error {
	if _, err := os.Stat(secretFile(o.Dir, p.id)); err == nil {
		return nil
	}
	nodes, err := p.engine.Find(ctx, docker.Query{Labels: []string{LabelRun + "=" + p.id, LabelPart + "=" + holder}})
	if err != nil {
		return err
	}
	password, err := nodes[0].Exec(ctx, "cat", appPasswordFile)
	if err != nil {
		return fmt.Errorf("asking for the password of the role app: %w", err)
	}
	return writeSecret(o.Dir, p.id, string(password))
}

// staying is the run of the cluster that stays under the name of o, or "".
func staying(ctx context.Context, api *client.Client, name string, o Options) (run string, err error) {
	cs, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", LabelCluster+"="+name), filters.Arg("label", LabelAs+"="+o.As), filters.Arg("label", LabelLifetime+"="+string(Stays)))})
	if err != nil {
		return "", fmt.Errorf("listing containers: %w", err)
	}
	// Of several, which takes two that started at one moment, the newest.
	var newest int64
	for _, c := range cs {
		if c.Created > newest {
			newest, run = c.Created, c.Labels[LabelRun]
		}
	}
	return run, nil
}

// downContainers removes every run of that name that stays.
func downContainers(ctx context.Context, info Info, o Options) error {
	e, err := docker.Connect(ctx)
	if err != nil {
		return err
	}
	err = downIn(ctx, e, info.Name, o)
	return errors.Join(err, e.Close())
}

func downIn(ctx context.Context, e *docker.Engine, name string, o Options) error {
	all, err := statuses(ctx, e.API())
	if err != nil {
		return err
	}
	found := false
	for _, s := range all {
		if s.Name != name || s.As != o.As || s.Lifetime != Stays {
			continue
		}
		found = true
		p := &place{engine: e, api: e.API(), id: s.Run}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		err := errors.Join(p.removeAll(ctx), removeSecret(o.Dir, s.Run))
		cancel()
		if err != nil {
			return err
		}
	}
	if !found {
		return ErrNotUp
	}
	return nil
}
