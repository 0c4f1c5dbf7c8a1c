package netem

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/internal/tc"
	"github.com/dapple-drills/dapple/targets"
)

// schEngine is the engine kernel: packets are led through a device of our own,
// whose queueing discipline is netem. The filters that lead them there have a
// deadline in the kernel; nobody's queueing discipline is replaced. With bucket it is
// the engine tbf: the discipline is a token bucket, which slows packets down and does
// nothing else, also where the kernel has no netem.
type schEngine struct{ bucket bool }

var _ engine = schEngine{}

// fastestBucket is the fastest rate of which a look can see that it holds.
const fastestBucket = 1e9

// spec is the state in the words of package tc.
func (s state) spec() (tc.Spec, error) {
	m := s.Harm
	percent := func(p Percent) float64 { return 100 * float64(p) }
	spec := tc.Spec{
		Name: strings.ReplaceAll(s.Name, " ", "-"), Interface: s.Interface, Out: s.leaves(), In: s.arrives(),
		Bucket: s.Engine == bucketEngine, Nets: s.Nets, Clients: s.Clients, Nodes: slices.Concat(s.Nodes, s.Mine),
		Impairment: tc.Impairment{
			Delay: m.Delay, Jitter: m.Jitter, Distribution: string(m.Distribution), DelayCorrelation: percent(m.Correlation), KeepOrder: m.Jitter > 0,
			Loss: percent(m.Loss), Duplicate: percent(m.Duplicate), Corrupt: percent(m.Corrupt), Reorder: percent(m.Reorder),
			Rate: uint64(m.Rate), Limit: uint32(m.Limit),
		},
	}
	if b := m.Bursts; b != nil {
		spec.Impairment.Burst = &tc.GilbertElliott{ToBad: percent(b.Begin), ToGood: percent(b.End), InBad: percent(b.Loss), InGood: percent(b.Between)}
	}
	for _, p := range s.Peers {
		spec.Addrs = append(spec.Addrs, p.Addrs...)
	}
	for _, p := range s.Ports {
		lo, hi, err := p.Bounds()
		if err != nil {
			return spec, err
		}
		spec.Ports = append(spec.Ports, tc.Range{Lo: lo, Hi: hi})
	}
	return spec, nil
}

// Able makes one in a namespace that nobody else uses.
func (e schEngine) Able(_ context.Context, at peers.Site, s state) error {
	switch {
	case e.bucket && !s.Harm.onlySlow():
		return fmt.Errorf("it makes packets slow (rate), and does nothing else: %w", targets.ErrUnsupported)
	case e.bucket && s.Harm.Rate > fastestBucket:
		return fmt.Errorf("more passes at once at %v than it is measured with: %w", s.Harm.Rate, targets.ErrUnsupported)
	case at.Path == "" && e.bucket: // of this machine, not of a node
		return tc.TryBucket()
	case at.Path == "":
		return tc.Try()
	}
	spec, err := s.spec()
	if err != nil {
		return err
	}
	return tc.Able(at.Path, spec)
}

// A led is a fault that this process holds.
type led struct {
	path string
	spec tc.Spec
	hold *tc.Hold

	mu   sync.Mutex
	gone bool
}

// Raise leads packets away.
func (schEngine) Raise(ctx context.Context, at peers.Site, s state, lease time.Duration) (hold, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	spec, err := s.spec()
	if err != nil {
		return nil, err
	}
	h, err := tc.Raise(at.Path, spec, lease)
	if err != nil {
		return nil, err
	}
	return &led{path: at.Path, spec: spec, hold: h}, nil
}

// Renew moves the deadline.
func (l *led) Renew(lease time.Duration) error { return l.hold.Renew(lease) }

// Look asks the kernel.
func (l *led) Look() (sight, error) { return lookFor(l.path, l.spec) }

// Remove takes it away. Packets that wait are sent on before.
func (l *led) Remove() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil
	}
	err := tc.Remove(l.path, l.spec)
	l.gone = err == nil
	return err
}

// Close lets go of it.
func (l *led) Close() { _ = l.hold.Close() } // its descriptors: nothing hangs on them any more

// Look finds it by its name.
func (schEngine) Look(_ context.Context, at peers.Site, s state) (sight, error) {
	spec, err := s.spec()
	if err != nil {
		return sight{}, err
	}
	return lookFor(at.Path, spec)
}

func lookFor(path string, spec tc.Spec) (sight, error) {
	seen, err := tc.Look(path, spec)
	if err != nil {
		return sight{}, err
	}
	v := sight{There: seen.There, Lease: seen.Lease, Missing: seen.Missing, Burst: seen.Burst, Met: map[Direction]uint64{}, Events: map[event]uint64{}}
	if spec.Out {
		v.Met[egress] = seen.MetOut
	}
	if spec.In {
		v.Met[ingress] = seen.MetIn
	}
	if spec.Impairment.Loss > 0 || spec.Impairment.Burst != nil {
		v.Events[lost] = seen.Dropped
	}
	return v, nil
}

// Raze removes what a process left.
func (schEngine) Raze(ctx context.Context, at peers.Site, s state) error {
	spec, err := s.spec()
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return tc.Remove(at.Path, spec)
}
