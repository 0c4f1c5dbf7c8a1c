// Package embedded is the throw-away cluster that needs nothing but dapple
// itself: three real etcd members, each a child process of its own that runs the
// server linked into this binary, on loopback addresses, with data on disk and
// fsync as it should be. "dapple demo" drills it; "cluster:etcd" is it.
// "cluster:etcd-netns" is the same in namespaces: each member has a network of its
// own, and its data on a disk of its own in memory (package netns).
//
// It is the only package that imports the etcd server. What links it must not
// pay for that before it starts a member: nothing here runs at start-up.
//
// The package makes the system and says how to reach it; it does not observe it
// (probes/etcd does) and it breaks nothing.
package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
	"github.com/dapple-drills/dapple/targets/process"
)

// Members is how many members a cluster has: the fewest that survive the loss
// of one.
const Members = 3

// Defaults of etcd itself (server/v3/embed, NewConfig).
const (
	DefaultHeartbeatMS = 100
	DefaultElectionMS  = 1000
)

// Options say how a cluster is started. Keeper and Member are command lines of
// processes that call process.KeeperMain and MemberMain with the arguments that
// follow: {"/usr/bin/dapple", "keeper"}, {"/usr/bin/dapple", "etcd-member"}.
type Options struct {
	Keeper []string
	Member []string
	// Namespaces says that Keeper calls netns.KeeperMain.
	Namespaces bool
	// Name is the system's name; by default "etcd".
	Name string
	// Dir is the cluster's directory; it is removed with the cluster. By default
	// a new one below /var/tmp, which is on disk where /tmp may not be, or else
	// below the place for temporary files.
	Dir string
	// Lifeline binds the cluster to this process: however it ends, the cluster
	// is gone within a second or so. Without it, it stays until Close.
	Lifeline bool
	// HeartbeatMS and ElectionMS are etcd's --heartbeat-interval and
	// --election-timeout, in milliseconds; 0 is etcd's default. etcd demands an
	// election timeout of at least 5 heartbeats.
	HeartbeatMS, ElectionMS int
}

// FastElection returns o with an election timeout of 100 ms, at which etcd takes
// every stall of a disk or a scheduler for a dead leader: the known-bad twin of
// the default.
func FastElection(o Options) Options {
	if o.Name == "" {
		o.Name = "etcd-fast-election"
	}
	o.HeartbeatMS, o.ElectionMS = 10, 100
	return o
}

// A Cluster is a running system.
type Cluster struct {
	// System is what a system file would say of it.
	System scenarios.System
	// Nodes are the members n1, n2, n3.
	Nodes []targets.Node
	// Extra is for probes.Binding: endpoints, and where the members' logs are.
	Extra map[string]string
	// Dial connects from where clients are; nil if they are on this machine.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	kept *process.Cluster
}

// about is what Open needs to know, in the cluster's directory.
type about struct {
	Name      string   `json:"name"`
	Clients   []string `json:"clients"` // URLs, in the order of the members
	Heartbeat string   `json:"heartbeat"`
	Election  string   `json:"election"`
	// Namespaces says that the members live in a lab.
	Namespaces bool `json:"namespaces,omitempty"`
}

const aboutFile = "cluster.json"

// attempts is how often Start tries other addresses when its first choice was
// taken by somebody else between looking and listening.
const attempts = 3

// Start starts a cluster and returns once all members answer, have the same
// leader, and serve a linearizable read.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	o = o.withDefaults()
	var errs []error
	for range attempts {
		c, err := o.try(ctx)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, errTaken) {
			break
		}
	}
	return nil, fmt.Errorf("starting the embedded etcd cluster: %w", errors.Join(errs...))
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "etcd"
	}
	if o.HeartbeatMS == 0 {
		o.HeartbeatMS = DefaultHeartbeatMS
	}
	if o.ElectionMS == 0 {
		o.ElectionMS = DefaultElectionMS
	}
	return o
}

func (o Options) try(ctx context.Context) (*Cluster, error) {
	if len(o.Member) == 0 {
		return nil, errors.New("no command for the members")
	}
	pick := pickPlaces
	if o.Namespaces {
		pick = inNamespaces
	}
	at, err := pick()
	if err != nil {
		return nil, err
	}
	dir, err := o.directory()
	if err != nil {
		return nil, err
	}
	kept, err := process.Start(ctx, process.Options{Keeper: o.Keeper, Dir: dir, Members: o.members(dir, at), Lifeline: o.Lifeline, Namespaces: o.Namespaces})
	if err != nil {
		_ = os.Remove(dir) // ours, or empty as it was given; it may be gone already
		return nil, err
	}
	c, err := o.come(ctx, kept, at)
	if err != nil {
		// ctx may have ended, which must not keep the clean-up from its work.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
		return nil, errors.Join(err, kept.Shutdown(ctx))
	}
	return c, nil
}

// closeWithin bounds the clean-up of a cluster that did not come up.
const closeWithin = 15 * time.Second

// prefix is how the directories begin that Start makes by itself.
const prefix = "dapple-etcd-"

func (o Options) directory() (string, error) {
	if o.Dir != "" {
		return o.Dir, nil
	}
	for _, parent := range []string{"/var/tmp", os.TempDir()} {
		dir, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			continue // the next one, whose error is returned below
		}
		// What a keeper that was killed left here, of whatever run.
		return dir, process.Sweep(parent, prefix)
	}
	return os.MkdirTemp("", prefix)
}

func (o Options) members(dir string, at []place) []process.Member {
	peers := make([]string, len(at))
	for i, p := range at {
		peers[i] = p.name + "=" + p.peerURL()
	}
	disk := dir
	if o.Namespaces {
		disk = netns.DiskPath // each member's own
	}
	members := make([]process.Member, len(at))
	for i, p := range at {
		members[i] = process.Member{Name: p.name, Addresses: []string{p.ip}, Argv: append(append([]string{}, o.Member...),
			"--name="+p.name,
			"--data-dir="+filepath.Join(disk, p.name),
			"--listen-client-urls="+p.clientURL(),
			"--listen-peer-urls="+p.peerURL(),
			"--initial-cluster="+strings.Join(peers, ","),
			"--initial-cluster-token="+filepath.Base(dir),
			fmt.Sprintf("--heartbeat-interval=%d", o.HeartbeatMS),
			fmt.Sprintf("--election-timeout=%d", o.ElectionMS),
		)}
	}
	return members
}

// come starts the members and waits until they serve.
func (o Options) come(ctx context.Context, kept *process.Cluster, at []place) (*Cluster, error) {
	a := about{
		Name:      o.Name,
		Heartbeat: (time.Duration(o.HeartbeatMS) * time.Millisecond).String(),
		Election:  (time.Duration(o.ElectionMS) * time.Millisecond).String(),

		Namespaces: o.Namespaces,
	}
	for _, p := range at {
		a.Clients = append(a.Clients, p.clientURL())
	}
	data, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(kept.Dir(), aboutFile), data, 0o600); err != nil {
		return nil, err
	}
	for _, n := range kept.Nodes() {
		if err := n.(targets.Starter).Start(ctx); err != nil {
			return nil, err
		}
	}
	c, err := made(ctx, kept, a)
	if err != nil {
		return nil, err
	}
	return c, c.awaitReady(ctx, at)
}

// Open returns the cluster that any process started in dir. The error wraps
// targets.ErrGone if it does not run any more.
func Open(ctx context.Context, dir string) (*Cluster, error) {
	kept, err := process.Find(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("opening the embedded etcd cluster: %w", err)
	}
	var a about
	data, err := os.ReadFile(filepath.Join(kept.Dir(), aboutFile))
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err == nil && len(a.Clients) != len(kept.Nodes()) {
		err = fmt.Errorf("%d endpoints for %d members", len(a.Clients), len(kept.Nodes()))
	}
	if err != nil {
		return nil, fmt.Errorf("opening the embedded etcd cluster in %s: %w", dir, err)
	}
	return made(ctx, kept, a)
}

func made(ctx context.Context, kept *process.Cluster, a about) (_ *Cluster, err error) {
	c := &Cluster{Nodes: kept.Nodes(), kept: kept}
	if a.Namespaces {
		if c.Nodes, err = netns.Nodes(ctx, kept); err != nil {
			return nil, err
		}
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return netns.DialClients(ctx, kept.Socket(), network, addr)
		}
	}
	c.Extra = map[string]string{"heartbeat-interval": a.Heartbeat, "election-timeout": a.Election}
	var named, logs []string
	for i, n := range c.Nodes {
		named = append(named, n.Name()+"="+a.Clients[i])
		logs = append(logs, n.Name()+"="+kept.Log(n.Name()))
		c.System.Nodes.Hosts = append(c.System.Nodes.Hosts, scenarios.HostNode{Name: n.Name(), URL: a.Clients[i]})
	}
	c.Extra["endpoints"], c.Extra["logs"] = strings.Join(named, ","), strings.Join(logs, ",")

	detection, rto := scenarios.Duration(3*time.Second), scenarios.Duration(10*time.Second)
	writes, never := int64(0), scenarios.Never(true)
	c.System.Name, c.System.Kind, c.System.Environment = a.Name, "etcd", scenarios.CI
	c.System.Clients = scenarios.Clients{DSN: strings.Join(a.Clients, ",")}
	c.System.Objectives = scenarios.Objectives{
		Detection: &detection, RTO: &rto, RPO: &scenarios.RPO{Writes: &writes}, SplitBrain: &never,
	}
	c.System.Design = scenarios.Design{Pattern: "consensus", Detection: "heartbeat", State: "replicated-sync", Recovery: "automatic"}
	return c, nil
}

// Dir is the cluster's directory, with the members' data and logs.
func (c *Cluster) Dir() string { return c.kept.Dir() }

// Close kills the members and removes all that they left. A cluster that is gone
// already is no error.
func (c *Cluster) Close(ctx context.Context) error {
	if err := c.kept.Shutdown(ctx); err != nil {
		return fmt.Errorf("closing the embedded etcd cluster: %w", err)
	}
	return nil
}
