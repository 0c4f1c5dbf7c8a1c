// Package patroni is a PostgreSQL cluster under Patroni as drills see it: what
// package postgres sees of the servers, and besides it the leader key in etcd,
// the members' REST API, the effective settings, and what these predict.
//
// Who is primary is asked of the servers and never of Patroni: its /primary
// answers from the last update of the lock plus ttl on the wall clock
// (patroni/ha.py, is_leader), and may say yes for up to ttl after the lock is
// lost. The package changes nothing.
//
// Settings of a system file that it reads (probes.Binding.Extra), besides those
// of package postgres:
//
//	scope      the cluster's name; needed with etcd
//	etcd       endpoints of etcd's v3 API, separated by commas
//	etcd_ca    a file with the authority that signed https endpoints
//	namespace  Patroni's; "service"
//	rest_port  of the members' REST API; 8008
//	haproxy    the server options of a HAProxy before the cluster, in its own
//	           words: "inter 1s fall 2 rise 2"; a mapping of these will do
//
// Without etcd the members are polled for the leader (GET /cluster): the bounds
// are then those of the poll and of what the members know, instead of a watch's.
package patroni

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/postgres"
	"github.com/dapple-drills/dapple/targets"
)

// Kind is PostgreSQL under Patroni.
var Kind = probes.Kind{
	Name:      "patroni",
	Summary:   "PostgreSQL under Patroni, watched through its etcd, its REST API and the servers",
	Processes: probes.ProcessNames{Server: []string{"postgres"}, Manager: []string{"patroni"}},
	Lock:      []string{"worst", "best"},
	Open: func(ctx context.Context, b probes.Binding) (probes.System, error) {
		return Open(ctx, b)
	},
}

// Patroni's own defaults (docs/yaml_configuration.rst).
const (
	defaultRESTPort  = 8008
	defaultNamespace = "service"
)

// A System is one cluster. What it does not do itself, the servers do.
type System struct {
	*postgres.System
	nodes   []targets.Node
	rest    *http.Client
	port    int
	etcd    etcdConfig
	proxy   *proxy
	connect time.Duration // how long an application tries to connect

	mu    sync.Mutex
	names map[string]string // Patroni's name → node
}

var (
	_ probes.System     = (*System)(nil)
	_ probes.Ledger     = (*System)(nil)
	_ probes.Observer   = (*System)(nil)
	_ probes.Membership = (*System)(nil)
	_ probes.Settings   = (*System)(nil)
	_ probes.Expecter   = (*System)(nil)
	_ probes.Bender     = (*System)(nil)
	_ probes.Forker     = (*System)(nil)
	_ probes.Dater      = (*System)(nil)
)

// Open reads b, and asks the members for their configuration: with
// synchronous_mode, a write that reached no standby is acked-degraded.
func Open(ctx context.Context, b probes.Binding) (*System, error) {
	s := &System{nodes: b.Nodes, rest: newClient(), port: defaultRESTPort, connect: b.Clients.Connect, names: map[string]string{}}
	if p := b.Extra["rest_port"]; p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("settings.rest_port: %q is no port: say a number from 1 to 65535", p)
		}
		s.port = int(n)
	}
	var err error
	if s.etcd, err = readEtcd(b.Extra); err != nil {
		return nil, err
	}
	if s.proxy, err = proxyOf(b.Extra); err != nil {
		return nil, fmt.Errorf("settings.haproxy: %w", err)
	}
	if s.System, err = postgres.Open(ctx, b); err != nil {
		return nil, err
	}
	c, err := s.config(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading Patroni's configuration (settings.rest_port is %d): %w", s.port, err), s.Close())
	}
	if b.Extra["synchronous"] == "" && c.sync() {
		again := b
		again.Extra = maps.Clone(b.Extra)
		if again.Extra == nil {
			again.Extra = map[string]string{}
		}
		again.Extra["synchronous"] = "on"
		if err := s.System.Close(); err != nil {
			return nil, err
		}
		if s.System, err = postgres.Open(ctx, again); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close ends what is kept open.
func (s *System) Close() error {
	s.rest.CloseIdleConnections()
	return s.System.Close()
}

// readEtcd reads where the leader key is.
func readEtcd(extra map[string]string) (etcdConfig, error) {
	c := etcdConfig{ca: extra["etcd_ca"]}
	for _, e := range strings.FieldsFunc(extra["etcd"], func(r rune) bool { return strings.ContainsRune(" ,[]\"", r) }) {
		if !strings.Contains(e, "://") {
			e = "http://" + e
		}
		c.endpoints = append(c.endpoints, e)
	}
	if len(c.endpoints) == 0 {
		return c, nil
	}
	scope := extra["scope"]
	if scope == "" {
		return c, errors.New("settings.scope is missing: with settings.etcd, say the cluster's name, as in Patroni's configuration")
	}
	namespace := strings.Trim(extra["namespace"], "/")
	if namespace == "" {
		namespace = defaultNamespace
	}
	c.key = "/" + namespace + "/" + scope + "/leader"
	return c, nil
}

// nodeOf maps Patroni's name of a member to the node's.
func (s *System) nodeOf(member string) string {
	for _, n := range s.nodes {
		if n.Name() == member {
			return member
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.names[member]; n != "" {
		return n
	}
	return member
}

// learn notes the names of members that are called differently from their nodes,
// by the addresses that they have PostgreSQL listen on.
func (s *System) learn(c *cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range c.Members {
		if n := s.NodeName(m.Host); n != "" {
			s.names[m.Name] = n
		}
	}
}
