package tc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes of linux/pkt_sched.h that nl does not name.
const (
	attrLatency64 = 10
	attrJitter64  = 11
	lossGE        = 2 // NETEM_LOSS_GE within TCA_NETEM_LOSS

	optSize = 24 // struct tc_netem_qopt
	tick    = 64 // nanoseconds, psched's since Linux 2.6.31
)

// share is a probability as the kernel has it: 2^32-1 is always.
func share(percent float64) uint32 { return uint32(math.Round(percent / 100 * math.MaxUint32)) }

// native puts numbers one after another in the machine's order.
func native(numbers ...any) ([]byte, error) {
	var b bytes.Buffer
	for _, n := range numbers {
		if err := binary.Write(&b, binary.NativeEndian, n); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// An encoder collects attributes, and the first error.
type encoder struct {
	bytes.Buffer
	err error
}

func (e *encoder) put(numbers ...any) {
	b, err := native(numbers...)
	if err != nil && e.err == nil {
		e.err = err
	}
	e.Write(b)
}

func (e *encoder) attr(kind uint16, numbers ...any) {
	b, err := native(numbers...)
	if err != nil && e.err == nil {
		e.err = err
	}
	e.put(uint16(4+len(b)), kind)
	e.Write(b)
	e.Write(make([]byte, -len(b)&3))
}

// encode writes the options of a netem queue. Every attribute is sent, also the
// zeros: a change keeps what was, for those that are missing.
func (i Impairment) encode() ([]byte, error) {
	dist, err := table(i.Distribution)
	if err != nil {
		return nil, err
	}
	gap := uint32(0)
	if i.Reorder > 0 {
		gap = 1
	}
	e := &encoder{}
	ticks := func(ns int64) uint32 { return uint32(min(ns/tick, math.MaxUint32)) }
	e.put(ticks(int64(i.Delay)), i.limit(), share(i.Loss), gap, share(i.Duplicate), ticks(int64(i.Jitter)))
	e.attr(nl.TCA_NETEM_CORR, share(i.DelayCorrelation), share(i.LossCorrelation), share(i.DuplicateCorrelation))
	if dist != nil {
		e.attr(nl.TCA_NETEM_DELAY_DIST, dist)
	}
	e.attr(nl.TCA_NETEM_REORDER, share(i.Reorder), share(i.ReorderCorrelation))
	e.attr(nl.TCA_NETEM_CORRUPT, share(i.Corrupt), share(i.CorruptCorrelation))
	if b := i.Burst; b != nil {
		var in encoder
		in.attr(lossGE, share(b.ToBad), share(b.ToGood), math.MaxUint32-share(b.InBad), share(b.InGood))
		e.attr(nl.TCA_NETEM_LOSS|unix.NLA_F_NESTED, in.Bytes())
	}
	rate := i.Rate / 8
	if rate == 0 && i.KeepOrder {
		rate = wireRate / 8 // with a rate, netem is a queue: each packet after the one before
	}
	e.attr(nl.TCA_NETEM_RATE, uint32(min(rate, math.MaxUint32)), int32(0), uint32(0), int32(0))
	if rate >= math.MaxUint32 {
		e.attr(nl.TCA_NETEM_RATE64, rate)
	}
	e.attr(attrLatency64, int64(i.Delay))
	e.attr(attrJitter64, int64(i.Jitter))
	return e.Bytes(), e.err
}

// differs finds what a queue's options, as the kernel tells them, have not as they
// were sent. The kernel does not tell the table of a distribution.
func (i Impairment) differs(got []byte) ([]string, error) {
	sent, err := i.encode()
	if err != nil {
		return nil, err
	}
	if len(got) < optSize {
		return []string{"netem's options"}, nil
	}
	var list []string
	if !bytes.Equal(sent[:optSize], got[:optSize]) {
		list = append(list, "netem's delay, limit, loss or duplicate")
	}
	want, err := attributes(sent[optSize:])
	if err != nil {
		return nil, err
	}
	has, err := attributes(got[optSize:])
	if err != nil {
		return nil, err
	}
	names := map[uint16]string{
		nl.TCA_NETEM_CORR: "correlation", nl.TCA_NETEM_REORDER: "reorder", nl.TCA_NETEM_CORRUPT: "corrupt",
		nl.TCA_NETEM_LOSS: "bursts of loss", nl.TCA_NETEM_RATE: "rate", nl.TCA_NETEM_RATE64: "rate", attrLatency64: "delay", attrJitter64: "jitter",
	}
	for kind, value := range want {
		if name := names[kind]; name != "" && !bytes.Equal(value, has[kind]) {
			list = append(list, "netem's "+name)
		}
	}
	if _, bursts := has[nl.TCA_NETEM_LOSS]; bursts && i.Burst == nil {
		list = append(list, "netem loses in bursts")
	}
	return list, nil
}

// attributes are the values by their kind.
func attributes(b []byte) (map[uint16][]byte, error) {
	found := map[uint16][]byte{}
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return nil, fmt.Errorf("an attribute of %d bytes in %d", n, len(b))
		}
		found[binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)] = b[4:n]
		b = b[min(len(b), (n+3)&^3):]
	}
	return found, nil
}
