package testcluster

import (
	"context"
	"embed"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

//go:embed mysql image/reaper
var mysqlFiles embed.FS

// The ports of a MySQL cluster: of clients, and of the group among itself.
const (
	mysqlPort = 3306
	groupPort = 33061
)

// mysqlExpel is group_replication_member_expel_timeout of the sound cluster, which is
// MySQL's default.
const mysqlExpel = 5 * time.Second

// A mysql is one variant of the cluster: what in it is not as in the others. The zero
// value is sound.
type mysql struct {
	expel   time.Duration // group_replication_member_expel_timeout; 0 is that of the sound one
	hasty   bool          // group_replication_member_expel_timeout: 0
	forcing bool          // a node without the majority makes a group of its own
}

// mysqlKinds is the table of the variants.
func mysqlKinds() []kind {
	var kinds []kind
	for _, x := range []struct {
		name, summary string
		mysql
	}{
		{"mysqlgr", "single primary", mysql{}},
		{"mysqlgr-expel0", "as mysqlgr, with a member_expel_timeout of 0", mysql{hasty: true}},
		{"mysqlgr-expel3600", "as mysqlgr, with a member_expel_timeout of an hour", mysql{expel: time.Hour}},
		{"mysqlgr-forcing", "as mysqlgr, with nodes that make a group of their own when they lose the majority", mysql{forcing: true}},
	} {
		kinds = append(kinds, kind{
			Info: Info{
				Name: x.name, Kind: "mysqlgr", Objectives: mysqlObjectives(),
				Summary: fmt.Sprintf("3 x MySQL 9 in a replication group, member_expel_timeout %d s; %s", x.expelled()/time.Second, x.summary),
			},
			start: x.start, find: x.find, down: downContainers,
		})
	}
	return kinds
}

// mysqlObjectives are what the settings of a sound cluster promise: what a client was
// told is committed is on the majority. Suspicions are looked at every 15 s, which no
// setting changes.
func mysqlObjectives() scenarios.Objectives {
	never := scenarios.Never(true)
	return scenarios.Objectives{
		Detection: duration(10 * time.Second), RTO: duration(40 * time.Second),
		RPO: scenarios.RPOWrites(0), SplitBrain: &never,
	}
}

func (v mysql) expelled() time.Duration {
	switch {
	case v.hasty:
		return 0
	case v.expel > 0:
		return v.expel
	}
	return mysqlExpel
}

func (v mysql) start(ctx context.Context, info Info, o Options) (*Cluster, error) {
	c := v.containers()
	c.up = func(ctx context.Context, r *run) error { return (&mysqlStart{mysql: v, run: r}).all(ctx) }
	return c.start(ctx, info, o)
}

func (v mysql) find(ctx context.Context, info Info, o Options) (*Cluster, error) {
	return v.containers().find(ctx, info, o)
}

func (v mysql) containers() containers {
	return containers{image: recipe{"mysql", mysqlFiles}, holder: partNode, describe: v.cluster}
}

// A mysqlStart is a cluster that is being started.
type mysqlStart struct {
	mysql
	*run
}

// all starts all nodes at once: the others wait until the first has made the group.
func (s *mysqlStart) all(ctx context.Context) error {
	s.o.Progress(fmt.Sprintf("starting 3 x MySQL on %s", s.subnet))
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
	return mysqlReady(ctx, s.place, s.o.Progress)
}

//go:embed mysql.cnf.tmpl
var mysqlTemplate string

//go:embed mysql.sql.tmpl
var mysqlUsers string

func mysqlName(i int) string { return fmt.Sprintf("m%d", i) }

func (s *mysqlStart) node(i int) (part, error) {
	addr := host(s.subnet, nodeHost+i)
	var seeds []string
	for n := 1; n <= members; n++ {
		seeds = append(seeds, netip.AddrPortFrom(host(s.subnet, nodeHost+n), groupPort).String())
	}
	config, err := render("my.cnf", mysqlTemplate, map[string]any{
		"Port": mysqlPort, "ID": i, "Addr": addr, "GroupPort": groupPort, "Seeds": strings.Join(seeds, ","), "Subnet": s.subnet,
		"Group": groupName(s.id), "Expel": int(s.expelled() / time.Second),
	})
	if err != nil {
		return part{}, err
	}
	users, err := render("first.sql", mysqlUsers, map[string]any{"App": s.secrets.app, "Recovery": s.secrets.replication})
	env := map[string]string{}
	if i == 1 {
		env["DAPPLE_BOOTSTRAP"] = "1"
	}
	if s.forcing {
		env["DAPPLE_FORCE"] = "1"
	}
	return part{
		kind: partNode, name: mysqlName(i), addr: addr, cmd: []string{"/usr/local/lib/dapple/run-mysql"}, env: env,
		files: map[string]string{"/etc/dapple/my.cnf": config, "/etc/dapple/first.sql": users, appPasswordFile: s.secrets.app},
	}, err
}

// groupName is a UUID (version 8, RFC 9562) that is the run's own.
func groupName(run string) string {
	return fmt.Sprintf("%08s-0000-8000-8000-000000000000", run[:min(8, len(run))])
}

// cluster describes the run in p, which is up.
func (v mysql) cluster(ctx context.Context, info Info, p *place, o Options) (*Cluster, error) {
	sys := v.system(info, p, o)
	nodes, err := p.engine.Find(ctx, docker.Query{Labels: sys.Nodes.Docker.Label})
	if err != nil {
		return nil, err
	}
	return &Cluster{
		Name: info.Name, Run: p.id, Lifetime: Lifetime(p.labels[LabelLifetime]), System: sys, Nodes: nodes,
		ready: func(ctx context.Context) error { return mysqlReady(ctx, p, o.Progress) },
	}, nil
}

// system is what a system file for the cluster says.
func (v mysql) system(info Info, p *place, o Options) scenarios.System {
	var hosts []string
	for i := 1; i <= members; i++ {
		hosts = append(hosts, netip.AddrPortFrom(host(p.subnet, nodeHost+i), mysqlPort).String())
	}
	return scenarios.System{
		Name: info.Name, Kind: info.Kind, Environment: scenarios.CI,
		Nodes: scenarios.Nodes{Docker: &scenarios.DockerNodes{Label: scenarios.Strings{LabelRun + "=" + p.id, LabelPart + "=" + partNode}}},
		Clients: scenarios.Clients{
			DSN:      "mysql://app@" + strings.Join(hosts, ",") + "/app",
			Password: scenarios.Secret{File: secretFile(o.Dir, p.id)},
		},
		Health:     scenarios.Health{TCP: fmt.Sprintf("{node}:%d", mysqlPort)},
		Objectives: info.Objectives,
		Design:     scenarios.Design{Pattern: "active-passive", Detection: "quorum", State: "replicated-sync", Recovery: "automatic"},
	}
}

// mysqlLook tells how a node sees the group: who is ONLINE, of whom who is PRIMARY,
// and whether the node itself takes writes.
const mysqlLook = `MYSQL_PWD=$(cat ` + appPasswordFile + `) mysql --no-defaults -S /var/lib/dapple/mysqld.sock -u app -N -e "
	SELECT CONCAT(SUM(MEMBER_STATE = 'ONLINE'), ' online, ', SUM(MEMBER_ROLE = 'PRIMARY'), ' primary, writable ',
		SUM(MEMBER_ID = @@server_uuid AND MEMBER_ROLE = 'PRIMARY') = (NOT @@global.super_read_only))
	FROM performance_schema.replication_group_members"`

// mysqlReady waits until every node sees all of the group online, and the primary
// takes writes.
func mysqlReady(ctx context.Context, p *place, progress func(string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %v", startTimeout))
	defer cancel()
	nodes, err := p.engine.Find(ctx, docker.Query{Labels: []string{LabelRun + "=" + p.id, LabelPart + "=" + partNode}})
	if err != nil {
		return err
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	before := ""
	for {
		now := mysqlMissing(ctx, nodes)
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

// mysqlMissing is what a cluster lacks to be ready, in words.
func mysqlMissing(ctx context.Context, nodes []targets.Node) string {
	want := fmt.Sprintf("%d online, 1 primary, writable 1", members)
	for _, n := range nodes {
		out, err := n.Exec(ctx, "sh", "-c", mysqlLook)
		if err != nil {
			return n.Name() + " does not answer yet"
		}
		if got := strings.TrimSpace(string(out)); got != want {
			return fmt.Sprintf("%s sees %s", n.Name(), got)
		}
	}
	return ""
}
