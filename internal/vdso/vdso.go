// Package vdso changes what the functions of the vDSO answer in one process: the
// code that the kernel maps into every process so that asking for the time needs no
// system call (vdso(7)).
//
// A process has its own copy of those pages as soon as they are written to. Code of
// ours (the payload) goes into the zeros behind the ELF image there, where nothing
// runs; then, with every thread of the process standing still outside of the bytes
// that change, a jump goes to the beginning of clock_gettime, gettimeofday and time.
// The payload calls the true clock_gettime, and changes the answer while its lease
// lasts. The lease is data beside it, renewed by one aligned write while the process
// runs; when it is over, the answers are the true ones, whoever lives or dies.
//
// The bytes that the jumps replaced are kept in the payload, and the payload begins
// with a magic word: a process that was changed is found, and changed back, without
// any record. The payload stays behind without its jumps, since a thread may be in
// it; it is used again by the next change, of which only the data is written.
//
// The package does not know what a node or a fault is. System calls that a program
// makes by itself, waits of the kernel for an absolute time, and 32-bit programs are
// out of its reach. It works on Linux on x86-64.
package vdso

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

//go:generate sh payload/assemble.sh amd64 payload/amd64.bin

// ErrBusy is wrapped when the threads of a process could not be held where its code
// can be changed; it may work the next time.
var ErrBusy = errors.New("its threads could not be held")

// ErrNone is wrapped for a process that has no code of the kernel's which could be
// changed, and so never had: a 32-bit program.
var ErrNone = errors.New("its clock cannot be skewed")

// A Skew is how the answers differ from the truth. Times are of CLOCK_REALTIME.
type Skew struct {
	Offset time.Duration // is added
	// Rate is the drift: so much more for each ns since T0, in units of 2^-32.
	Rate   int64
	T0     int64         // ns; when the skew began
	Period time.Duration // Offset is left out in every second such span; 0: never
	TAI    time.Duration // how far CLOCK_TAI is ahead
}

// At is how much a process is ahead of the truth at that time.
func (s Skew) At(now int64) time.Duration {
	d := s.drift(now)
	if s.half(now)&1 == 0 {
		d += s.Offset
	}
	return d
}

// Between are the least and the most that a process is ahead between two times.
func (s Skew) Between(from, to int64) (least, most time.Duration) {
	all := []time.Duration{s.At(from), s.At(to)}
	if s.half(from) != s.half(to) { // then it was both
		all = append(all, s.drift(from), s.drift(to), s.drift(from)+s.Offset, s.drift(to)+s.Offset)
	}
	return slices.Min(all), slices.Max(all)
}

func (s Skew) drift(now int64) time.Duration { return time.Duration(mulShift(now-s.T0, s.Rate)) }

// half counts the spans of a strobe.
func (s Skew) half(now int64) int64 {
	if s.Period <= 0 {
		return 0
	}
	return (now - s.T0) / int64(s.Period)
}

// A Lease is for how long the answers differ.
type Lease struct {
	Deadline int64 // ns of CLOCK_REALTIME; 0: over
	// Window is the longest that a lease is away from its deadline: a clock that is
	// set back does not make it last longer.
	Window time.Duration
}

// slack is added to Window for the coarse clocks, which are up to a tick of the
// kernel behind, 10 ms at most (HZ=100).
const slack = 50 * time.Millisecond

// LeaseOf is a lease that ends that long after now.
func LeaseOf(now int64, d time.Duration) Lease { return Lease{now + int64(d), d + slack} }

// Live says whether the lease lasts at that time.
func (l Lease) Live(now int64) bool { return uint64(l.Deadline-now) <= uint64(l.Window) }

// A Reading is how far the answer of a function was from the truth: within
// [Lo, Hi], since the truth passed from one to the other meanwhile.
type Reading struct {
	Function string
	Lo, Hi   time.Duration
}

// Includes says whether the answer may have been that far from the truth.
func (r Reading) Includes(d time.Duration) bool { return r.Lo <= d && d <= r.Hi }

// Where the data is in the payload: see payload/amd64.S. hooks and saved are where
// they are in every version, so that each takes back what another one made.
const (
	magic     = "DAPPLSKW"
	version   = 1
	offMagic  = 0x00 // and version, size
	offLease  = 0x10 // deadline, window
	offSkew   = 0x20 // offset, rate, t0, period, tai
	offT0     = 0x30
	offHooks  = 0x48
	offSaved  = 0x50
	offTrue   = 0x68
	offEntry  = 0xb0
	hookCount = 3
	word      = 8
)

func (s Skew) bytes() []byte {
	return words(int64(s.Offset), s.Rate, s.T0, int64(s.Period), int64(s.TAI))
}

func words(values ...int64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}

func wordAt(b []byte, at int) int64 { return int64(binary.LittleEndian.Uint64(b[at:])) }
