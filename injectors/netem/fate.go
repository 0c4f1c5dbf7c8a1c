package netem

import (
	"math"
	"math/rand/v2"
	"time"
)

// A fate decides what becomes of packets, one after the other, as sch_netem does.
// It is for one direction, and for one goroutine.
type fate struct {
	m    impairment
	rnd  *rand.Rand
	bad  bool    // the link is (Bursts)
	last float64 // the random number of the delay before, for correlation
	tail int64   // when the packet before leaves, in ns
}

func newFate(m impairment) *fate {
	return &fate{m: m, rnd: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
}

// A lot is what falls to one packet.
type lot struct {
	lost, full               bool // full: too many waited already
	twice, corrupt, overtook bool
	at                       int64 // when it leaves, in ns
}

// header is what a packet has on an Ethernet besides IP.
const header = 14

// next is for a packet of size bytes that comes at now while others wait.
func (f *fate) next(now int64, size, waiting int) lot {
	l := lot{at: now}
	if f.loses() {
		l.lost = true
		return l
	}
	if waiting >= f.m.Limit {
		l.full = true
		return l
	}
	l.twice = f.hit(f.m.Duplicate)
	l.corrupt = f.hit(f.m.Corrupt)
	if f.hit(f.m.Reorder) {
		l.overtook = true
		return l
	}
	// Packets keep their order: what a jitter would have overtake waits for the
	// one before it.
	f.tail = max(f.tail, now+int64(f.delay()))
	if f.m.Rate > 0 {
		f.tail += int64(float64(size+header) * 8 / float64(f.m.Rate) * float64(time.Second))
	}
	l.at = f.tail
	return l
}

// hit is true by that chance.
func (f *fate) hit(p Percent) bool { return p > 0 && f.rnd.Float64() < float64(p) }

func (f *fate) loses() bool {
	b := f.m.Bursts
	if b == nil {
		return f.hit(f.m.Loss)
	}
	if f.bad {
		f.bad = !f.hit(b.End)
	} else {
		f.bad = f.hit(b.Begin)
	}
	if f.bad {
		return f.hit(b.Loss)
	}
	return f.hit(b.Between)
}

func (f *fate) delay() time.Duration {
	if f.m.Jitter == 0 {
		return f.m.Delay
	}
	u := f.rnd.Float64()
	if c := float64(f.m.Correlation); c > 0 {
		u = u*(1-c) + f.last*c
		f.last = u
	}
	return max(0, f.m.Delay+time.Duration(float64(f.m.Jitter)*f.m.Distribution.quantile(u)))
}

// farthest is where the distributions end, in deviations: the tables of tc(8) have
// 16 bits, of which 8192 are one deviation.
const farthest = 4

// quantile is by how many jitters the delay differs of which a share of u is
// shorter: those of iproute2's tables, so that both engines delay alike.
func (d Distribution) quantile(u float64) float64 {
	switch d {
	case normal:
		return min(max(math.Sqrt2*math.Erfinv(2*u-1), -farthest), farthest)
	case pareto:
		const shape = 3 // its mean is 1.5
		return min((math.Pow(1-u, -1.0/shape)-1.5)*4/3, farthest)
	}
	return 2*u - 1
}
