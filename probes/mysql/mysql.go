// Package mysql is MySQL Group Replication as drills see it: what each server says of
// the group and of itself, what becomes of a write, whose table holds which rows,
// what the settings predict.
//
// Who is primary is asked of every server over a connection of its own, since what
// one says of the others is its own view: one that is cut off still lists itself as
// the primary, and holds the others to be unreachable.
//
// Four properties of Group Replication decide how its answers are read:
//
//   - A commit needs the majority. A primary without one takes statements and does
//     not answer them, for as long as group_replication_unreachable_majority_timeout
//     says, which is for ever by default. Its own table says that most of the others
//     are unreachable: so it claims nothing.
//   - Views are numbered, reigns are not. The epoch of a write is the number of the
//     view in which its taker was first seen to be the primary.
//   - A member that was expelled is told so when it reaches the others again. Until
//     then what it has begun is pending, and is rolled back then.
//   - A server that is started and does not get into the group takes writes, unless
//     super_read_only is set: it claims to be a primary, in no group.
//
// Besides the ledger's tables dapple_ledger_RUN the package changes nothing.
package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Settings is what may stand under "settings" in a system file of this kind; it
// reaches Open as probes.Binding.Extra, by the same names.
type Settings struct {
	// The port of the servers; default 3306.
	Port int `yaml:"mysql_port,omitempty"`
	// For TLS: a file with the certificates to trust; default the system's.
	CA string `yaml:"ca,omitempty"`
}

// Kind is Group Replication with one primary.
var Kind = probes.Kind{
	Name:      "mysqlgr",
	Summary:   "MySQL Group Replication with a single primary, watched through every member",
	Processes: probes.ProcessNames{Server: []string{"mysqld"}},
	Settings:  (*Settings)(nil),
	Open: func(ctx context.Context, b probes.Binding) (probes.System, error) {
		return Open(ctx, b)
	},
}

// A System is one group and the clients' way to it.
type System struct {
	client   endpoint
	bind     probes.Binding
	port     string
	tls      *tls.Config // nil: without
	password func() (string, error)
	places   []*place
	hosts    []*host // of the endpoint, with a connection each
	reigns   reigns

	mu    sync.Mutex
	uuids map[string]string // server uuid → node, all that were ever seen
}

var (
	_ probes.System     = (*System)(nil)
	_ probes.Ledger     = (*System)(nil)
	_ probes.Observer   = (*System)(nil)
	_ probes.Membership = (*System)(nil)
	_ probes.Settings   = (*System)(nil)
	_ probes.Expecter   = (*System)(nil)
	_ probes.Forker     = (*System)(nil)
	_ probes.Identifier = (*System)(nil)
)

// Open reads b and asks the servers who they are. One that does not answer is asked
// again whenever it is looked at: a system that is down can be opened.
func Open(ctx context.Context, b probes.Binding) (*System, error) {
	if b.Clients.DSN == "" {
		return nil, errors.New(`clients.dsn is missing: say how an application connects, such as "mysql://app@m1:3306,m2:3306,m3:3306/orders"`)
	}
	s := &System{bind: b, password: b.Clients.Password, uuids: map[string]string{}}
	var err error
	if s.client, err = parseEndpoint(b.Clients.DSN); err != nil {
		return nil, fmt.Errorf("clients.dsn: %w", err)
	}
	if s.port, err = readPort(b.Extra["mysql_port"]); err != nil {
		return nil, err
	}
	if s.tls, err = readTLS(b.Extra["ca"], s.client.tls); err != nil {
		return nil, err
	}
	for _, n := range b.Nodes {
		s.places = append(s.places, newPlace(n, s.port))
	}
	for _, addr := range s.client.hosts {
		s.hosts = append(s.hosts, &host{addr: addr, line: newLine()})
	}
	ctx, cancel := context.WithTimeout(ctx, look)
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

// NodeName maps the uuid of a server to its node.
func (s *System) NodeName(taker string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uuids[taker]
}

// learn remembers which node's server has the uuid. It is new when a node got a new
// data directory, so none is forgotten.
func (s *System) learn(uuid string, p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uuids[uuid] = p.node.Name()
}

// called names a member for people: its node, or its address.
func (s *System) called(m member) string {
	if name := s.NodeName(m.id); name != "" {
		return name
	}
	return m.host + ":" + m.port
}

// Close ends the connections that questions keep.
func (s *System) Close() error {
	for _, p := range s.places {
		p.line.hangUp()
	}
	for _, h := range s.hosts {
		h.line.hangUp()
	}
	return nil
}
