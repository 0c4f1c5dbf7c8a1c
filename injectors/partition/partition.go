// Package partition is the fault "partition": what some nodes send to others does
// not arrive.
//
// Each node that is to hear nothing of others gets an nf_tables table of our own
// in its network namespace, which drops what arrives from their addresses, before
// connection tracking and before any firewall. The senders notice nothing, as with
// a network that loses packets; a drop where a packet is sent, or a route, would be
// told to the program as an error. What goes to machines that are no nodes of the
// system, where nothing of ours can stand, is dropped as it leaves the device.
//
// Held by: layer 1 (the table belongs to a socket of the process that holds the
// fault: it is gone with that process, however it ends), layer 2 (an element with
// a time-out in the table, without which no rule of it matches: it is gone when
// the renewals stop), layers 3 and 4 as every fault. Nobody else's table, chain or
// rule is ever changed.
//
// The package does not delay or damage packets, and it takes no interface, address
// or route away.
package partition

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

const kind = "partition"

// Kind is the entry in the catalogue.
func Kind() injectors.Kind {
	return injectors.Kind{
		Name:    kind,
		Summary: "nodes do not hear each other: groups, one way, by port; also clients and other machines",
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
			return injectors.Of(kind, newCutter(p, kernelGround{})), nil
		},
		Excludes: func(string) string { return "" },
		Reopen:   func() injectors.Injector { return injectors.Of(kind, newCutter(defaults(), kernelGround{})) },
		Needs:    []injectors.Need{injectors.NeedNetNS},
		Here: func(ctx context.Context) error {
			can, err := kernelGround{}.Able(ctx)
			return errors.Join(err, can.Cut)
		},
	}
}

// A cutter is an injectors.Typed[state]. One and the same holds a fault from
// Inject to Revert: its tables live in it.
type cutter struct {
	p      Params
	ground ground

	mu    sync.Mutex
	lease map[string]time.Duration // by table; for those that are to be made
	walls map[string]wall          // by table; those that stand
}

func newCutter(p Params, g ground) *cutter {
	return &cutter{p: p, ground: g, lease: map[string]time.Duration{}, walls: map[string]wall{}}
}

// firstLease is how long a cut lives that nobody renews and for which no lease
// was named (safety: "The life of a fault", 5).
const firstLease = 5 * time.Second

// A ground is where walls stand: the kernel's network namespaces, or a fake.
type ground interface {
	// Stand finds the network namespace of a node. It changes nothing; the error
	// wraps targets.ErrUnsupported where there is none to be had.
	Stand(ctx context.Context, n targets.Node) (peers.Site, error)
	// Addresses are those in it, but not the ones that mean the machine itself.
	// It enters it, and so finds out whether that is allowed.
	Addresses(ctx context.Context, at peers.Site) ([]netip.Addr, error)
	// Able says what this kernel can do.
	Able(ctx context.Context) (able, error)
	// Raise makes the wall at once, as a whole.
	Raise(ctx context.Context, at peers.Site, s state, lease time.Duration) (wall, error)
	// Look says what stands there, whoever made it.
	Look(ctx context.Context, at peers.Site, s state) (sight, error)
	// Raze removes a wall that we do not hold.
	Raze(ctx context.Context, at peers.Site, s state) error
	// Fire has packets sent that the wall is to stop.
	Fire(ctx context.Context, at peers.Site, s state, shots []shot) error
	// Reset ends established connections across the wall.
	Reset(ctx context.Context, at peers.Site, s state) error
}

// A wall is one that this process holds.
type wall interface {
	Renew(lease time.Duration) error
	Look() (sight, error) // as ground.Look, for the price of a look only
	Remove() error        // harmless to call twice
	Close()               // lets go of it once it is removed
}

// Renew has the wall stand for lease from now on; before Inject it only says how
// long the wall is to stand at first.
func (c *cutter) Renew(_ context.Context, _ targets.Node, s state, lease time.Duration) error {
	c.mu.Lock()
	c.lease[s.Table] = lease
	w := c.walls[s.Table]
	c.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.Renew(lease)
}

// Inject makes the table.
func (c *cutter) Inject(ctx context.Context, n targets.Node, s state) error {
	at, err := c.stand(ctx, n, s)
	if err != nil {
		return err
	}
	c.mu.Lock()
	lease, stands := c.lease[s.Table], c.walls[s.Table] != nil
	c.mu.Unlock()
	if lease == 0 {
		lease = firstLease
	}
	if stands {
		return fmt.Errorf("table %s was made already", s.Table)
	}
	w, err := c.ground.Raise(ctx, at, s, lease)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.walls[s.Table] = w
	c.mu.Unlock()
	if s.Reset {
		return c.ground.Reset(ctx, at, s)
	}
	return nil
}

// stand finds the node's namespace, and makes sure that it is the one that was
// planned for.
func (c *cutter) stand(ctx context.Context, n targets.Node, s state) (peers.Site, error) {
	at, err := c.ground.Stand(ctx, n)
	if err == nil && !at.ID.Is(s.NS) {
		err = peers.ErrMoved
	}
	return at, err
}

// Revert removes the table. With the namespace it is gone by itself.
func (c *cutter) Revert(ctx context.Context, n targets.Node, s state) error {
	c.mu.Lock()
	w := c.walls[s.Table]
	c.mu.Unlock()
	if w != nil {
		return w.Remove()
	}
	at, err := c.stand(ctx, n, s)
	switch {
	case errors.Is(err, peers.ErrMoved), errors.Is(err, targets.ErrGone):
		return nil
	case err != nil:
		return err
	}
	return c.ground.Raze(ctx, at, s)
}

// Reverted looks whether the table is gone; that its lease is over is not enough.
func (c *cutter) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	at, err := c.stand(ctx, n, s)
	if errors.Is(err, peers.ErrMoved) {
		c.letGo(s)
		return true, err.Error(), nil
	}
	if err != nil {
		return false, "", err
	}
	seen, err := c.look(ctx, at, s)
	switch {
	case err != nil:
		return false, "", err
	case seen.There:
		return false, fmt.Sprintf("table %s is still there", s.Table), nil
	}
	c.letGo(s)
	return true, fmt.Sprintf("there is no table %s", s.Table), nil
}

// look looks through the wall that we hold, or, if somebody else does, anew.
func (c *cutter) look(ctx context.Context, at peers.Site, s state) (sight, error) {
	c.mu.Lock()
	w := c.walls[s.Table]
	c.mu.Unlock()
	if w != nil {
		return w.Look()
	}
	return c.ground.Look(ctx, at, s)
}

// letGo ends what a wall that is gone still takes.
func (c *cutter) letGo(s state) {
	c.mu.Lock()
	w := c.walls[s.Table]
	delete(c.walls, s.Table)
	c.mu.Unlock()
	if w != nil {
		w.Close()
	}
}
