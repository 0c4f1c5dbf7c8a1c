// Package netem is the fault "netem": packets between nodes are late, lost, sent
// twice, damaged, out of order, or slowed down, as on a bad network.
//
// There are two engines, and one meaning. Where the kernel has the queueing
// discipline netem, packets wait in the kernel. Where it has not, they are handed
// to the process that holds the fault (NFQUEUE), which sends them on later, or
// not; when that process is gone, the kernel lets them pass.
//
// Held by: layer 1 (what is made belongs to sockets of the process that holds the
// fault), layer 2 (an element with a time-out in the kernel, without which no
// packet is met), layers 3 and 4 as every fault. Nobody else's table, chain, rule
// or queueing discipline is ever changed.
//
// Loopback, SSH and the name server of a container engine are not touched. The
// package cuts nothing: a link that loses all packets is partition's.
package netem

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

const kind = "netem"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "packets are late, lost, sent twice, damaged, out of order or slowed down, to and from chosen peers",
		Layers:  "1 kernel object of the holder, 2 deadline in the kernel, 3 guard, 4 journal",
		Params:  &Params{},
		New: func(decode func(into any) error) (injectors.Injector, error) {
			p := defaults()
			if err := decode(&p); err != nil {
				return nil, err
			}
			if err := p.check(); err != nil {
				return nil, err
			}
			return injectors.Of(kind, newImpairer(p, kernelGround{}, engines())), nil
		},
		Excludes: func(string) string { return "" },
		Reopen: func() injectors.Injector {
			return injectors.Of(kind, newImpairer(defaults(), kernelGround{}, engines()))
		},
		Needs: []injectors.Need{injectors.NeedNetNS},
		Here:  here,
	}
}

// firstLease is how long a fault lives that nobody renews and for which no lease
// was named (safety: "The life of a fault", 5).
const firstLease = 5 * time.Second

// here is nil if one of the engines can be used.
func here(ctx context.Context) error {
	_, err := newImpairer(defaults(), kernelGround{}, engines()).choose(ctx, peers.Site{}, &state{})
	return err
}

// An impairer is an injectors.Typed[state]. One and the same holds a fault from
// Inject to Revert.
type impairer struct {
	p       Params
	ground  ground
	engines map[EngineName]engine

	mu    sync.Mutex
	lease map[string]time.Duration // by name; for those that are to be made
	holds map[string]hold          // by name; those that stand
}

func newImpairer(p Params, g ground, engines map[EngineName]engine) *impairer {
	return &impairer{p: p, ground: g, engines: engines, lease: map[string]time.Duration{}, holds: map[string]hold{}}
}

// Renew has the fault last for lease from now on; before Inject it only says how
// long it is to last at first.
func (i *impairer) Renew(_ context.Context, _ targets.Node, s state, lease time.Duration) error {
	i.mu.Lock()
	i.lease[s.Name] = lease
	h := i.holds[s.Name]
	i.mu.Unlock()
	if h == nil {
		return nil
	}
	return h.Renew(lease)
}

// Inject begins to damage packets.
func (i *impairer) Inject(ctx context.Context, n targets.Node, s state) error {
	at, err := i.stand(ctx, n, s)
	if err != nil {
		return err
	}
	e, err := i.engine(s)
	if err != nil {
		return err
	}
	i.mu.Lock()
	lease, stands := i.lease[s.Name], i.holds[s.Name] != nil
	i.mu.Unlock()
	if lease == 0 {
		lease = firstLease
	}
	if stands {
		return fmt.Errorf("%s was made already", s.Name)
	}
	h, err := e.Raise(ctx, at, s, lease)
	if err != nil {
		return err
	}
	i.mu.Lock()
	i.holds[s.Name] = h
	i.mu.Unlock()
	return nil
}

func (i *impairer) engine(s state) (engine, error) {
	if e := i.engines[s.Engine]; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("engine %s is not part of this dapple: %w", s.Engine, targets.ErrUnsupported)
}

// stand finds the node's namespace, and makes sure that it is the one that was
// planned for.
func (i *impairer) stand(ctx context.Context, n targets.Node, s state) (peers.Site, error) {
	at, err := i.ground.Stand(ctx, n)
	if err == nil && !at.ID.Is(s.NS) {
		err = peers.ErrMoved
	}
	return at, err
}

// Revert ends it. With the namespace it is gone by itself.
func (i *impairer) Revert(ctx context.Context, n targets.Node, s state) error {
	i.mu.Lock()
	h := i.holds[s.Name]
	i.mu.Unlock()
	if h != nil {
		return h.Remove()
	}
	at, err := i.stand(ctx, n, s)
	switch {
	case errors.Is(err, peers.ErrMoved), errors.Is(err, targets.ErrGone):
		return nil
	case err != nil:
		return err
	}
	e, err := i.engine(s)
	if err != nil {
		return err
	}
	return e.Raze(ctx, at, s)
}

// Reverted looks whether all is gone; that the lease is over is not enough.
func (i *impairer) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	at, err := i.stand(ctx, n, s)
	if errors.Is(err, peers.ErrMoved) {
		i.letGo(s)
		return true, err.Error(), nil
	}
	if err != nil {
		return false, "", err
	}
	seen, err := i.look(ctx, at, s)
	switch {
	case err != nil:
		return false, "", err
	case seen.There:
		return false, fmt.Sprintf("%s is still there", s.Name), nil
	}
	i.letGo(s)
	return true, fmt.Sprintf("there is no %s", s.Name), nil
}

// look looks through what we hold, or, if somebody else does, anew.
func (i *impairer) look(ctx context.Context, at peers.Site, s state) (sight, error) {
	i.mu.Lock()
	h := i.holds[s.Name]
	i.mu.Unlock()
	if h != nil {
		return h.Look()
	}
	e, err := i.engine(s)
	if err != nil {
		return sight{}, err
	}
	return e.Look(ctx, at, s)
}

// letGo ends what a fault that is gone still takes.
func (i *impairer) letGo(s state) {
	i.mu.Lock()
	h := i.holds[s.Name]
	delete(i.holds, s.Name)
	i.mu.Unlock()
	if h != nil {
		h.Close()
	}
}
