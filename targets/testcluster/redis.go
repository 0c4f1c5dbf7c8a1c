package testcluster

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

// The ports of a Redis cluster.
const (
	redisPort    = 6379
	sentinelPort = 26379
)

// redisService is what the Sentinels call what they watch.
const redisService = "main"

// Of three Sentinels two have to agree.
const redisQuorum = 2

// The settings of the sound cluster. The guard acts within max-lag, less than two
// seconds of rounding and counting, and a PING period after the last replica was
// heard; a Sentinel holds a primary that hangs to be down only after down-after. So
// the old primary refuses writes before there is a new one. A lost election costs
// two failover-timeouts.
const (
	redisDownAfter       = 5 * time.Second
	redisFailoverTimeout = 10 * time.Second
	redisMaxLag          = 2 * time.Second
)

// A redis is one variant of the cluster: what in it is not as in the others. The
// zero value is sound.
type redis struct {
	unguarded bool          // no min-replicas-to-write
	downAfter time.Duration // 0 is that of the sound one
	waits     bool          // clients wait for a replica after each write
	patience  time.Duration // for how long; 0 is for as long as a write may take
}

// redisKinds is the table of the variants.
func redisKinds() []kind {
	var kinds []kind
	for _, x := range []struct {
		name, summary string
		redis
	}{
		{"redis-sentinel", "min-replicas-to-write 1, max-lag 2 s", redis{}},
		{"redis-sentinel-down600", "as redis-sentinel, with a down-after of 10 minutes", redis{downAfter: 10 * time.Minute}},
		{"redis-sentinel-noguard", "as redis-sentinel, without min-replicas-to-write", redis{unguarded: true}},
		{"redis-sentinel-shortwait", "as redis-sentinel-wait, with clients that go on after 100 ms without a replica", redis{waits: true, patience: 100 * time.Millisecond}},
		{"redis-sentinel-wait", "as redis-sentinel, with clients that wait until a replica has each write", redis{waits: true}},
	} {
		kinds = append(kinds, kind{
			Info: Info{
				Name: x.name, Kind: "redis-sentinel", Objectives: x.objectives(),
				Summary: fmt.Sprintf("3 x (Redis 8 + Sentinel), quorum %d, down-after %d s; %s", redisQuorum, x.down()/time.Second, x.summary),
			},
			start: x.start, find: x.find, down: downContainers,
		})
	}
	return kinds
}

// objectives are what the settings of a sound cluster promise. Replication is
// asynchronous: what a primary that is cut off acknowledged until its guard acted is
// lost, and no more. Of what a client knows to be on a replica, nothing is.
func (v redis) objectives() scenarios.Objectives {
	never := scenarios.Never(true)
	o := scenarios.Objectives{
		Detection: duration(10 * time.Second), RTO: duration(30 * time.Second),
		RPO: scenarios.RPOAge(5 * time.Second), SplitBrain: &never,
	}
	if v.waits {
		o.RPO = scenarios.RPOWrites(0)
	}
	return o
}

func (v redis) down() time.Duration {
	if v.downAfter > 0 {
		return v.downAfter
	}
	return redisDownAfter
}

func (v redis) start(ctx context.Context, info Info, o Options) (*Cluster, error) {
	c := v.containers()
	c.up = func(ctx context.Context, r *run) error { return (&redisStart{redis: v, run: r}).all(ctx) }
	return c.start(ctx, info, o)
}

func (v redis) find(ctx context.Context, info Info, o Options) (*Cluster, error) {
	return v.containers().find(ctx, info, o)
}

func (v redis) containers() containers {
	return containers{image: recipe{"redis", redisFiles}, holder: partNode, describe: v.cluster}
}

// A redisStart is a cluster that is being started.
type redisStart struct {
	redis
	*run
}

// all starts all nodes at once: replicas and Sentinels wait for the first.
func (s *redisStart) all(ctx context.Context) error {
	s.o.Progress(fmt.Sprintf("starting 3 x (Redis + Sentinel) on %s", s.subnet))
	g, gctx := errgroup.WithContext(ctx)
	for i := 1; i <= members; i++ {
		c, err := s.node(i)
		if err != nil {
			return err
		}
		g.Go(func() error { return s.place.start(gctx, c) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return redisReady(ctx, s.place, s.o.Progress)
}

//go:embed redis.conf.tmpl
var redisTemplate string

//go:embed sentinel.conf.tmpl
var sentinelTemplate string

func redisName(i int) string { return fmt.Sprintf("r%d", i) }

func (s *redisStart) node(i int) (part, error) {
	addr, first := host(s.subnet, nodeHost+i), host(s.subnet, nodeHost+1)
	primary, guard := "", 1
	if i > 1 {
		primary = first.String()
	}
	if s.unguarded {
		guard = 0
	}
	server, err := render("redis.conf", redisTemplate, map[string]any{
		"Port": redisPort, "Addr": addr, "Password": s.secrets.app, "Primary": primary,
		"Guard": guard, "MaxLag": int(redisMaxLag / time.Second),
	})
	if err != nil {
		return part{}, err
	}
	sentinel, err := render("sentinel.conf", sentinelTemplate, map[string]any{
		"Port": sentinelPort, "RedisPort": redisPort, "Addr": addr, "Primary": first, "Service": redisService, "Quorum": redisQuorum,
		"Password": s.secrets.app, "DownAfter": s.down().Milliseconds(), "FailoverTimeout": redisFailoverTimeout.Milliseconds(),
	})
	return part{
		kind: partNode, name: redisName(i), addr: addr, cmd: []string{"/usr/local/lib/dapple/run-redis"},
		files: map[string]string{"/etc/dapple/redis.conf": server, "/etc/dapple/sentinel.conf": sentinel, appPasswordFile: s.secrets.app},
	}, err
}

// cluster describes the run in p, which is up.
func (v redis) cluster(ctx context.Context, info Info, p *place, o Options) (*Cluster, error) {
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
		ready: func(ctx context.Context) error { return redisReady(ctx, p, o.Progress) },
	}, nil
}

// system is what a system file for the cluster says.
func (v redis) system(info Info, p *place, o Options) (scenarios.System, error) {
	settings := map[string]any{"redis_port": redisPort}
	if v.waits {
		settings["wait"] = 1
	}
	if v.patience > 0 {
		settings["wait_timeout"] = v.patience.String()
	}
	params, err := scenarios.NewParams(settings)
	var sentinels []string
	for i := 1; i <= members; i++ {
		sentinels = append(sentinels, netip.AddrPortFrom(host(p.subnet, nodeHost+i), sentinelPort).String())
	}
	return scenarios.System{
		Name: info.Name, Kind: "redis-sentinel", Environment: scenarios.CI,
		Nodes: scenarios.Nodes{Docker: &scenarios.DockerNodes{Label: scenarios.Strings{LabelRun + "=" + p.id, LabelPart + "=" + partNode}}},
		Clients: scenarios.Clients{
			DSN:      "redis-sentinel://" + strings.Join(sentinels, ",") + "/0#" + redisService,
			Password: scenarios.Secret{File: secretFile(o.Dir, p.id)},
		},
		Health:     scenarios.Health{TCP: fmt.Sprintf("{node}:%d", redisPort)},
		Objectives: info.Objectives,
		Design:     scenarios.Design{Pattern: "active-passive", Detection: "quorum", State: "replicated-async", Recovery: "automatic"},
		Settings:   params,
	}, err
}

// redisLook tells what a node's server and Sentinel know, as name:value lines.
const redisLook = `REDISCLI_AUTH=$(cat ` + appPasswordFile + `) redis-cli info replication; redis-cli -p 26379 sentinel master ` + redisService + ` | sed 'N;s/\n/:/'`

// redisReady waits until every server follows the primary, which may take writes,
// and every Sentinel knows all others and all replicas.
func redisReady(ctx context.Context, p *place, progress func(string)) error {
	nodes, err := p.engine.Find(ctx, docker.Query{Labels: []string{LabelRun + "=" + p.id, LabelPart + "=" + partNode}})
	if err != nil {
		return err
	}
	return until(ctx, progress, func(ctx context.Context) string { return redisMissing(ctx, nodes) })
}

// redisMissing is what a cluster lacks to be ready, in words.
func redisMissing(ctx context.Context, nodes []targets.Node) string {
	primaries := 0
	for _, n := range nodes {
		out, err := n.Exec(ctx, "sh", "-c", redisLook)
		if err != nil {
			return n.Name() + " does not answer yet"
		}
		f := map[string]string{}
		for line := range strings.Lines(string(out)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				f[name] = value
			}
		}
		if f["role"] == "master" {
			primaries++
		}
		if lacks := redisLacks(f); lacks != "" {
			return n.Name() + ": " + lacks
		}
	}
	if primaries != 1 {
		return fmt.Sprintf("%d nodes claim to be the primary", primaries)
	}
	return ""
}

// redisLacks is what a node lacks, by what it says.
func redisLacks(f map[string]string) string {
	want := map[string]string{
		"flags":      "master", // the Sentinel holds the primary to be up
		"num-slaves": strconv.Itoa(members - 1), "num-other-sentinels": strconv.Itoa(members - 1),
	}
	if f["role"] == "master" {
		want["connected_slaves"] = strconv.Itoa(members - 1)
	} else {
		want["master_link_status"] = "up"
	}
	if good, counted := f["min_slaves_good_slaves"]; counted && f["role"] == "master" && good != strconv.Itoa(members-1) {
		return "good replicas: " + good
	}
	for _, name := range []string{"connected_slaves", "master_link_status", "num-slaves", "num-other-sentinels", "flags"} {
		if value, matters := want[name]; matters && f[name] != value {
			return fmt.Sprintf("%s is %q, not yet %q", name, f[name], value)
		}
	}
	return ""
}
