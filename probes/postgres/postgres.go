// Package postgres is PostgreSQL as drills see it: what each node claims to be,
// what becomes of a write, whose history holds which rows, who follows whom.
//
// It asks the servers themselves over their own protocol and knows no manager
// of theirs: package patroni adds one. Besides the ledger's table, which it is
// asked to make and to remove, it changes nothing, and it never cancels a
// statement: a cancelled wait for a synchronous standby commits the row, so a
// client that gives up here just closes its connection.
//
// Settings of a system file that it reads (probes.Binding.Extra):
//
//	postgres_port  the port of the nodes' servers; 5432
//	schema         where the ledger's table is made; the user's default
//	synchronous    "on" if an acknowledged write is meant to be on a standby
//	               too: then one that was not is acked-degraded
//	failover       who promotes a standby: "person" (the default), or the periods
//	               of a script: "every 1s failures 3 timeout 1s"
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Kind is PostgreSQL with streaming replication and no manager.
var Kind = probes.Kind{
	Name:      "postgres",
	Summary:   "PostgreSQL primary and standbys, failed over by hand or by a script",
	Processes: probes.ProcessNames{Server: []string{"postgres"}},
	Open: func(ctx context.Context, b probes.Binding) (probes.System, error) {
		return Open(ctx, b)
	},
}

// defaultPort is PostgreSQL's own (IANA, postgresql).
const defaultPort = 5432

// A System is one PostgreSQL cluster: its nodes and its client endpoint.
type System struct {
	places      []*place
	endpoint    *endpoint
	dsn         string
	password    string
	connect     time.Duration
	port        int
	schema      string
	synchronous bool
	script      *script // nil: a person promotes

	mu      sync.Mutex
	names   map[string]string // address → node, all that were ever seen
	ledgers map[string]bool   // runs whose table was made
}

var (
	_ probes.System     = (*System)(nil)
	_ probes.Ledger     = (*System)(nil)
	_ probes.Membership = (*System)(nil)
	_ probes.Settings   = (*System)(nil)
	_ probes.Expecter   = (*System)(nil)
	_ probes.Forker     = (*System)(nil)
	_ probes.Dater      = (*System)(nil)
)

// Open reads b and asks the nodes for their addresses. It connects to no
// server: a system that is down can be opened, and says so when it is asked.
func Open(ctx context.Context, b probes.Binding) (*System, error) {
	s := &System{
		dsn: b.Clients.DSN, connect: b.Clients.Connect, port: defaultPort, schema: b.Extra["schema"],
		names: map[string]string{}, ledgers: map[string]bool{},
	}
	if s.dsn == "" {
		return nil, errors.New(`clients.dsn is missing: say how an application connects, such as "postgres://app@pg1,pg2/orders?target_session_attrs=read-write"`)
	}
	if p := b.Extra["postgres_port"]; p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("settings.postgres_port: %q is no port: say a number from 1 to 65535", p)
		}
		s.port = int(n)
	}
	var err error
	if s.synchronous, err = onOff(b.Extra["synchronous"]); err != nil {
		return nil, fmt.Errorf("settings.synchronous: %w", err)
	}
	if s.script, err = scriptOf(b.Extra["failover"]); err != nil {
		return nil, fmt.Errorf("settings.failover: %w", err)
	}
	if b.Clients.Password != nil {
		if s.password, err = b.Clients.Password(); err != nil {
			return nil, fmt.Errorf("reading clients.password: %w", err)
		}
	}
	if s.endpoint, err = s.client(); err != nil {
		return nil, err
	}
	for _, n := range b.Nodes {
		p := newPlace(n)
		s.places = append(s.places, p)
		s.learn(p, p.refresh(ctx, time.Time{}))
	}
	return s, nil
}

// onOff reads a setting as PostgreSQL and YAML write it.
func onOff(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "", "off", "no", "false":
		return false, nil
	case "on", "yes", "true":
		return true, nil
	}
	return false, fmt.Errorf("%q is neither on nor off", v)
}

// NodeName maps the address by which a server calls itself to its node.
func (s *System) NodeName(taker string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[taker]
}

// learn remembers that p has, or had, addrs.
func (s *System) learn(p *place, addrs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addrs {
		s.names[a] = p.node.Name()
	}
}

// place finds what is kept for n; n need not be one of the nodes of the binding.
func (s *System) place(n targets.Node) *place {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.places {
		if p.node.Name() == n.Name() {
			return p
		}
	}
	p := newPlace(n)
	s.places = append(s.places, p)
	return p
}

// all returns the places as they are now.
func (s *System) all() []*place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*place(nil), s.places...)
}

// Close ends the connections that Role and its kind keep.
func (s *System) Close() error {
	for _, p := range s.all() {
		p.hangUp()
	}
	return nil
}
