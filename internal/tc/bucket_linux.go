package tc

import (
	"encoding/binary"
	"math"
	"net"
	"time"

	"github.com/vishvananda/netlink/nl"
)

// Of linux/pkt_sched.h.
const (
	bucketSize = 36 // struct tc_tbf_qopt
	ethernet   = 1  // TC_LINKLAYER_ETHERNET: no table of rates has to be sent
	// header is what a packet has besides the MTU: Ethernet's, and two VLAN tags.
	header = 14 + 8
)

// kind is the kernel's word for the queue.
func (s Spec) kind() string {
	if s.Bucket {
		return "tbf"
	}
	return "netem"
}

// options are those of the queue, for packets of these devices.
func (s Spec) options(devices []net.Interface) ([]byte, error) {
	if s.Bucket {
		return s.Impairment.bucket(devices)
	}
	return s.Impairment.encode()
}

// differs finds what a queue's options, as the kernel tells them, have not as they
// were sent.
func (s Spec) differs(got []byte, devices []net.Interface) ([]string, error) {
	if s.Bucket {
		return s.Impairment.bucketDiffers(got, devices)
	}
	return s.Impairment.differs(got)
}

// full is the largest packet of the devices, in bytes on the wire: what is longer
// than a bucket is lost by it, or, if it is to be segmented, is so before.
func full(devices []net.Interface) int {
	mtu := 0
	for _, d := range devices {
		mtu = max(mtu, d.MTU)
	}
	return mtu + header
}

// lateness is how late the kernel may look at a bucket without losing of its rate.
const lateness = 2 * time.Millisecond

// burst is how many bytes a bucket lets pass at once, after a time without any: as
// few as it can, so that it is slow for short answers too.
func (i Impairment) burst(devices []net.Interface) int {
	return max(full(devices), int(min(float64(i.Rate)/8*lateness.Seconds(), math.MaxInt32)))
}

// bytes is how many may wait.
func (i Impairment) bytes(devices []net.Interface) uint32 {
	return uint32(min(int64(i.limit())*int64(full(devices)), math.MaxUint32))
}

// bucket writes the options of a tbf queue.
func (i Impairment) bucket(devices []net.Interface) ([]byte, error) {
	rate := i.Rate / 8
	slow := uint32(min(rate, math.MaxUint32))
	e := &encoder{}
	spec := func(rate uint32) []any { // struct tc_ratespec
		return []any{uint8(0), uint8(ethernet), uint16(0), int16(0), uint16(0), rate}
	}
	e.attr(nl.TCA_TBF_PARMS, append(append(spec(slow), spec(0)...), i.bytes(devices), uint32(0), uint32(0))...)
	if rate >= math.MaxUint32 {
		e.attr(nl.TCA_TBF_RATE64, rate)
	}
	e.attr(nl.TCA_TBF_BURST, uint32(i.burst(devices)))
	return e.Bytes(), e.err
}

// bucketDiffers compares. The kernel tells the bucket in ticks of its clock, by its own
// rounding.
func (i Impairment) bucketDiffers(got []byte, devices []net.Interface) (list []string, err error) {
	has, err := attributes(got)
	if err != nil {
		return nil, err
	}
	p := has[nl.TCA_TBF_PARMS]
	if len(p) < bucketSize {
		return []string{"tbf's options"}, nil
	}
	number := binary.NativeEndian.Uint32
	rate := uint64(number(p[8:]))
	if b := has[nl.TCA_TBF_RATE64]; len(b) == 8 {
		rate = binary.NativeEndian.Uint64(b)
	}
	if rate != i.Rate/8 {
		list = append(list, "tbf's rate")
	}
	if number(p[24:]) != i.bytes(devices) {
		list = append(list, "tbf's limit")
	}
	want := float64(i.burst(devices)) / float64(i.Rate/8) * float64(time.Second) / tick
	if buffer := float64(number(p[28:])); math.Abs(buffer-want) > 2+want/100 {
		list = append(list, "tbf's bucket")
	}
	return list, nil
}
