// Package redis is Redis (or Valkey) under Sentinels as drills see it: what each
// server claims to be, what becomes of a write, whose list holds which writes,
// what the Sentinels say, what their settings predict.
//
// Who is primary is asked of the servers and never of a Sentinel: what that names
// is its own configuration, and one that is cut off names the old primary for as
// long. Where it is about how applications find their primary (see Open), the
// Sentinels are asked, as applications do.
//
// Four properties of Redis decide how its answers are read:
//
//   - Replication is asynchronous. A write that was acknowledged is on the primary,
//     and nowhere else yet. Where a system file says how many replicas the
//     application waits for (settings.wait), one that fewer have is acked-degraded,
//     and one for which that is not known is unknown.
//   - The lineage of a write is the primary's replication id: a replica that is
//     promoted, and a server that is started anew, take another one. It is read in
//     the transaction that writes, so the two cannot be of different reigns.
//   - A primary that nobody follows any more goes on taking writes, until
//     min-replicas-to-write, if it is set, stops it some seconds later. It goes on
//     claiming to be the primary. So two claims are no split-brain; two that take
//     writes are.
//   - A server that is started again takes itself for what it was last, for several
//     seconds until a Sentinel tells it otherwise.
//
// Besides the ledger's lists dapple:RUN:… the package changes nothing. It does not
// know Redis Cluster.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Settings is what may stand under "settings" in a system file of this kind; it
// reaches Open as probes.Binding.Extra, by the same names.
type Settings struct {
	// The port of the servers; default 6379.
	Port int `yaml:"redis_port,omitempty"`
	// The port of the Sentinel on each node, where clients.dsn names no Sentinels;
	// default 26379.
	SentinelPort int `yaml:"sentinel_port,omitempty"`
	// For how many replicas an application of theirs waits after a write (WAIT);
	// default 0: it does not wait, and a write is acknowledged by the primary alone.
	Wait int `yaml:"wait,omitempty"`
	// For how long it waits for them; after that it goes on with fewer. Default is
	// for as long as its statement may take: then it does not know.
	WaitTimeout string `yaml:"wait_timeout,omitempty"`
	// Whether the Sentinels ask for the clients' user and password too.
	SentinelAuth bool `yaml:"sentinel_auth,omitempty"`
	// For TLS: a file with the certificates to trust; default the system's.
	CA string `yaml:"ca,omitempty"`
	// For TLS: the client's certificate and its key, as files.
	Cert string `yaml:"cert,omitempty"`
	Key  string `yaml:"key,omitempty"`
}

// Kind is Redis under Sentinels.
var Kind = probes.Kind{
	Name:    "redis-sentinel",
	Summary: "Redis or Valkey under Sentinels, watched through each of them and the servers",
	Processes: probes.ProcessNames{
		Server:  []string{"redis-server", "valkey-server"},
		Manager: []string{"redis-sentinel", "valkey-sentinel"},
	},
	Settings: (*Settings)(nil),
	Open: func(ctx context.Context, b probes.Binding) (probes.System, error) {
		return Open(ctx, b)
	},
}

// A System is one primary with its replicas and the Sentinels that watch them.
type System struct {
	client    endpoint
	bind      probes.Binding
	ports     ports
	wait      wait
	tls       *tls.Config // nil: without
	password  func() (string, error)
	places    []*place
	sentinels []*sentinel

	mu   sync.Mutex
	ids  map[string]string // run id → node, all that were ever seen
	runs map[string]bool   // of which a ledger was prepared here
}

var (
	_ probes.System     = (*System)(nil)
	_ probes.Ledger     = (*System)(nil)
	_ probes.Observer   = (*System)(nil)
	_ probes.Membership = (*System)(nil)
	_ probes.Settings   = (*System)(nil)
	_ probes.Expecter   = (*System)(nil)
	_ probes.Forker     = (*System)(nil)
)

// firstLook is how long Open waits to be told who the nodes are.
const firstLook = 2 * time.Second

// Open reads b and asks the servers who they are. One that does not answer is
// asked again whenever it is looked at: a system that is down can be opened.
func Open(ctx context.Context, b probes.Binding) (*System, error) {
	if b.Clients.DSN == "" {
		return nil, errors.New(`clients.dsn is missing: say how an application finds its primary, such as "redis-sentinel://s1:26379,s2:26379,s3:26379/0#mymaster"`)
	}
	s := &System{bind: b, password: b.Clients.Password, ids: map[string]string{}, runs: map[string]bool{}}
	var err error
	if s.client, err = parseEndpoint(b.Clients.DSN); err != nil {
		return nil, fmt.Errorf("clients.dsn: %w", err)
	}
	if s.ports, err = readPorts(b.Extra); err != nil {
		return nil, err
	}
	if s.wait, err = readWait(b.Extra); err != nil {
		return nil, err
	}
	if s.tls, err = readTLS(b.Extra, s.client.tls); err != nil {
		return nil, err
	}
	for _, n := range b.Nodes {
		s.places = append(s.places, newPlace(n, s.ports.server))
	}
	s.sentinels = s.listed()
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	s.each(func(_ int, p *place) {
		_, _ = s.look(ctx, p) // who is down now is asked again later
	})
	return s, nil
}

// each calls do for every node at once and waits.
func (s *System) each(do func(i int, p *place)) {
	var wg sync.WaitGroup
	for i, p := range s.places {
		wg.Go(func() { do(i, p) })
	}
	wg.Wait()
}

// place finds what is kept for n.
func (s *System) place(n targets.Node) (*place, error) {
	for _, p := range s.places {
		if p.node.Name() == n.Name() {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%s is not a node of this system", n.Name())
}

// NodeName maps a taker to its node: it is the node's name where that was known
// when the connection was made, else the run id of the server.
func (s *System) NodeName(taker string) string {
	for _, p := range s.places {
		if p.node.Name() == taker {
			return taker
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[taker]
}

// learn remembers which node's server has the run id.
func (s *System) learn(runID string, p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[runID] = p.node.Name()
}

// at is the node with that address, or nil.
func (s *System) at(host string) *place {
	for _, p := range s.places {
		if p.node.Name() == host || p.has(host) {
			return p
		}
	}
	return nil
}

// called names an address for people: its node, or itself.
func (s *System) called(host, port string) string {
	if p := s.at(host); p != nil {
		return p.node.Name()
	}
	return host + ":" + port
}

// Close ends the connections that questions keep.
func (s *System) Close() error {
	for _, p := range s.places {
		p.line.hangUp()
	}
	for _, x := range s.sentinels {
		x.line.hangUp()
	}
	return nil
}
