package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
)

// state is what is done to the answers of one node: all that Inject, Effect and
// Revert need.
type state struct {
	Table   string        `json:"table"`
	NS      kernel.NetNS  `json:"ns"`
	Servers []netip.Addr  `json:"servers"` // whose answers are meant
	Names   []string      `json:"names,omitempty"`
	Delay   time.Duration `json:"delay,omitempty"`
	Refuse  Refusal       `json:"refuse,omitempty"`
	Wrong   []netip.Addr  `json:"wrong,omitempty"`
	Drop    bool          `json:"drop,omitempty"`
	// Known is a name that the node's own name server can be expected to know, or
	// to say at once that it does not: that of the node's address.
	Known string `json:"known"`
}

// A sight is what stands at a site.
type sight struct {
	There   bool
	Lease   time.Duration         // what is left of it; 0: it is over
	Missing []string              // what of the state is not in the kernel
	Met     map[netip.Addr]uint64 // packets for each server that were led to us
}

// means says whether questions for the name are meant; it is canonical.
func (s state) means(name string) bool {
	return len(s.Names) == 0 || slices.ContainsFunc(s.Names, func(n string) bool { return below(name, n) })
}

// fate is what becomes of the answers, for people.
func (s state) fate() string {
	switch {
	case s.Delay > 0:
		return fmt.Sprintf("come %v later", s.Delay)
	case s.Refuse != "":
		return "are " + strings.ToUpper(string(s.Refuse))
	case s.Drop:
		return "do not come"
	}
	return "are " + join(s.Wrong)
}

// does is the state for people.
func (s state) does() string {
	names := "all names"
	if len(s.Names) > 0 {
		var list []string
		for _, n := range s.Names {
			list = append(list, strings.TrimSuffix(n, "."))
		}
		names = strings.Join(list, ", ") + " and what is below"
	}
	return fmt.Sprintf("answers for %s %s; name server %s", names, s.fate(), join(s.Servers))
}

func join(addrs []netip.Addr) string {
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	return strings.Join(list, ", ")
}
