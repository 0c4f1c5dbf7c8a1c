package netem

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/peers"
)

// Params is what may stand under "with".
type Params struct {
	Delay        time.Duration `yaml:"delay" json:"delay,omitempty" jsonschema:"type=string,description=How much longer each packet takes: 200ms."`
	Jitter       time.Duration `yaml:"jitter" json:"jitter,omitempty" jsonschema:"type=string,description=By how much the delay varies\\, up and down; with distribution normal or pareto its standard deviation. Packets keep their order\\, see 'reorder'."`
	Distribution Distribution  `yaml:"distribution" json:"distribution,omitempty" jsonschema:"default=uniform,enum=uniform,enum=normal,enum=pareto,description=How the delay is spread by the jitter."`
	Correlation  Percent       `yaml:"correlation" json:"correlation,omitzero" jsonschema:"description=How much the delay of a packet depends on that of the one before: 25%."`
	Loss         Percent       `yaml:"loss" json:"loss,omitzero" jsonschema:"description=How many packets are lost\\, each by its own chance: 1%."`
	Bursts       *Bursts       `yaml:"bursts" json:"bursts,omitempty" jsonschema:"description=Losses in bursts (the model of Gilbert and Elliott)\\, instead of 'loss'."`
	Duplicate    Percent       `yaml:"duplicate" json:"duplicate,omitzero" jsonschema:"description=How many packets arrive twice."`
	Corrupt      Percent       `yaml:"corrupt" json:"corrupt,omitzero" jsonschema:"description=In how many packets one bit is turned."`
	Reorder      Percent       `yaml:"reorder" json:"reorder,omitzero" jsonschema:"description=How many packets are not delayed\\, and so overtake others."`
	Rate         Rate          `yaml:"rate" json:"rate,omitempty" jsonschema:"type=string,description=How fast the link is: 10mbit (bits per second\\, units of 1000)."`
	Limit        int           `yaml:"limit" json:"limit,omitempty" jsonschema:"description=How many packets may wait; more are lost. The default is ample for rate and delay."`
	Peers        []string      `yaml:"peers" json:"peers,omitempty" jsonschema:"description=Only packets exchanged with these: names of nodes\\, others (all other nodes\\, the default)\\, clients (all that is no node)\\, IP addresses and networks."`
	Ports        []Ports       `yaml:"ports" json:"ports,omitempty" jsonschema:"description=Only TCP and UDP with one of these ports at either end: 5432 or 8000-8100."`
	Interface    string        `yaml:"interface" json:"interface,omitempty" jsonschema:"description=Only packets through this network device of the node."`
	Direction    Direction     `yaml:"direction" json:"direction,omitempty" jsonschema:"default=egress,enum=egress,enum=ingress,enum=both,description=Packets that the node sends\\, or those that it is sent\\, or both (a round trip is delayed twice)."`
	Engine       EngineName    `yaml:"engine" json:"engine,omitempty" jsonschema:"default=auto,enum=auto,enum=kernel,enum=tbf,enum=user,description=kernel: the queueing discipline netem. tbf: the kernel's token bucket\\, for a rate alone. user: a program of dapple's (NFQUEUE). auto: the first of these that can do it here."`
}

// Bursts are losses in bursts: a link that is good or bad.
type Bursts struct {
	Begin   Percent `yaml:"begin" json:"begin,omitzero" jsonschema:"description=The chance\\, at each packet\\, that the good link becomes bad."`
	End     Percent `yaml:"end" json:"end,omitzero" jsonschema:"description=The chance\\, at each packet\\, that the bad link becomes good: 20% are bursts of 5 packets on average."`
	Loss    Percent `yaml:"loss" json:"loss,omitzero" jsonschema:"default=100%,description=How many packets a bad link loses."`
	Between Percent `yaml:"between" json:"between,omitzero" jsonschema:"default=0%,description=How many packets a good link loses."`
}

func defaults() Params {
	return Params{Distribution: uniform, Direction: egress, Engine: auto}
}

// Ports is one port, "5432", or a range of them, "8000-8100".
type Ports = peers.Ports

// A Distribution is how delays are spread.
type Distribution string

const (
	uniform Distribution = "uniform"
	normal  Distribution = "normal"
	pareto  Distribution = "pareto"
)

// UnmarshalText reads a distribution.
func (d *Distribution) UnmarshalText(text []byte) error {
	return peers.Word(d, "distribution", text, uniform, normal, pareto)
}

// A Direction says which packets are meant, as the node sees them.
type Direction string

const (
	egress  Direction = "egress"
	ingress Direction = "ingress"
	both    Direction = "both"
)

// UnmarshalText reads a direction.
func (d *Direction) UnmarshalText(text []byte) error {
	return peers.Word(d, "direction", text, egress, ingress, both)
}

// An EngineName says what damages the packets.
type EngineName string

const (
	auto         EngineName = "auto"
	kernelEngine EngineName = "kernel"
	bucketEngine EngineName = "tbf"
	userEngine   EngineName = "user"
)

// UnmarshalText reads the name of an engine.
func (e *EngineName) UnmarshalText(text []byte) error {
	return peers.Word(e, "engine", text, auto, kernelEngine, bucketEngine, userEngine)
}

// A Percent is a share: 0.1%. As a number it is between 0 and 1.
type Percent float64

func (p Percent) String() string {
	return strconv.FormatFloat(math.Round(float64(p)*1e8)/1e6, 'f', -1, 64) + "%"
}

// MarshalText writes it as it is read.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads "1%" or "0.25%".
func (p *Percent) UnmarshalText(text []byte) error {
	number, is := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	switch {
	case !is || err != nil || math.IsNaN(v):
		return fmt.Errorf("%q is no percentage: write 1%%", text)
	case v < 0 || v > 100:
		return fmt.Errorf("%q: a percentage is between 0%% and 100%%", text)
	}
	*p = Percent(v / 100)
	return nil
}

// A Rate is in bits per second: 10mbit.
type Rate uint64

// rateUnits are those of tc(8), as far as people agree on them.
var rateUnits = []struct {
	name string
	bits float64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

func (r Rate) String() string {
	for _, u := range rateUnits {
		if float64(r) >= u.bits && math.Mod(float64(r), u.bits) == 0 {
			return strconv.FormatFloat(float64(r)/u.bits, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatUint(uint64(r), 10) + "bit"
}

// MarshalText writes it as it is read.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// The slowest and fastest links that are meant: of 1 bit/s no packet would arrive
// in a drill, and beyond 100 Gbit/s nothing here is slowed down.
const (
	minRate = 1000
	maxRate = 100e9
)

// UnmarshalText reads "10mbit", "512kbit" or "1gbit".
func (r *Rate) UnmarshalText(data []byte) error {
	text := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(string(data))), "/s")
	for _, u := range rateUnits {
		number, is := strings.CutSuffix(text, u.name)
		if !is {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || math.IsNaN(v) {
			break
		}
		if v*u.bits < minRate || v*u.bits > maxRate {
			return fmt.Errorf("%q: a rate is between 1kbit and 100gbit", data)
		}
		*r = Rate(v * u.bits)
		return nil
	}
	return fmt.Errorf("%q is no rate: write 512kbit, 10mbit or 1gbit (bits per second, units of 1000)", data)
}

// maxDelay bounds what one packet may be held back: longer than any drill waits.
const maxDelay = 10 * time.Minute

// check finds what cannot be, or cannot be together, whatever the system is.
func (p Params) check() error {
	switch {
	case p.Delay < 0:
		return fmt.Errorf("delay %v is negative: packets cannot arrive before they are sent", p.Delay)
	case p.Jitter < 0:
		return fmt.Errorf("jitter %v is negative: give by how much the delay varies, up and down", p.Jitter)
	case p.Delay > maxDelay || p.Jitter > maxDelay:
		return fmt.Errorf("delay %v with jitter %v: at most %v", p.Delay, p.Jitter, maxDelay)
	case p.Jitter > 0 && p.Delay == 0:
		return errors.New("jitter without delay: give the delay about which it varies, such as delay: 50ms")
	case p.Jitter > p.Delay:
		return fmt.Errorf("jitter %v is more than delay %v: no delay can be negative; raise the delay or lower the jitter", p.Jitter, p.Delay)
	case p.Distribution != uniform && p.Jitter == 0:
		return fmt.Errorf("distribution %s without jitter: give the jitter that it spreads, such as jitter: 10ms", p.Distribution)
	case p.Correlation > 0 && p.Jitter == 0:
		return errors.New("correlation without jitter: a delay that does not vary depends on nothing; for losses in a row use bursts")
	case p.Reorder > 0 && p.Delay == 0:
		return errors.New("reorder without delay: a packet overtakes others by not being delayed: give a delay, such as delay: 10ms")
	case p.Loss > 0 && p.Bursts != nil:
		return errors.New("loss and bursts both say what is lost: use one")
	case p.Limit < 0:
		return fmt.Errorf("limit %d is negative: give the number of packets that may wait", p.Limit)
	}
	return errors.Join(p.checkBursts(), p.checkLimit(), p.checkPeers(), p.checkEffect())
}

func (p Params) checkBursts() error {
	switch b := p.Bursts; {
	case b == nil:
	case b.Begin == 0:
		return errors.New("bursts without begin: give the chance at each packet that a burst begins, such as begin: 1%")
	case b.End == 0:
		return errors.New("bursts without end: the first one would never end; give end: 20% for bursts of 5 packets, or use loss: 100%")
	}
	return nil
}

// fullPacket is the size of a full packet on an Ethernet, in bits.
const fullPacket = 1514 * 8

// held is how many full packets are on their way at once.
func (p Params) held() int {
	longest := (p.Delay + p.Jitter).Seconds()
	return int(math.Ceil(float64(p.Rate) * longest / fullPacket))
}

func (p Params) checkLimit() error {
	if need := p.held(); p.Limit > 0 && p.Limit < need {
		return fmt.Errorf("limit %d is smaller than rate × delay: at %s, %d packets are on their way within %v, and more than the limit would be lost: leave limit out, or give at least %d",
			p.Limit, p.Rate, need, p.Delay+p.Jitter, need)
	}
	return nil
}

func (p Params) checkPeers() error {
	if w := peers.Twice(p.Peers); w != "" {
		return fmt.Errorf("peers: %q is named twice", w)
	}
	if slices.Contains(p.Peers, peers.On) {
		return fmt.Errorf("peers: %q is the node itself: name who is at the other end", peers.On)
	}
	return nil
}

func (p Params) checkEffect() error {
	if p.Delay == 0 && p.Loss == 0 && p.Bursts == nil && p.Duplicate == 0 && p.Corrupt == 0 && p.Rate == 0 {
		return errors.New("it says nothing that is to happen to packets: give delay, loss, bursts, duplicate, corrupt or rate")
	}
	return nil
}
