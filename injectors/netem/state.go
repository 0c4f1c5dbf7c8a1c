package netem

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
)

// state is what becomes of the packets of one node: all that Inject, Effect and
// Revert need.
type state struct {
	Engine EngineName   `json:"engine"` // never auto
	Name   string       `json:"name"`   // of what is made: the nf_tables table
	NS     kernel.NetNS `json:"ns"`
	// Queue is the number of the first of two queues (user): what leaves, and
	// behind it what arrives.
	Queue uint16 `json:"queue,omitempty"`
	// Mine are the node's own addresses.
	Mine []netip.Addr `json:"mine"`
	// Only what is exchanged with these is meant.
	Peers   []peer         `json:"peers,omitempty"`
	Nets    []netip.Prefix `json:"nets,omitempty"`
	Clients bool           `json:"clients,omitempty"`
	// Nodes are the addresses of all other nodes: they are no clients.
	Nodes []netip.Addr `json:"nodes,omitempty"`

	Ports     []Ports    `json:"ports,omitempty"`
	Interface string     `json:"interface,omitempty"`
	Direction Direction  `json:"direction"`
	Harm      impairment `json:"harm"`
}

// A peer is another node.
type peer struct {
	Name  string       `json:"name"`
	Addrs []netip.Addr `json:"addrs"`
	// Path and NS are its network namespace, from which packets can be sent as
	// it would send them; none if it is not on this machine.
	Path string       `json:"path,omitempty"`
	NS   kernel.NetNS `json:"ns,omitzero"`
}

// An impairment is what becomes of each packet that is meant. Both engines take
// it in the same order, which is netem's: lost, duplicated, corrupted, then sent
// at once (reordered) or after its delay, no faster than the rate.
type impairment struct {
	Delay        time.Duration `json:"delay,omitempty"`
	Jitter       time.Duration `json:"jitter,omitempty"`
	Distribution Distribution  `json:"distribution,omitempty"`
	Correlation  Percent       `json:"correlation,omitempty"`
	Loss         Percent       `json:"loss,omitempty"`
	Bursts       *Bursts       `json:"bursts,omitempty"`
	Duplicate    Percent       `json:"duplicate,omitempty"`
	Corrupt      Percent       `json:"corrupt,omitempty"`
	Reorder      Percent       `json:"reorder,omitempty"`
	Rate         Rate          `json:"rate,omitempty"`
	Limit        int           `json:"limit"` // packets that may wait; never 0
}

// ample is how many packets per second may wait where no rate says how many there
// can be, and fewest how many may always: netem's own limit.
const (
	ample  = 100_000
	fewest = 1000
)

// impairment is what the parameters say, with the limit that they leave out.
func (p Params) impairment() impairment {
	m := impairment{
		Delay: p.Delay, Jitter: p.Jitter, Distribution: p.Distribution, Correlation: p.Correlation, Loss: p.Loss,
		Duplicate: p.Duplicate, Corrupt: p.Corrupt, Reorder: p.Reorder, Rate: p.Rate, Limit: p.Limit,
	}
	if p.Bursts != nil {
		b := *p.Bursts
		if b.Loss == 0 {
			b.Loss = 1
		}
		m.Bursts = &b
	}
	if m.Limit > 0 {
		return m
	}
	if p.Rate > 0 {
		// Of packets that are not full, more are on their way.
		m.Limit = max(fewest, 4*p.held())
		return m
	}
	m.Limit = max(fewest, int(math.Ceil(ample*(p.Delay+4*p.Jitter).Seconds())))
	return m
}

// loses is the share of packets that is lost in the long run.
func (m impairment) loses() float64 {
	if b := m.Bursts; b != nil {
		bad := float64(b.Begin) / float64(b.Begin+b.End)
		return bad*float64(b.Loss) + (1-bad)*float64(b.Between)
	}
	return float64(m.Loss)
}

// onlySlow says that a rate is all of it.
func (m impairment) onlySlow() bool {
	return m.Rate > 0 && m == impairment{Rate: m.Rate, Limit: m.Limit, Distribution: m.Distribution}
}

// least is the shortest delay that a packet can have which is not reordered.
func (m impairment) least() time.Duration {
	if m.Jitter == 0 {
		return m.Delay
	}
	return max(0, m.Delay+time.Duration(float64(m.Jitter)*m.Distribution.quantile(0)))
}

func (m impairment) String() string {
	var parts []string
	add := func(is bool, format string, args ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	switch {
	case m.Jitter > 0 && m.Correlation > 0:
		add(true, "%v more delay, ±%v (%s, correlation %v)", m.Delay, m.Jitter, m.Distribution, m.Correlation)
	case m.Jitter > 0:
		add(true, "%v more delay, ±%v (%s)", m.Delay, m.Jitter, m.Distribution)
	default:
		add(m.Delay > 0, "%v more delay", m.Delay)
	}
	add(m.Reorder > 0, "%v of them overtake", m.Reorder)
	add(m.Loss > 0, "%v lost", m.Loss)
	if b := m.Bursts; b != nil {
		add(true, "%v lost in bursts (begin %v, end %v, loss %v, between %v)", Percent(m.loses()), b.Begin, b.End, b.Loss, b.Between)
	}
	add(m.Duplicate > 0, "%v twice", m.Duplicate)
	add(m.Corrupt > 0, "one bit turned in %v", m.Corrupt)
	add(m.Rate > 0, "no faster than %v", m.Rate)
	return strings.Join(parts, ", ")
}

// leaves and arrives say which directions are meant.
func (s state) leaves() bool  { return s.Direction != ingress }
func (s state) arrives() bool { return s.Direction != egress }

// does is the state for people.
func (s state) does() string {
	var far []string
	for _, p := range s.Peers {
		far = append(far, fmt.Sprintf("%s (%s)", p.Name, peers.Join(p.Addrs)))
	}
	for _, n := range s.Nets {
		far = append(far, peers.Short(n))
	}
	if s.Clients {
		far = append(far, "whatever is no node")
	}
	way := map[Direction]string{egress: "packets to", ingress: "packets from", both: "packets to and from"}[s.Direction]
	what := strings.Join(far, ", ")
	if len(s.Ports) > 0 {
		var list []string
		for _, p := range s.Ports {
			list = append(list, string(p))
		}
		what += ", tcp and udp port " + strings.Join(list, ", ")
	}
	if s.Interface != "" {
		what += ", through " + s.Interface
	}
	return fmt.Sprintf("%s %s: %v; engine %s", way, what, s.Harm, s.Engine)
}
