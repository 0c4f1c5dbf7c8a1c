package testcluster

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

// scriptFailures is after how many seconds without an answer the failover script
// acts, where there is one.
const scriptFailures = 3

// A postgres is one variant of the cluster without a manager: what in it is not as
// in the others. The zero value is sound, and nobody promotes a standby but a person.
type postgres struct {
	script bool // promotes when the primary does not answer
	async  bool // commits wait for no standby
	// delay is how late WAL reaches the standbys, or the last of them alone.
	delay    time.Duration
	lastLate bool
	// first: commits wait for the first standby in the list, not for any one.
	first bool
	// any: the script promotes whichever standby is left.
	any bool
	// autostart: a node that comes back is what it was.
	autostart bool
}

// postgresKinds is the table of the variants. postgres and postgres-script are
// sound; each other one makes one mistake.
func postgresKinds() []kind {
	var kinds []kind
	for _, x := range []struct {
		name, summary string
		postgres
	}{
		{"postgres", "a commit waits for any one standby; a person promotes", postgres{}},
		{"postgres-any", "as postgres-script, with commits that wait for one certain standby, another that is 2 s late, and a script that promotes whichever is left", postgres{script: true, first: true, any: true, delay: relayDelay, lastLate: true}},
		{"postgres-async", "as postgres-script, asynchronous, standbys 2 s late", postgres{script: true, async: true, delay: relayDelay}},
		{"postgres-autostart", "as postgres-script, with nodes that come back as what they were", postgres{script: true, autostart: true}},
		{"postgres-script", "as postgres, with a script that promotes when the primary does not answer", postgres{script: true}},
	} {
		kinds = append(kinds, kind{
			Info: Info{
				Name: x.name, Kind: "postgres", Objectives: x.objectives(),
				Summary: "3 x PostgreSQL 17, streaming replication, no manager; " + x.summary,
			},
			start: x.start, find: x.find, down: downContainers,
		})
	}
	return kinds
}

// objectives: what a script does, it does within a minute; a person who is on call
// and has to be woken has a quarter of an hour. Nothing in the system watches the
// primary, so there is no promise of a detection.
func (v postgres) objectives() scenarios.Objectives {
	never := scenarios.Never(true)
	o := scenarios.Objectives{RTO: duration(15 * time.Minute), RPO: scenarios.RPOWrites(0), SplitBrain: &never}
	if v.script {
		o.RTO = duration(time.Minute)
	}
	return o
}

func (v postgres) start(ctx context.Context, info Info, o Options) (*Cluster, error) {
	c := v.containers()
	c.up = func(ctx context.Context, r *run) error { return (&postgresStart{postgres: v, run: r}).all(ctx) }
	return c.start(ctx, info, o)
}

func (v postgres) find(ctx context.Context, info Info, o Options) (*Cluster, error) {
	return v.containers().find(ctx, info, o)
}

// containers: the image is Patroni's, which has the server; what else a node runs is
// put into the container.
func (v postgres) containers() containers {
	return containers{image: recipe{"patroni", patroniFiles}, holder: partNode, describe: v.cluster}
}

// A postgresStart is a cluster that is being started.
type postgresStart struct {
	postgres
	*run
}

// all starts all nodes at once: the standbys wait until they can copy the first.
func (s *postgresStart) all(ctx context.Context) error {
	s.o.Progress(fmt.Sprintf("starting 3 x PostgreSQL on %s", s.subnet))
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
	return s.postgres.ready(ctx, s.place, s.o.Progress)
}

//go:embed postgres
var postgresPrograms embed.FS

//go:embed postgres.conf.tmpl
var postgresTemplate string

// postgresRoles are those besides app; peers of a node have superuser's password,
// which promote, pg_rewind and the script need.
const postgresRoles = `ALTER ROLE postgres PASSWORD '%s'; CREATE ROLE replicator LOGIN REPLICATION PASSWORD '%s';` + "\n"

const postgresHBA = `local all all trust
host replication replicator 0.0.0.0/0 scram-sha-256
host all all 0.0.0.0/0 scram-sha-256
`

// postgresTimeline asks a primary for its timeline, as a number.
const postgresTimeline = `select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int`

// hosts are the addresses of all nodes but the one of that number; 0 is none.
func (s *postgresStart) hosts(but int) []string {
	var hosts []string
	for i := 1; i <= members; i++ {
		if i != but {
			hosts = append(hosts, host(s.subnet, nodeHost+i).String())
		}
	}
	return hosts
}

func (s *postgresStart) node(i int) (part, error) {
	addr, name := host(s.subnet, nodeHost+i), nodeName(i)
	stream := postgresPort
	if s.delay > 0 && (!s.lastLate || i == members) {
		stream = relayPort
	}
	config, err := render("postgresql.conf", postgresTemplate, map[string]any{
		"Node": name, "Port": postgresPort, "StreamPort": stream, "Hosts": strings.Join(s.hosts(0), ","), "SyncNames": s.syncNames(),
	})
	if err != nil {
		return part{}, err
	}
	programs, err := programsIn(postgresPrograms, "postgres")
	return part{
		kind: partNode, name: name, addr: addr, cmd: []string{"/etc/dapple/run-postgres"}, env: s.env(i), programs: programs,
		files: map[string]string{
			"/etc/dapple/postgresql.conf": config, "/etc/dapple/pg_hba.conf": postgresHBA, appPasswordFile: s.secrets.app,
			"/etc/dapple/roles.sql": fmt.Sprintf(postgresRoles, s.secrets.super, s.secrets.replication),
			"/etc/dapple/pgpass":    fmt.Sprintf("*:*:*:postgres:%s\n*:*:*:replicator:%s\n", s.secrets.super, s.secrets.replication),
		},
	}, err
}

// syncNames is the same on all nodes: a server does not wait for itself.
func (s *postgresStart) syncNames() string {
	var names []string
	for i := 1; i <= members; i++ {
		names = append(names, nodeName(i))
	}
	switch {
	case s.async:
		return ""
	case s.first:
		return "FIRST 1 (" + strings.Join(names, ", ") + ")"
	}
	return "ANY 1 (" + strings.Join(names, ", ") + ")"
}

func (s *postgresStart) env(i int) map[string]string {
	env := map[string]string{
		"PGPASSFILE": "/var/lib/dapple/pgpass", "DAPPLE_NODE": nodeName(i), "DAPPLE_FIRST": nodeName(1), "DAPPLE_SELF": host(s.subnet, nodeHost+i).String(),
		"DAPPLE_NODES": strings.Join(s.hosts(0), " "), "DAPPLE_PEERS": strings.Join(s.hosts(i), " "), "DAPPLE_STANDBYS": strconv.Itoa(members - 1), "DAPPLE_TIMELINE": postgresTimeline,
		"PATH": "/etc/dapple:/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	if s.delay > 0 {
		env["DAPPLE_RELAY_DELAY"] = strconv.FormatFloat(s.delay.Seconds(), 'f', -1, 64)
	}
	if s.script {
		env["DAPPLE_FAILURES"] = strconv.Itoa(scriptFailures)
	}
	if s.any {
		env["DAPPLE_ANY"] = "yes"
	}
	if s.autostart {
		env["DAPPLE_AUTOSTART"] = "yes"
	}
	return env
}

// cluster describes the run in p, which is up.
func (v postgres) cluster(ctx context.Context, info Info, p *place, o Options) (*Cluster, error) {
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
		ready: func(ctx context.Context) error { return v.ready(ctx, p, o.Progress) },
	}, nil
}

// system is what a system file for the cluster says.
func (v postgres) system(info Info, p *place, o Options) (scenarios.System, error) {
	s := &postgresStart{postgres: v, run: &run{place: p}}
	settings := map[string]any{"postgres_port": postgresPort}
	design := scenarios.Design{Pattern: "active-passive", Detection: "person", State: "replicated-async", Recovery: "manual"}
	if !v.async {
		settings["synchronous"], design.State = "on", "replicated-sync"
	}
	if v.script {
		settings["failover"] = fmt.Sprintf("every 1s failures %d timeout 1s", scriptFailures)
		design.Detection, design.Recovery = "timeout", "automatic"
	}
	params, err := scenarios.NewParams(settings)
	return scenarios.System{
		Name: info.Name, Kind: "postgres", Environment: scenarios.CI,
		Nodes: scenarios.Nodes{Docker: &scenarios.DockerNodes{Label: scenarios.Strings{LabelRun + "=" + p.id, LabelPart + "=" + partNode}}},
		Clients: scenarios.Clients{
			DSN:      fmt.Sprintf("postgres://app@%s/app?sslmode=disable&target_session_attrs=read-write", strings.Join(s.hosts(0), ",")),
			Password: scenarios.Secret{File: secretFile(o.Dir, p.id)},
		},
		Objectives: info.Objectives, Design: design, Settings: params,
	}, err
}

// postgresLook tells of a server whether it is a standby, and who streams from it.
const postgresLook = `psql -h /run/postgresql -U postgres -d app -AtF' ' -c "select pg_is_in_recovery(), count(*) filter (where state = 'streaming'), count(*) filter (where sync_state in ('sync', 'quorum')) from pg_stat_replication where application_name <> 'pg_basebackup'"`

// ready waits until one node is the primary, all others stream from it and, where
// commits wait, there is one to wait for.
func (v postgres) ready(ctx context.Context, p *place, progress func(string)) error {
	nodes, err := p.engine.Find(ctx, docker.Query{Labels: []string{LabelRun + "=" + p.id, LabelPart + "=" + partNode}})
	if err != nil {
		return err
	}
	return until(ctx, progress, func(ctx context.Context) string { return v.missing(ctx, nodes) })
}

// missing is what a cluster lacks to be ready, in words.
func (v postgres) missing(ctx context.Context, nodes []targets.Node) string {
	primaries, lacks := 0, ""
	for _, n := range nodes {
		out, err := n.Exec(ctx, "sh", "-c", postgresLook)
		if err != nil {
			return n.Name() + " does not answer yet"
		}
		var recovering string
		var streaming, sync int
		if _, err := fmt.Sscan(string(out), &recovering, &streaming, &sync); err != nil {
			return n.Name() + ": an unexpected answer: " + strings.TrimSpace(string(out))
		}
		if recovering == "t" {
			continue
		}
		primaries++
		switch {
		case streaming < members-1:
			lacks = fmt.Sprintf("%d of %d standbys are streaming", streaming, members-1)
		case !v.async && sync == 0:
			lacks = "commits have no standby to wait for"
		}
	}
	if primaries != 1 {
		return fmt.Sprintf("%d nodes are primaries", primaries)
	}
	return lacks
}
