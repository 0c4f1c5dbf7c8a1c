// Package dns is the fault "dns": what a node's name servers answer comes late, is
// a refusal, is wrong, or does not come; for all names or for some.
//
// An nf_tables table of our own in the node's network namespace leads what the node
// sends to its name servers, UDP and TCP port 53, to a small name server within the
// agent, whose sockets are in that namespace. It answers as the fault says, and
// hands everything else on to the server that was asked, byte for byte. The table
// rewrites each packet by itself, without connection tracking: with the table gone,
// the next packet of the same socket goes to the real server, so that a program
// which asks again is answered. What the container engine does with its own name
// server (127.0.0.11) comes later on a packet's way, and is left as it is.
//
// Held by: layer 1 (the table belongs to a socket of the process that holds the
// fault), layer 2 (an element with a time-out, without which the table leads nothing
// to us), layers 3 and 4 as every fault. Names resolve as before at the moment that
// the holder dies.
//
// The package changes no file of the node and no rule of anybody else's. Names that
// a program reads from /etc/hosts, keeps in a cache, or asks for by HTTPS or TLS are
// not met, and dapple itself, which is outside of the node, is not either.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "dns"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "the answers of a node's name servers come late, are refusals, are wrong, or do not come",
		Layers:  "1 kernel object of the holder, 2 deadline in the kernel, 3 guard, 4 journal",
		Params:  &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			var p Params
			if err := decode(&p); err != nil {
				return nil, err
			}
			if err := p.check(); err != nil {
				return nil, err
			}
			return injectors.Of(kind, newLiar(p, kernelGround{})), nil
		},
		Excludes: func(other string) string {
			if other == kind {
				return "each would lead the questions to itself, and only one would be asked"
			}
			return ""
		},
		Reopen: func() injectors.Injector { return injectors.Of(kind, newLiar(Params{}, kernelGround{})) },
		Needs:  []injectors.Need{injectors.NeedNetNS},
		Here:   kernelGround{}.Able,
	}
}

// A liar is an injectors.Typed[state]. One and the same holds a fault from Inject
// to Revert: its tables and servers live in it.
type liar struct {
	p      Params
	ground ground

	mu    sync.Mutex
	lease map[string]time.Duration // by table; for those that are to be made
	holds map[string]hold          // by table; those that stand
}

func newLiar(p Params, g ground) *liar {
	return &liar{p: p, ground: g, lease: map[string]time.Duration{}, holds: map[string]hold{}}
}

// firstLease is how long a fault lives that nobody renews and for which no lease
// was named (safety: "The life of a fault", 5).
const firstLease = 5 * time.Second

// A ground is where nodes are: the kernel's network namespaces, or a fake.
type ground interface {
	// Stand finds the network namespace of a node. It changes nothing; the error
	// wraps targets.ErrUnsupported where there is none to be had.
	Stand(ctx context.Context, n targets.Node) (peers.Site, error)
	// Addresses are those in it, but not the ones that mean the machine itself.
	Addresses(ctx context.Context, at peers.Site) ([]netip.Addr, error)
	// Files are the node's resolv.conf and hosts (resolv.conf(5), hosts(5)).
	Files(ctx context.Context, n targets.Node) (resolv, hosts []byte, err error)
	// Able says whether this kernel can do it; nil is yes.
	Able(ctx context.Context) error
	// Obstacles says what of others would keep questions from being led to us; nil
	// is nothing that can be seen.
	Obstacles(ctx context.Context, at peers.Site) error
	// Raise makes the servers and the table. If it fails, nothing is left.
	Raise(ctx context.Context, at peers.Site, s state, lease time.Duration) (hold, error)
	// Look says what stands there, whoever made it.
	Look(ctx context.Context, at peers.Site, s state) (sight, error)
	// Raze removes a table that we do not hold.
	Raze(ctx context.Context, at peers.Site, s state) error
	// Ask asks all questions at once, from inside.
	Ask(ctx context.Context, at peers.Site, questions []*question) error
}

// A hold is a fault that this process holds. Its methods may be called at once from
// several goroutines.
type hold interface {
	Renew(lease time.Duration) error
	Look() (sight, error) // as ground.Look, for the price of a look only
	Remove() error        // harmless to call twice
	Close()               // lets go of it once it is removed
}

// Renew has the fault last for lease from now on; before Inject it only says how
// long it is to last at first.
func (l *liar) Renew(_ context.Context, _ targets.Node, s state, lease time.Duration) error {
	l.mu.Lock()
	l.lease[s.Table] = lease
	h := l.holds[s.Table]
	l.mu.Unlock()
	if h == nil {
		return nil
	}
	return h.Renew(lease)
}

// Inject makes the servers and the table.
func (l *liar) Inject(ctx context.Context, n targets.Node, s state) error {
	at, err := l.stand(ctx, n, s)
	if err != nil {
		return err
	}
	l.mu.Lock()
	lease, stands := l.lease[s.Table], l.holds[s.Table] != nil
	l.mu.Unlock()
	if lease == 0 {
		lease = firstLease
	}
	if stands {
		return fmt.Errorf("table %s was made already", s.Table)
	}
	h, err := l.ground.Raise(ctx, at, s, lease)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.holds[s.Table] = h
	l.mu.Unlock()
	return nil
}

// stand finds the node's namespace, and makes sure that it is the one that was
// planned for.
func (l *liar) stand(ctx context.Context, n targets.Node, s state) (peers.Site, error) {
	at, err := l.ground.Stand(ctx, n)
	if err == nil && !at.ID.Is(s.NS) {
		err = peers.ErrMoved
	}
	return at, err
}

// Revert removes the table. With the namespace it is gone by itself.
func (l *liar) Revert(ctx context.Context, n targets.Node, s state) error {
	l.mu.Lock()
	h := l.holds[s.Table]
	l.mu.Unlock()
	if h != nil {
		return h.Remove()
	}
	at, err := l.stand(ctx, n, s)
	switch {
	case errors.Is(err, peers.ErrMoved), errors.Is(err, targets.ErrGone):
		return nil
	case err != nil:
		return err
	}
	return l.ground.Raze(ctx, at, s)
}

// Reverted looks whether the table is gone; that its lease is over is not enough.
func (l *liar) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	at, err := l.stand(ctx, n, s)
	if errors.Is(err, peers.ErrMoved) {
		l.letGo(s)
		return true, err.Error(), nil
	}
	if err != nil {
		return false, "", err
	}
	seen, err := l.look(ctx, at, s)
	switch {
	case err != nil:
		return false, "", err
	case seen.There:
		return false, fmt.Sprintf("table %s is still there", s.Table), nil
	}
	l.letGo(s)
	return true, fmt.Sprintf("there is no table %s", s.Table), nil
}

// look looks through what we hold, or, if somebody else does, anew.
func (l *liar) look(ctx context.Context, at peers.Site, s state) (sight, error) {
	l.mu.Lock()
	h := l.holds[s.Table]
	l.mu.Unlock()
	if h != nil {
		return h.Look()
	}
	return l.ground.Look(ctx, at, s)
}

// letGo ends what a fault that is gone still takes.
func (l *liar) letGo(s state) {
	l.mu.Lock()
	h := l.holds[s.Table]
	delete(l.holds, s.Table)
	l.mu.Unlock()
	if h != nil {
		h.Close()
	}
}
