// Package netlook reads what one network namespace has of links, queueing
// disciplines, filters, routes and rules of the packet filter: enough to say later
// what came, went or changed, and by which command it is put right.
//
// It reads only, runs no program, and does not judge what belongs there. Settings
// are kept as the kernel's own bytes: they are compared, not understood.
package netlook

import (
	"fmt"
	"strings"
)

// A State is what was seen of one namespace.
type State struct {
	// Cookie is the kernel's number of the namespace, which is never given twice
	// (socket(7), SO_NETNS_COOKIE); that of the file in /proc is. 0: not known.
	Cookie  uint64
	Links   map[int]Link // by index
	Queues  []Queue
	Filters []Filter
	Routes  []Route
	Tables  []Table
	Rules   []Rule
	// Legacy are the tables of the old iptables (x_tables) that exist here. What is
	// in them is not read: asking for one that is not there would make it.
	Legacy []string
	// Unseen says in words what could not be looked at.
	Unseen []string
}

// A Link is a network interface.
type Link struct {
	Name string
	Up   bool
}

// A Queue is a queueing discipline (tc-qdisc).
type Queue struct {
	Link           int
	Kind           string // "netem", "clsact", …
	Handle, Parent uint32
	// Options are the kernel's bytes for its settings, in hexadecimal; "" for kinds
	// that count in them.
	Options string
}

// The places of a queue (linux/pkt_sched.h, TC_H_ROOT, TC_H_CLSACT).
const (
	Root   = 0xffffffff
	clsact = 0xfffffff1
)

// Place is where the queue is, in the words of tc.
func (q Queue) Place() string {
	switch {
	case q.Parent == Root:
		return "root"
	case q.Kind == "clsact" || q.Kind == "ingress":
		return q.Kind
	case q.Parent == clsact:
		return "ingress"
	}
	return "parent " + handle(q.Parent)
}

// A Filter is a classifier of packets (tc-filter).
type Filter struct {
	Link           int
	Kind           string
	Parent, Handle uint32
	Priority       uint16
	Protocol       uint16
}

// Place is where the filter is, in the words of tc.
func (f Filter) Place() string {
	switch f.Parent {
	case clsact&^0xf | 2: // TC_H_MIN_INGRESS
		return "ingress"
	case clsact&^0xf | 3: // TC_H_MIN_EGRESS
		return "egress"
	}
	return "parent " + handle(f.Parent)
}

func handle(h uint32) string { return fmt.Sprintf("%x:%x", h>>16, h&0xffff) }

// A Route is one of any table but "local", which the kernel fills by itself.
type Route struct {
	Kind  string // "unicast", "blackhole", …
	Text  string // as ip-route takes it: "10.0.0.0/8 via 10.1.0.1 table 100"
	V6    bool
	Link  int
	Proto byte // who made it (rtnetlink(7), rtm_protocol)
}

// Stops says whether the route is one that keeps packets from being sent.
func (r Route) Stops() bool {
	return r.Kind == "blackhole" || r.Kind == "unreachable" || r.Kind == "prohibit" || r.Kind == "throw"
}

// Command is the beginning of the command that handles the route.
func (r Route) Command(verb string) string {
	ip := "ip"
	if r.V6 {
		ip = "ip -6"
	}
	kind := ""
	if r.Kind != "unicast" {
		kind = r.Kind + " "
	}
	return ip + " route " + verb + " " + kind + r.Text
}

// A Table is one of nf_tables.
type Table struct {
	Family, Name string
	Owned        bool // it belongs to a socket of a living process
}

// A Rule is a rule of nf_tables.
type Rule struct {
	Table
	Chain, Comment string
	Handle         uint64
	// Stops says that what meets the rule is dropped, refused, or given to a
	// program.
	Stops bool
	// Print is what the rule says, without its counters.
	Print string
}

// SameTable says whether a and b are one table.
func SameTable(a, b Table) bool { return a.Family == b.Family && a.Name == b.Name }

// Ours says whether a name is one that dapple gives.
func Ours(name string) bool { return strings.HasPrefix(strings.ToLower(name), "dapple") }
