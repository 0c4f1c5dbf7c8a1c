package testcluster

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sync/errgroup"
)

// The ports of a patroni cluster.
const (
	postgresPort   = 5432
	relayPort      = 5433 // where standbys stream from, in patroni-async-lag
	restPort       = 8008
	etcdPort       = 2379
	etcdPeerPort   = 2380
	haproxyPrimary = 5000
	haproxyReplica = 5001
)

// The last part of the addresses of a patroni cluster, in its subnet.
const (
	haproxyHost = 5
	nodeHost    = 10 // pg1 is .11
	etcdHost    = 20 // etcd1 is .21
	members     = 3
)

// scope is the cluster's name within Patroni and etcd. PostgreSQL shows it in the
// titles of its processes, so it is no word by which a program is recognised.
const scope = "main"

// relayDelay is how long patroni-async-lag holds back what reaches the standbys.
const relayDelay = 2 * time.Second

// Patroni's own defaults (docs/dynamic_configuration.rst).
const (
	defaultTTL          = 30 * time.Second
	defaultLoopWait     = 10 * time.Second
	defaultRetryTimeout = 10 * time.Second
)

// PatroniSettings are the settings of a patroni cluster; zero is the default.
type PatroniSettings struct {
	TTL          time.Duration // of the leader's lease
	LoopWait     time.Duration
	RetryTimeout time.Duration
}

func (s PatroniSettings) complete() (PatroniSettings, error) {
	s.TTL = cmp.Or(s.TTL, defaultTTL)
	s.LoopWait = cmp.Or(s.LoopWait, defaultLoopWait)
	s.RetryTimeout = cmp.Or(s.RetryTimeout, defaultRetryTimeout)
	for _, d := range []time.Duration{s.TTL, s.LoopWait, s.RetryTimeout} {
		if d < time.Second || d%time.Second != 0 {
			return s, fmt.Errorf("patroni setting %v: want whole seconds, at least 1s", d)
		}
	}
	// The rule is Patroni's (docs/dynamic_configuration.rst): what breaks it is
	// silently raised there.
	if least := s.LoopWait + 2*s.RetryTimeout; s.TTL < least {
		return s, fmt.Errorf("patroni ttl %v is below loop_wait + 2 * retry_timeout = %v", s.TTL, least)
	}
	return s, nil
}

// start starts everything at once: who has to wait for whom finds out itself, as
// after a power cut.
func (v patroni) start(ctx context.Context, info Info, o Options) (*Cluster, error) {
	settings, err := v.settingsFor(o.Patroni)
	if err != nil {
		return nil, err
	}
	c := v.containers()
	c.up = func(ctx context.Context, r *run) error {
		return (&patroniStart{patroni: v, run: r, settings: settings}).all(ctx)
	}
	return c.start(ctx, info, o)
}

func (v patroni) find(ctx context.Context, info Info, o Options) (*Cluster, error) {
	return v.containers().find(ctx, info, o)
}

func (v patroni) containers() containers {
	return containers{image: recipe{"patroni", patroniFiles}, holder: partHAProxy, describe: v.cluster}
}

// A patroniStart is a cluster that is being started.
type patroniStart struct {
	patroni
	*run
	settings PatroniSettings
}

func (s *patroniStart) all(ctx context.Context) error {
	s.o.Progress(fmt.Sprintf("starting 3 x etcd, 3 x Patroni and HAProxy on %s", s.subnet))
	parts, err := s.parts()
	if err != nil {
		return err
	}
	if err := s.startAll(ctx, parts); err != nil {
		return err
	}
	w := &waker{url: fmt.Sprintf("http://%s:%d/config", host(s.subnet, nodeHost+1), restPort)}
	if err := s.patroni.ready(ctx, s.place, s.o.Progress, w.again); err != nil {
		return err
	}
	if err := errors.Join(w.done(ctx), s.declare(ctx)); err != nil || !s.colocated {
		return err
	}
	return s.leadBeside(ctx)
}

// declare says the variant's own timeouts again, as somebody who edits them does, and
// waits until each member knows. At bootstrap Patroni bends what it does not allow
// before it is kept (patroni/config.py, _validate_and_adjust_timeouts): nothing would
// tell later that it was ever asked for.
func (s *patroniStart) declare(ctx context.Context) error {
	if s.declared == (PatroniSettings{}) {
		return nil
	}
	var config struct {
		TTL int `json:"ttl"`
	}
	url := func(no int) string { return fmt.Sprintf("http://%s:%d/config", host(s.subnet, nodeHost+no), restPort) }
	declared := map[string]any{
		"ttl": int(s.settings.TTL.Seconds()), "loop_wait": int(s.settings.LoopWait.Seconds()), "retry_timeout": int(s.settings.RetryTimeout.Seconds()),
	}
	if err := ask(ctx, http.MethodPatch, url(1), declared, &config); err != nil {
		return fmt.Errorf("declaring the ttl: %w", err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for no := 1; no <= members; {
		if err := ask(ctx, http.MethodGet, url(no), nil, &config); err != nil {
			return fmt.Errorf("reading the ttl that was declared: %w", err)
		}
		if config.TTL == declared["ttl"] {
			no++
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// startAll starts the parts at once; the nodes after the first later, if it is
// to be the first primary.
func (s *patroniStart) startAll(ctx context.Context, parts []part) error {
	later := func(c part) bool { return s.portCheck && c.kind == partNode && c.name != nodeName(1) }
	g, gctx := errgroup.WithContext(ctx)
	for _, c := range parts {
		if !later(c) {
			g.Go(func() error { return s.place.start(gctx, c) })
		}
	}
	if s.portCheck {
		g.Go(func() error { return s.firstLeads(gctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	g, gctx = errgroup.WithContext(ctx)
	for _, c := range parts {
		if later(c) {
			g.Go(func() error { return s.place.start(gctx, c) })
		}
	}
	return g.Wait()
}

//go:embed patroni.yml.tmpl
var patroniTemplate string

//go:embed haproxy.cfg.tmpl
var haproxyTemplate string

// parts are all containers of the cluster but the reaper.
func (s *patroniStart) parts() ([]part, error) {
	var parts []part
	for i := 1; i <= members && !s.colocated; i++ {
		name := fmt.Sprintf("etcd%d", i)
		parts = append(parts, part{kind: partEtcd, name: name, addr: s.etcdAddr(i), cmd: append([]string{"etcd"}, s.etcdArgs(i)...)})
	}
	for i := 1; i <= members; i++ {
		c, err := s.node(i)
		if err != nil {
			return nil, err
		}
		parts = append(parts, c)
	}
	c, err := s.haproxy()
	return append(parts, c), err
}

// etcdArgs are the arguments of a member of etcd.
func (s *patroniStart) etcdArgs(i int) []string {
	at := func(j, port int) string { return fmt.Sprintf("http://%s:%d", s.etcdAddr(j), port) }
	var initial []string
	for j := 1; j <= members; j++ {
		initial = append(initial, fmt.Sprintf("etcd%d=%s", j, at(j, etcdPeerPort)))
	}
	return []string{
		"--name", fmt.Sprintf("etcd%d", i), "--data-dir", "/var/lib/dapple/etcd",
		"--listen-client-urls", fmt.Sprintf("http://0.0.0.0:%d", etcdPort), "--advertise-client-urls", at(i, etcdPort),
		"--listen-peer-urls", fmt.Sprintf("http://0.0.0.0:%d", etcdPeerPort), "--initial-advertise-peer-urls", at(i, etcdPeerPort),
		"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new",
		"--initial-cluster-token", s.id, "--log-level", "warn",
	}
}

func (s *patroniStart) node(i int) (part, error) {
	addr, name := host(s.subnet, nodeHost+i), nodeName(i)
	stream := postgresPort
	if s.delay > 0 {
		stream = relayPort
	}
	config, err := render("patroni.yml", patroniTemplate, map[string]any{
		"Scope": scope, "Node": name, "Addr": addr, "EtcdHosts": strings.Join(s.etcdHosts(s.subnet), ", "),
		"RESTPort": restPort, "PostgresPort": postgresPort, "StreamPort": stream, "Sync": s.sync, "Failsafe": s.failsafe, "Rewind": !s.noRewind,
		"TTL": s.settings.TTL.Seconds(), "LoopWait": s.settings.LoopWait.Seconds(), "RetryTimeout": s.settings.RetryTimeout.Seconds(),
		"SuperPassword": s.secrets.super, "ReplPassword": s.secrets.replication, "RewindPassword": s.secrets.rewind,
	})
	return part{
		kind: partNode, name: name, addr: addr, cmd: []string{"/usr/local/lib/dapple/run-node"}, env: s.env(i), tmpfs: s.tmpfs(),
		files: map[string]string{"/etc/dapple/patroni.yml": config, appPasswordFile: s.secrets.app},
	}, err
}

func (s *patroniStart) haproxy() (part, error) {
	type server struct {
		Name string
		Addr netip.Addr
	}
	var nodes []server
	for i := 1; i <= members; i++ {
		nodes = append(nodes, server{nodeName(i), host(s.subnet, nodeHost+i)})
	}
	config, err := render("haproxy.cfg", haproxyTemplate, map[string]any{
		"Port": haproxyPrimary, "ReplicaPort": haproxyReplica, "PostgresPort": postgresPort, "RESTPort": restPort, "Nodes": nodes,
		"PortOnly": s.portCheck,
	})
	return part{
		kind: partHAProxy, name: "haproxy", addr: host(s.subnet, haproxyHost),
		cmd:   []string{"haproxy", "-W", "-db", "-f", "/etc/dapple/haproxy.cfg"},
		files: map[string]string{"/etc/dapple/haproxy.cfg": config, appPasswordFile: s.secrets.app},
	}, err
}

func nodeName(i int) string { return fmt.Sprintf("pg%d", i) }

func render(name, text string, data any) (string, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	if err := t.Execute(&buf, data); err != nil {
		return "", err
	}
	return buf.String(), nil
}
