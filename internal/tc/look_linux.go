package tc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
)

// Look asks the kernel what there is, whoever made it: the devices and their
// queues, the filters, and through these the deadline and the counts.
func Look(path string, s Spec) (seen Sight, err error) {
	err = kernel.InNetNS(path, func() error {
		seen, err = s.look()
		return err
	})
	return seen, err
}

// parts is what there is of a Spec.
type parts struct {
	links   map[way]netlink.Link
	queues  map[way]queue
	filters map[way][]filter
	places  []int // devices whose place for filters is ours, by what we have written down
}

// find lists them.
func (s Spec) find() (p parts, err error) {
	p = parts{links: map[way]netlink.Link{}, queues: map[way]queue{}, filters: map[way][]filter{}}
	links, err := netlink.LinkList()
	if err != nil {
		return p, fmt.Errorf("listing network devices: %w", err)
	}
	all, err := queues()
	if err != nil {
		return p, err
	}
	var names []string
	for _, w := range []way{out, in} {
		for _, l := range links {
			a := l.Attrs()
			if places, ours := s.reads(a.Alias); a.Name == s.link(w) && (ours || a.Alias == "") {
				p.links[w] = l
				names = append(names, places...)
				for _, q := range all {
					if q.device == a.Index && q.parent == netlink.HANDLE_ROOT && q.kind == s.kind() {
						p.queues[w] = q
					}
				}
			}
			list, err := filters(a.Index, w)
			if err != nil {
				return p, err
			}
			for _, f := range list {
				if places, ours := s.reads(f.name); ours {
					p.filters[w] = append(p.filters[w], f)
					names = append(names, places...)
				}
			}
		}
	}
	for _, l := range links {
		if slices.Contains(names, l.Attrs().Name) {
			p.places = append(p.places, l.Attrs().Index)
		}
	}
	return p, nil
}

// reads takes apart what alias wrote.
func (s Spec) reads(alias string) (places []string, ours bool) {
	fields := strings.Fields(alias)
	if len(fields) == 0 || fields[0] != s.Name {
		return nil, false
	}
	return fields[1:], true
}

func (s Spec) look() (seen Sight, err error) {
	p, err := s.find()
	if err != nil {
		return seen, err
	}
	seen.There = len(p.links)+len(p.filters) > 0
	devices, err := s.devices()
	if err != nil {
		return seen, err
	}
	first := true
	for _, w := range s.ways() {
		way := map[way]string{out: "out", in: "in"}[w]
		if p.links[w] == nil {
			seen.Missing = append(seen.Missing, "the device "+s.link(w))
		}
		q, has := p.queues[w]
		if !has {
			seen.Missing = append(seen.Missing, "the queue of "+s.link(w))
		} else if bad, err := s.differs(q.options, devices); err != nil {
			return seen, err
		} else {
			seen.Missing = append(seen.Missing, bad...)
		}
		if s.Bucket {
			seen.Burst = s.Impairment.burst(devices)
		}
		seen.Passed, seen.Dropped, seen.Waiting = seen.Passed+uint64(q.packets), seen.Dropped+uint64(q.dropped), seen.Waiting+uint64(q.waiting)
		for _, d := range devices {
			if !slices.ContainsFunc(p.filters[w], func(f filter) bool { return f.device == d.Index }) {
				seen.Missing = append(seen.Missing, fmt.Sprintf("the filter of %s, %s", d.Name, way))
			}
		}
		for _, f := range p.filters[w] {
			if err := seen.read(f, first); err != nil {
				return seen, err
			}
			first = false
			break // those of other devices have the same maps
		}
	}
	return seen, nil
}

// read finds the maps of a filter's program.
func (seen *Sight) read(f filter, first bool) error {
	state, err := stateOf(f)
	if err != nil {
		return err
	}
	defer state.Close()
	rest, err := left(state)
	if err != nil {
		return err
	}
	if first || rest < seen.Lease {
		seen.Lease = rest
	}
	if err := state.Lookup(keyMetOut, &seen.MetOut); err != nil {
		return fmt.Errorf("reading a count: %w", err)
	}
	if err := state.Lookup(keyMetIn, &seen.MetIn); err != nil {
		return fmt.Errorf("reading a count: %w", err)
	}
	return nil
}

// stateOf opens the state map of a filter's program.
func stateOf(f filter) (*ebpf.Map, error) {
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(f.program))
	if err != nil {
		return nil, fmt.Errorf("opening BPF program %d: %w", f.program, err)
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return nil, fmt.Errorf("asking about BPF program %d: %w", f.program, err)
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return nil, fmt.Errorf("opening BPF map %d: %w", id, err)
		}
		about, err := m.Info()
		if err == nil && about.Name == stateMap {
			return m, nil
		}
		if err := errors.Join(err, m.Close()); err != nil {
			return nil, fmt.Errorf("asking about BPF map %d: %w", id, err)
		}
	}
	return nil, fmt.Errorf("BPF program %d has no map %s", f.program, stateMap)
}

// drainFor is how long is waited for packets that are on their way, at most: those
// that were to wait longer are lost.
const drainFor = 5 * time.Second

// Remove takes away what there is of s, whoever made it, from any state. First no
// packet is led away any more, then those that wait are sent on, then the devices
// go. Nothing to remove is nil.
func Remove(path string, s Spec) error {
	var places []int
	err := kernel.InNetNS(path, func() (err error) {
		places, err = s.unsteer()
		return err
	})
	if err != nil {
		return err
	}
	drained := s.drain(path)
	return errors.Join(drained, kernel.InNetNS(path, func() error { return s.clear(places) }))
}

// unsteer removes the filters, and says where their place is ours.
func (s Spec) unsteer() (places []int, err error) {
	p, err := s.find()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, list := range p.filters {
		for _, f := range list {
			errs = append(errs, f.remove())
		}
	}
	return p.places, errors.Join(errs...)
}

// drain waits until no packet waits.
func (s Spec) drain(path string) error {
	enough := time.NewTimer(drainFor)
	defer enough.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		waiting := uint32(0)
		err := kernel.InNetNS(path, func() error {
			p, err := s.find()
			for _, q := range p.queues {
				waiting += q.waiting
			}
			return err
		})
		if err != nil || waiting == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-enough.C:
			return nil // what waits now is lost
		}
	}
}

// clear removes all. A place for filters goes with the last filter, if it is ours.
func (s Spec) clear(places []int) error {
	more, err := s.unsteer()
	if err != nil {
		return err
	}
	p, err := s.find()
	if err != nil {
		return err
	}
	var errs []error
	for _, device := range append(places, more...) {
		used := 0
		for w := range parents {
			list, err := filters(device, w)
			errs = append(errs, err)
			used += len(list)
		}
		if used == 0 {
			errs = append(errs, unless(netlink.QdiscDel(clsact(device)), unix.ENOENT, unix.ENODEV, unix.EINVAL))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err // the aliases of the devices are still needed
	}
	for _, l := range p.links {
		errs = append(errs, unless(netlink.LinkDel(l), unix.ENODEV))
	}
	return errors.Join(errs...)
}

// unless is err, but for those that say that it is gone already.
func unless(err error, gone ...error) error {
	if slices.ContainsFunc(gone, func(g error) bool { return errors.Is(err, g) }) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing it: %w", err)
	}
	return nil
}
