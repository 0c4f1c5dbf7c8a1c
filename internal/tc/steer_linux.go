package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Names of the maps, by which another process finds them.
const (
	farMap   = "dapple_far"
	stateMap = "dapple_state"
)

// Keys of the state map: the deadline (nanoseconds of CLOCK_MONOTONIC), and how
// many packets were chosen in each direction.
const (
	keyDeadline uint32 = iota
	keyMetOut
	keyMetIn
	stateSize
)

// A steering holds the descriptors of the programs and of their maps. The kernel
// keeps both as long as a filter uses them; with the descriptors the deadline can
// be moved.
type steering struct {
	far, state *ebpf.Map
	programs   map[way]*ebpf.Program
}

// newSteering loads the programs, with a deadline that is over.
func newSteering(s Spec) (_ *steering, err error) {
	st := &steering{programs: map[way]*ebpf.Program{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	entries := s.far()
	if st.far, err = ebpf.NewMap(&ebpf.MapSpec{Name: farMap, Type: ebpf.LPMTrie, KeySize: 20, ValueSize: 4, MaxEntries: uint32(len(entries)), Flags: unix.BPF_F_NO_PREALLOC}); err != nil {
		return nil, fmt.Errorf("making a BPF map: %w", err)
	}
	for p, chosen := range entries {
		if err := st.far.Put(trieKey(p), chosen); err != nil {
			return nil, fmt.Errorf("putting %s into a BPF map: %w", p, err)
		}
	}
	if st.state, err = ebpf.NewMap(&ebpf.MapSpec{Name: stateMap, Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: stateSize}); err != nil {
		return nil, fmt.Errorf("making a BPF map: %w", err)
	}
	for _, w := range s.ways() {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "dapple_" + string(w), Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: program(s, w, st)})
		if err != nil {
			return nil, fmt.Errorf("loading a BPF program: %w", err)
		}
		st.programs[w] = p
	}
	return st, nil
}

// Close lets go of the descriptors.
func (st *steering) Close() error {
	var errs []error
	for _, p := range st.programs {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, st.far.Close(), st.state.Close())...)
}

// far are the addresses and networks, and whether packets of each are chosen: the
// longest one that fits counts. IPv4 stands in the part of IPv6 that is made for it.
func (s Spec) far() map[netip.Prefix]uint32 {
	entries := map[netip.Prefix]uint32{}
	if s.Clients {
		entries[netip.PrefixFrom(netip.IPv6Unspecified(), 0)] = 1
		for _, a := range s.Nodes {
			if !slices.ContainsFunc(s.Nets, func(n netip.Prefix) bool { return n.Contains(a) }) {
				entries[netip.PrefixFrom(a, a.BitLen())] = 0
			}
		}
	}
	for _, n := range s.Nets {
		entries[n.Masked()] = 1
	}
	for _, a := range s.Addrs {
		entries[netip.PrefixFrom(a, a.BitLen())] = 1
	}
	return entries
}

// trieKey is the key of a trie: the length of the prefix, then its bytes.
func trieKey(p netip.Prefix) []byte {
	bits, a := p.Bits(), p.Addr().As16()
	if p.Addr().Is4() {
		bits += 96
	}
	return append(binary.NativeEndian.AppendUint32(nil, uint32(bits)), a[:]...)
}

// monotonic is the clock of the deadline, which BPF reads too.
func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("reading CLOCK_MONOTONIC: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// left is how long packets are still chosen.
func left(state *ebpf.Map) (time.Duration, error) {
	var deadline uint64
	if err := state.Lookup(keyDeadline, &deadline); err != nil {
		return 0, fmt.Errorf("reading the deadline: %w", err)
	}
	now, err := monotonic()
	return max(0, time.Duration(deadline)-now), err
}

// lastUntil has packets chosen for lease from now on; 0 ends it.
func lastUntil(state *ebpf.Map, lease time.Duration) error {
	deadline := uint64(0)
	if lease > 0 {
		now, err := monotonic()
		if err != nil {
			return err
		}
		deadline = uint64(now + lease)
	}
	if err := state.Put(keyDeadline, deadline); err != nil {
		return fmt.Errorf("setting the deadline: %w", err)
	}
	return nil
}
