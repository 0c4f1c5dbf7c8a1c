// Package tc makes packets between chosen machines late, lost, twice, broken,
// out of order or slow, by the kernel's own network emulator (tc-netem(8)).
//
// The queues of the network devices are not touched, so whatever an operator has
// set up there stays as it is. On a device, beside its queue, a filter looks at
// each packet on its way out or in. What is exchanged with a chosen address is led
// through an intermediate device (ifb) whose queue is netem, and goes on from
// there as if nothing had happened; all else passes the filter untouched. Where there
// is no netem, a token bucket (tc-tbf(8)) can be the queue: it makes packets slow, and
// nothing else.
//
// The filter is a program that the kernel runs (BPF), and it has a deadline: once
// that is over, it chooses no packet any more, whoever hangs or is dead. A Hold
// sets the deadline anew. What then is left behind (filters, intermediate devices)
// does nothing, and Remove takes it away.
//
// The package knows namespaces and addresses, and nothing of nodes or faults. It
// does not emulate anything itself: without the kernel's modules it says which of
// them is missing (Have). Packets that were built larger than the network's
// (segmentation offload) count as one.
package tc

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// An Impairment is what happens to packets. Shares are in percent.
type Impairment struct {
	Delay            time.Duration `json:"delay,omitempty"`
	Jitter           time.Duration `json:"jitter,omitempty"`
	DelayCorrelation float64       `json:"delay_correlation,omitempty"`
	// Distribution of the jitter: "" and "uniform", "normal", "pareto",
	// "paretonormal". Jitter is its standard deviation, but for uniform, where it
	// is the most that a packet deviates.
	Distribution string `json:"distribution,omitempty"`
	// KeepOrder keeps packets in order although they have jitter: each waits for
	// the one before it, which makes them later on average.
	KeepOrder bool `json:"keep_order,omitempty"`

	Loss            float64         `json:"loss,omitempty"`
	LossCorrelation float64         `json:"loss_correlation,omitempty"`
	Burst           *GilbertElliott `json:"burst,omitempty"` // instead of Loss

	Duplicate            float64 `json:"duplicate,omitempty"`
	DuplicateCorrelation float64 `json:"duplicate_correlation,omitempty"`
	Corrupt              float64 `json:"corrupt,omitempty"` // one bit of a packet is wrong
	CorruptCorrelation   float64 `json:"corrupt_correlation,omitempty"`
	// Reorder is the share of packets that are sent at once, ahead of those that
	// wait for Delay.
	Reorder            float64 `json:"reorder,omitempty"`
	ReorderCorrelation float64 `json:"reorder_correlation,omitempty"`

	Rate  uint64 `json:"rate,omitempty"`  // bits per second
	Limit uint32 `json:"limit,omitempty"` // packets that may wait; 0: enough for rate and delay
}

// GilbertElliott is loss in bursts: a line that is good or bad, and at each packet
// may turn from one to the other.
type GilbertElliott struct {
	ToBad  float64 `json:"to_bad"`  // p: a good line turns bad
	ToGood float64 `json:"to_good"` // r: a bad line turns good; the mean burst is 100/r packets
	InBad  float64 `json:"in_bad"`  // 1-h: loss while it is bad
	InGood float64 `json:"in_good"` // 1-k: loss while it is good
}

// The kernel counts nanoseconds in 63 bits; nobody waits for a packet that long.
const maxDelay = time.Hour

// Check refuses what no kernel would do.
func (i Impairment) Check() error {
	shares := map[string]float64{
		"delay_correlation": i.DelayCorrelation, "loss": i.Loss, "loss_correlation": i.LossCorrelation, "duplicate": i.Duplicate,
		"duplicate_correlation": i.DuplicateCorrelation, "corrupt": i.Corrupt, "corrupt_correlation": i.CorruptCorrelation,
		"reorder": i.Reorder, "reorder_correlation": i.ReorderCorrelation,
	}
	if b := i.Burst; b != nil {
		shares["to_bad"], shares["to_good"], shares["in_bad"], shares["in_good"] = b.ToBad, b.ToGood, b.InBad, b.InGood
	}
	for name, v := range shares {
		if math.IsNaN(v) || v < 0 || v > 100 {
			return fmt.Errorf("%s is %v: want percent, 0 to 100", name, v)
		}
	}
	switch {
	case i.Delay < 0 || i.Delay > maxDelay, i.Jitter < 0 || i.Jitter > maxDelay:
		return fmt.Errorf("delay %v and jitter %v: want 0 to %v", i.Delay, i.Jitter, maxDelay)
	case i.Jitter > 0 && i.Delay == 0:
		return errors.New("jitter needs a delay to deviate from")
	case i.Reorder > 0 && i.Delay == 0:
		return errors.New("reorder needs a delay: only a packet that waits can be overtaken")
	case i.Burst != nil && i.Loss > 0:
		return errors.New("loss is either of single packets or in bursts")
	case i.Burst != nil && i.Burst.ToGood == 0 && i.Burst.ToBad > 0:
		return errors.New("a line that turns bad and never good again is loss of 100 %")
	}
	_, err := table(i.Distribution)
	return err
}

// wireRate is assumed of a network without a rate of its own, to keep packets in
// order and to find how many may wait: 10 Gbit/s.
const wireRate = 10_000_000_000

// limit is how many packets may wait: twice as many full ones as pass in the time
// that one waits, so that the limit never loses what the parameters do not.
func (i Impairment) limit() uint32 {
	if i.Limit > 0 {
		return i.Limit
	}
	const floor, ceiling, full = 1000, 1_000_000, 1500 * 8
	rate := i.Rate
	if rate == 0 {
		rate = wireRate
	}
	waiting := 2 * float64(rate) / full * (i.Delay + 4*i.Jitter).Seconds()
	return uint32(min(floor+waiting, ceiling))
}

// A Range of ports, both ends included.
type Range struct{ Lo, Hi uint16 }

// A Spec is what is made in one namespace. What is exchanged with Addrs and Nets
// is meant, and with Clients whatever is not one of Nodes.
type Spec struct {
	Name      string // of what is made; unique, and by it all is found again
	Interface string // the network device; all but lo if it is empty
	Out, In   bool   // packets to them, packets from them
	Addrs     []netip.Addr
	Nets      []netip.Prefix
	Clients   bool
	Nodes     []netip.Addr
	// Ports: only TCP and UDP from or to one of these; all packets if it is empty.
	// TCP with port 22 is meant only if it is named.
	Ports      []Range
	Impairment Impairment
	Bucket     bool // a token bucket does it, not netem
}

// Bounds of the program and its map; the program grows with the ranges of ports.
const (
	maxAddrs = 100_000
	maxPorts = 128
)

func (s Spec) check() error {
	switch {
	case s.Name == "" || !s.Out && !s.In:
		return errors.New("no name or no direction")
	case len(s.Addrs)+len(s.Nets) == 0 && !s.Clients:
		return errors.New("nobody's packets are meant")
	case len(s.Addrs)+len(s.Nets)+len(s.Nodes) > maxAddrs || len(s.Ports) > maxPorts:
		return fmt.Errorf("%d addresses and %d ranges of ports: at most %d and %d", len(s.Addrs)+len(s.Nets)+len(s.Nodes), len(s.Ports), maxAddrs, maxPorts)
	}
	for _, r := range s.Ports {
		if r.Lo > r.Hi {
			return fmt.Errorf("ports %d to %d are none", r.Lo, r.Hi)
		}
	}
	if i := s.Impairment; s.Bucket && (i.Rate < 8 || i != Impairment{Rate: i.Rate, Limit: i.Limit, Distribution: i.Distribution}) {
		return errors.New("a token bucket has a rate and a limit, and nothing else")
	}
	return s.Impairment.Check()
}

// A way is a direction, as the names of what is made for it tell.
type way string

const (
	out way = "o"
	in  way = "i"
)

func (s Spec) ways() (list []way) {
	if s.Out {
		list = append(list, out)
	}
	if s.In {
		list = append(list, in)
	}
	return list
}

// link is the name of the intermediate device: a device's has at most 15 bytes.
// The whole name of the Spec is its alias.
func (s Spec) link(w way) string {
	sum := sha256.Sum256([]byte(s.Name))
	return fmt.Sprintf("dapple%x%s", sum[:4], w)
}

// Links are the names of the intermediate devices of a Spec, for people.
func Links(name string) []string {
	s := Spec{Name: name}
	return []string{s.link(out), s.link(in)}
}

// A Sight is what was found in the kernel.
type Sight struct {
	There   bool          // something of it is
	Missing []string      // what of it is not, or not as it was made
	Lease   time.Duration // until no packet is chosen any more; 0 if that is over
	// MetOut and MetIn are the packets that were chosen since it was made.
	MetOut, MetIn uint64
	// Passed, Dropped and Waiting are what the queues have counted.
	Passed, Dropped, Waiting uint64
	// Burst is how many bytes a token bucket lets pass at once.
	Burst int
}
