// Package host is the target "host": services of this machine as nodes. A node is
// a unit of systemd, or the process that a pidfile names with its descendants, or
// an address alone, which only probes can reach.
//
// A unit is stopped and started by systemd, whose Restart= is told as the engine's
// restart policy: a drill must know who brings back what it killed. A pidfile has
// no engine; whoever watches the process besides is not known here.
//
// The network of this machine is never anybody's to cut: a node has a network
// namespace of its own (PrivateNetwork=, NetworkNamespacePath=), or none that a
// fault could be made in.
//
// The package does not install, enable or configure units, and runs no command of
// the operator's but the one that starts a node with a pidfile.
package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/targets"
)

// Kind is the Kind of a host node's Spec.
const Kind = "host"

// A Config says what on this machine a node is. It is at most one of Unit and
// PIDFile.
type Config struct {
	Unit    string `json:"unit,omitempty"`    // postgresql@15-main.service
	PIDFile string `json:"pidfile,omitempty"` // an absolute path
	// Start starts the process of the pidfile: an absolute path and its arguments.
	// Without it, nothing that kills the node can be made.
	Start []string `json:"start,omitempty"`
	// Addresses are where the service listens, without port: names or numbers.
	Addresses []string `json:"addresses,omitempty"`
}

// unit is the name of a service unit (systemd.unit(5)), and no option of
// systemctl's.
var unit = regexp.MustCompile(`^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*\.service$`)

func (c Config) check() error {
	switch {
	case c.Unit != "" && c.PIDFile != "":
		return errors.New("unit and pidfile exclude each other")
	case c.Unit != "" && !unit.MatchString(c.Unit):
		return fmt.Errorf("%q is no name of a service unit, such as postgresql@15-main.service", c.Unit)
	case c.PIDFile != "" && !filepath.IsAbs(c.PIDFile):
		return fmt.Errorf("the pidfile %q is no absolute path", c.PIDFile)
	case len(c.Start) > 0 && c.PIDFile == "":
		return errors.New("start belongs to a pidfile: a unit is started by systemd")
	case len(c.Start) > 0 && !filepath.IsAbs(c.Start[0]):
		return fmt.Errorf("start: %q is no absolute path of a program", c.Start[0])
	}
	return nil
}

// New makes the node. What it can do depends on what it is: an address alone can
// do nothing; a pidfile without a command that starts it is no targets.Starter.
func New(name string, c Config) (targets.Portable, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	n := Node{name, c}
	switch {
	case c.Unit != "":
		k := systemd{c.Unit, systemctl}
		return &Unit{Service{n, k}, k}, nil
	case c.PIDFile != "" && len(c.Start) > 0:
		k := pidfile{c.PIDFile, c.Start}
		return &Unit{Service{n, k}, k}, nil
	case c.PIDFile != "":
		return &Service{n, pidfile{path: c.PIDFile}}, nil
	}
	return &n, nil
}

// Opener opens nodes again from their Specs.
func Opener() targets.Opener {
	return targets.Opener{Kind: Kind, Open: func(_ context.Context, s targets.Spec) (targets.Node, error) {
		c, err := Read(s)
		if err != nil {
			return nil, err
		}
		return New(s.Name, c)
	}}
}

// Read is what a Spec of this kind says.
func Read(s targets.Spec) (c Config, err error) {
	if s.Kind != Kind {
		return c, fmt.Errorf("opening node %s: its kind is %q, want %q", s.Name, s.Kind, Kind)
	}
	if err := json.Unmarshal(s.Config, &c); err != nil {
		return c, fmt.Errorf("opening node %s: its spec: %w", s.Name, err)
	}
	return c, nil
}

// A Node is an address: only probes can reach it. It can be opened again, so that
// a command of the operator's can be aimed at it.
type Node struct {
	name string
	at   Config
}

var (
	_ targets.Portable  = (*Node)(nil)
	_ targets.Addresser = (*Node)(nil)
)

// Name is the node's name.
func (n *Node) Name() string { return n.name }

// Spec is the node as data.
func (n *Node) Spec() targets.Spec {
	config, err := json.Marshal(n.at)
	if err != nil {
		panic("dapple: internal error: a host node's spec: " + err.Error()) // strings
	}
	return targets.Spec{Kind: Kind, Name: n.name, Config: config}
}

// Exec cannot be done on an address.
func (n *Node) Exec(_ context.Context, argv ...string) ([]byte, error) {
	return nil, fmt.Errorf("exec %s on %s: only its address is known; name its unit or its pidfile: %w", strings.Join(argv, " "), n.name, targets.ErrUnsupported)
}

// Addresses are those of the system file, names resolved now: IPv4 first.
func (n *Node) Addresses(ctx context.Context) ([]string, error) {
	var all []string
	for _, a := range n.at.Addresses {
		if _, err := netip.ParseAddr(a); err == nil {
			all = append(all, a)
			continue
		}
		found, err := net.DefaultResolver.LookupHost(ctx, a)
		if err != nil {
			return nil, fmt.Errorf("node %s: resolving its address: %w", n.name, err)
		}
		slices.SortStableFunc(found, func(a, b string) int { return strings.Count(a, ":") - strings.Count(b, ":") })
		all = append(all, found...)
	}
	return all, nil
}
