package netem

import (
	"context"
	"net/netip"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

// An engine damages packets within the network namespace of a node. All engines
// mean the same by a state.
//
// What an engine makes must end by itself when the process that holds it dies, and
// when its lease is not renewed; it must not touch anything that is not its own.
type engine interface {
	// Able says whether this kernel, and the site, can do what the state asks; nil
	// is yes. It tries, in a place of its own, and changes nothing. The error
	// wraps targets.ErrUnsupported if it cannot, with the reason and the way out.
	Able(ctx context.Context, at peers.Site, s state) error
	// Raise has packets damaged from now on, for lease. If it fails, nothing is
	// left.
	Raise(ctx context.Context, at peers.Site, s state, lease time.Duration) (hold, error)
	// Look says what stands there, whoever made it; not the packets themselves.
	Look(ctx context.Context, at peers.Site, s state) (sight, error)
	// Raze removes what a process left that is gone. Nothing to remove is nil.
	Raze(ctx context.Context, at peers.Site, s state) error
}

// A hold is a fault that this process holds. Its methods may be called at once
// from several goroutines.
type hold interface {
	// Renew has it last for lease from now on. An error says that it had ended.
	Renew(lease time.Duration) error
	Look() (sight, error) // as engine.Look, for the price of a look only
	Remove() error        // harmless to call twice
	Close()               // lets go of it once it is removed
}

// A sight is what stands at a site.
type sight struct {
	There   bool
	Lease   time.Duration // what is left of it; 0: it is over
	Missing []string      // what of the state is not in the kernel, or not at work
	// Met are the packets that were handed to the engine since it was made.
	Met map[Direction]uint64 // egress, ingress
	// Events are what the kernel counted of the engine's doings since then. An
	// engine that cannot have one counted leaves it out.
	Events map[event]uint64
	Burst  int // bytes that pass at once before the rate holds; 0: none
}

// An event is something that becomes of a packet now and then.
type event string

const (
	lost       event = "lost"
	duplicated event = "twice"
	corrupted  event = "corrupted"
	reordered  event = "overtook"
	overrun    event = "over the limit"
)

// A trip is a volley of packets of ours from one machine to another, by which it
// is measured what becomes of packets.
type trip struct {
	peer  string // the node at the other end
	path  string // its network namespace
	ns    kernel.NetNS
	way   Direction // of the node: egress, ingress
	to    netip.Addr
	count int           // how many are sent
	size  int           // what is in each, in bytes
	wait  time.Duration // for the last of them, at most

	sent    int
	err     error           // why not more
	took    []time.Duration // of each that arrived, in the order of arrival
	since   []time.Duration // the same, since the first was sent
	order   []int           // its number
	altered int             // arrived, but not as it was sent
}

// A ground is where nodes are: the kernel's network namespaces, or a fake.
type ground interface {
	// Stand finds the network namespace of a node. It changes nothing; the error
	// wraps targets.ErrUnsupported where there is none to be had.
	Stand(ctx context.Context, n targets.Node) (peers.Site, error)
	// Addresses are those in it, but not the ones that mean the machine itself.
	Addresses(ctx context.Context, at peers.Site) ([]netip.Addr, error)
	// Devices are the names of the network devices in it, but loopback.
	Devices(ctx context.Context, at peers.Site) ([]string, error)
	// Travel makes the trips, all at once.
	Travel(ctx context.Context, at peers.Site, s state, trips []*trip) error
}
