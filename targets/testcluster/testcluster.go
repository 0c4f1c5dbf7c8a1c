// Package testcluster starts real clusters to be drilled and thrown away: the
// built-in clusters that are called cluster:NAME.
//
// A cluster is made of the same programs as in production, from Debian's
// packages, with fixed addresses on a network of its own. It declares objectives
// and describes itself as a system file would. Everything of it carries the
// labels of this package. A cluster that is bound to its starter is gone within
// seconds whatever happens to the starter: a reaper next to it holds the other
// end of a lifeline. One that stays is removed by Down.
//
// The package makes no faults and measures nothing; that a cluster is ready is
// all that it asks of it.
package testcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
)

var (
	// ErrUp is wrapped when a cluster is to stay that is up already: see Find.
	ErrUp = errors.New("it is up already")

	// ErrNotUp is wrapped when no cluster of that name stays on this machine.
	ErrNotUp = errors.New("it is not up")
)

// A Lifetime says when a cluster ends.
type Lifetime string

const (
	// Bound clusters end with Stop, or with the process that started them.
	Bound Lifetime = "bound"
	// Stays is for clusters that end with Down.
	Stays Lifetime = "stays"
)

// Options say how a cluster is started. The zero value is a bound cluster with
// the settings that it is documented with.
type Options struct {
	Lifetime Lifetime // default Bound
	// As is what the cluster is called among those that stay, so that there can
	// be several of one kind; default the cluster's name.
	As string
	// Dir is where clusters keep what must outlive the process, such as the
	// password file; default $DAPPLE_HOME, or else dapple's state directory.
	Dir string
	// Progress is told in words what is going on; nil is nobody. It is called
	// from one goroutine at a time.
	Progress func(line string)
	// Keeper and Member are command lines of processes that call
	// process.KeeperMain and embedded.MemberMain with the arguments that follow,
	// for clusters of child processes (etcd); clusters of containers need none.
	Keeper, Member []string
	// Housed is the command line of one that calls netns.KeeperMain.
	Housed []string
	// Labels are given to every container and network besides our own.
	Labels map[string]string
	// Patroni are settings of the patroni clusters.
	Patroni PatroniSettings
	// Etcd are settings of the etcd clusters.
	Etcd EtcdSettings
}

// A Cluster is one that is up.
type Cluster struct {
	Name     string
	Run      string // unique; the value of LabelRun
	Lifetime Lifetime
	// System describes the cluster as a system file does.
	System scenarios.System
	// Nodes are what System.Nodes selects.
	Nodes []targets.Node
	// Extra is for probes.Binding, besides System.Settings.
	Extra map[string]string
	// Dial is for probes.Binding too; nil where this machine's network leads to it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Started is how long it took until it was ready, images excluded; 0 if it
	// was found.
	Started time.Duration

	ready func(ctx context.Context) error
	stop  func(ctx context.Context) error
}

// Ready waits until the cluster is as it was when it was started: all parts run,
// every standby follows. It starts nothing.
func (c *Cluster) Ready(ctx context.Context) error {
	if err := c.ready(ctx); err != nil {
		return fmt.Errorf("waiting for cluster %s: %w", c.Name, err)
	}
	return nil
}

// Stop removes a bound cluster that this process started, and waits until all
// of it is gone. One that stays, stays: only what this process holds of it is
// let go. It may be called again.
func (c *Cluster) Stop(ctx context.Context) error {
	if c.stop == nil {
		return nil
	}
	if err := c.stop(ctx); err != nil {
		return fmt.Errorf("stopping cluster %s: %w", c.Name, err)
	}
	c.stop = nil
	return nil
}

// An Info is what a built-in cluster is.
type Info struct {
	Name       string
	Kind       string // of the system
	Summary    string
	Objectives scenarios.Objectives
}

// A Status is a cluster, or what is left of one, on this machine.
type Status struct {
	Name     string
	As       string // see Options
	Run      string
	Lifetime Lifetime
	Since    time.Time // by the engine's clock
	Running  int       // of its parts
	Parts    int
}

// Names lists the built-in clusters, sorted.
func Names() []Info {
	infos := make([]Info, 0, len(kinds()))
	for _, k := range kinds() {
		infos = append(infos, k.Info)
	}
	return infos
}

// Start starts a built-in cluster and returns once it is ready. On an error
// nothing of it is left.
func Start(ctx context.Context, name string, o Options) (*Cluster, error) {
	k, err := byName(name)
	if err != nil {
		return nil, err
	}
	if o, err = o.complete(name); err != nil {
		return nil, err
	}
	c, err := k.start(ctx, k.Info, o)
	if err != nil {
		return nil, fmt.Errorf("starting cluster %s: %w", name, err)
	}
	return c, nil
}

// Find returns the cluster of that name that stays on this machine. The error
// wraps ErrNotUp if there is none.
func Find(ctx context.Context, name string, o Options) (*Cluster, error) {
	k, err := byName(name)
	if err != nil {
		return nil, err
	}
	if o, err = o.complete(name); err != nil {
		return nil, err
	}
	c, err := k.find(ctx, k.Info, o)
	if err != nil {
		return nil, fmt.Errorf("finding cluster %s: %w", name, err)
	}
	return c, nil
}

// Down removes the cluster of that name that stays on this machine. The error
// wraps ErrNotUp if there is none.
func Down(ctx context.Context, name string, o Options) error {
	k, err := byName(name)
	if err != nil {
		return err
	}
	if o, err = o.complete(name); err != nil {
		return err
	}
	if err := k.down(ctx, k.Info, o); err != nil {
		return fmt.Errorf("removing cluster %s: %w", name, err)
	}
	return nil
}

// List lists the clusters on this machine, bound ones included, by name and
// age. A kind that cannot be asked (no Docker engine) has none.
func List(ctx context.Context, o Options) ([]Status, error) {
	o, err := o.complete("")
	if err != nil {
		return nil, err
	}
	var all []Status
	for _, l := range listers() {
		some, err := l(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("listing clusters: %w", err)
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b Status) int {
		if a.Name != b.Name {
			return strings.Compare(a.Name, b.Name)
		}
		return a.Since.Compare(b.Since)
	})
	return all, nil
}

// complete fills in the defaults.
func (o Options) complete(name string) (Options, error) {
	if o.Lifetime == "" {
		o.Lifetime = Bound
	}
	if o.Lifetime != Bound && o.Lifetime != Stays {
		return o, fmt.Errorf("lifetime %q of a cluster: want %s or %s", o.Lifetime, Bound, Stays)
	}
	if o.As == "" {
		o.As = name
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Dir == "" {
		dir, err := stateDir()
		if err != nil {
			return o, err
		}
		o.Dir = dir
	}
	return o, nil
}
