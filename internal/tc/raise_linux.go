package tc

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A Hold is an impairment that this process keeps from ending.
type Hold struct {
	mu    sync.Mutex
	steer *steering // nil once it is closed
}

// Renew has it last for lease from now on. An error says that it had ended before.
func (h *Hold) Renew(lease time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.steer == nil {
		return errors.New("it is over")
	}
	was, err := left(h.steer.state)
	if err != nil {
		return err
	}
	if err := lastUntil(h.steer.state, lease); err != nil {
		return err
	}
	if was == 0 {
		return errors.New("the lease had ended before it was renewed, packets passed untouched")
	}
	return nil
}

// Close lets go of it: it ends with its lease, unless it is removed before.
func (h *Hold) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.steer == nil {
		return nil
	}
	steer := h.steer
	h.steer = nil
	return steer.Close()
}

// Able says whether Raise can do what s asks in the namespace: it tries in one of
// its own, and looks at the filters that others have there.
func Able(path string, s Spec) error {
	if err := s.check(); err != nil {
		return err
	}
	try := Try
	if s.Bucket {
		try = TryBucket
	}
	if err := try(); err != nil {
		return err
	}
	return kernel.InNetNS(path, func() error {
		devices, err := s.devices()
		if err != nil {
			return err
		}
		for _, d := range devices {
			if err := s.alone(d); err != nil {
				return err
			}
		}
		return nil
	})
}

// Try makes an impairment of every sort in a namespace that nobody else uses. The
// error wraps targets.ErrUnsupported if this kernel cannot do it.
func Try() error {
	return Spec{Ports: []Range{{Lo: 1, Hi: 2}},
		Impairment: Impairment{Delay: time.Millisecond, Jitter: time.Millisecond, Distribution: "normal", Loss: 1, Corrupt: 1, Duplicate: 1, Reorder: 1, Rate: 1e6}}.try()
}

// TryBucket is Try for a token bucket.
func TryBucket() error { return Spec{Bucket: true, Impairment: Impairment{Rate: 1e6}}.try() }

func (s Spec) try() (err error) {
	ns, err := kernel.NewNetNS()
	if err != nil {
		return fmt.Errorf("%w: %w", targets.ErrUnsupported, err)
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	s.Name, s.Interface, s.Out, s.In, s.Clients = "dapple-try", "lo", true, true, true
	path := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	h, err := Raise(path, s, time.Second)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	seen, err := Look(path, s)
	if err == nil && len(seen.Missing) > 0 {
		err = fmt.Errorf("%w: the kernel took it, but has no %s", targets.ErrUnsupported, strings.Join(seen.Missing, ", "))
	}
	return err
}

// devices are those whose packets are looked at.
func (s Spec) devices() (list []net.Interface, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing network devices: %w", err)
	}
	for _, d := range all {
		meant := d.Flags&net.FlagLoopback == 0 && d.Flags&net.FlagUp != 0 && !strings.HasPrefix(d.Name, linkPrefix)
		if s.Interface != "" {
			meant = d.Name == s.Interface
		}
		if meant {
			list = append(list, d)
		}
	}
	switch {
	case len(list) > 0:
		return list, nil
	case s.Interface != "":
		return nil, fmt.Errorf("there is no network device %s", s.Interface)
	}
	return nil, errors.New("there is no network device but lo that is up: nothing leaves it")
}

// alone refuses a device on which others have filters: packets that we lead away
// and back would not meet those, or ours would not meet the packets.
func (s Spec) alone(d net.Interface) error {
	for _, w := range s.ways() {
		list, err := filters(d.Index, w)
		if err != nil {
			return err
		}
		for _, f := range list {
			if !strings.HasPrefix(f.name, namePrefix) {
				return fmt.Errorf("%s has filters of somebody else (%s %s): engine kernel does not touch them; use engine user, or remove them with: tc qdisc del dev %s clsact: %w",
					d.Name, f.kind, f.name, d.Name, targets.ErrUnsupported)
			}
		}
	}
	return nil
}

// Of the names of what is made. A filter is called what the device has as alias.
const (
	linkPrefix = "dapple"
	namePrefix = "dapple"
)

// Raise makes the impairment, for lease. If it fails, nothing is left.
func Raise(path string, s Spec, lease time.Duration) (_ *Hold, err error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(s.Name, namePrefix) {
		return nil, fmt.Errorf("the name %q does not begin with %s", s.Name, namePrefix)
	}
	steer, err := newSteering(s)
	if err != nil {
		return nil, without("BPF", err)
	}
	h := &Hold{steer: steer}
	err = kernel.InNetNS(path, func() error {
		err := s.raise(steer, lease)
		if err != nil {
			err = errors.Join(err, s.clear(nil))
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// raise makes all in an order in which nothing happens to a packet before the end.
func (s Spec) raise(steer *steering, lease time.Duration) error {
	devices, err := s.devices()
	if err != nil {
		return err
	}
	links := map[way]int{}
	for _, d := range devices {
		if err := s.alone(d); err != nil {
			return err
		}
	}
	alias, err := s.alias(devices)
	if err != nil {
		return err
	}
	options, err := s.options(devices)
	if err != nil {
		return err
	}
	for _, w := range s.ways() {
		if links[w], err = addLink(s.link(w), alias); err != nil {
			return err
		}
		if err := addQueue(links[w], s.kind(), options); err != nil {
			return fmt.Errorf("%s: %w", s.link(w), err)
		}
	}
	for _, d := range devices {
		if err := addPlace(d.Index); err != nil {
			return fmt.Errorf("%s: adding a place for filters: %w", d.Name, err)
		}
		for _, w := range s.ways() {
			if err := addFilter(d.Index, w, alias, steer.programs[w].FD(), links[w]); err != nil {
				return fmt.Errorf("%s: %w", d.Name, err)
			}
		}
	}
	return lastUntil(steer.state, lease)
}

// alias says, besides the name, on which devices the place for filters is ours:
// made by this impairment, or by another one of dapple's, whichever ends last.
// It is written before the places are made, to devices and filters, and found by
// whoever cleans up.
func (s Spec) alias(devices []net.Interface) (string, error) {
	all, err := queues()
	if err != nil {
		return "", err
	}
	ours, err := ownPlaces()
	if err != nil {
		return "", err
	}
	alias := s.Name
	for _, d := range devices {
		there := slices.ContainsFunc(all, func(q queue) bool { return q.device == d.Index && q.parent == netlink.HANDLE_CLSACT })
		if !there || slices.Contains(ours, d.Name) {
			alias += " " + d.Name
		}
	}
	if len(alias) > 255 { // IFALIASZ
		return "", fmt.Errorf("%d network devices are too many: name one of them", len(devices))
	}
	return alias, nil
}

// ownPlaces are the devices of which a living impairment says that the place for
// filters is dapple's.
func ownPlaces() (names []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing network devices: %w", err)
	}
	for _, l := range links {
		if a := l.Attrs(); l.Type() == "ifb" && strings.HasPrefix(a.Name, linkPrefix) {
			if fields := strings.Fields(a.Alias); len(fields) > 1 {
				names = append(names, fields[1:]...)
			}
		}
	}
	return names, nil
}
