package traces

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/netlook"
)

// A netDiff compares two looks at the network of one node.
type netDiff struct {
	*diff
	b, a  *Net
	fresh bool   // the namespace is another one: what went away with the old one is not missed
	in    string // how a command gets in
}

func (d *diff) network(before, after *Net) {
	if after == nil {
		return
	}
	n := netDiff{diff: d, b: before, a: after, fresh: before == nil || before.ID != after.ID || before.Cookie != after.Cookie}
	if before == nil {
		n.b = &Net{}
	}
	if !after.Shared {
		n.in = "nsenter --net=" + after.Path + " "
	}
	n.links()
	n.queues()
	n.filters()
	n.routes()
	n.tables()
	n.rules()
}

// passing are names of links that an engine of containers makes and removes.
func passing(name string) bool {
	for _, p := range []string{"veth", "br-", "docker", "cni", "cali", "flannel", "podman", "virbr", "vnet"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func (n *netDiff) name(link int) string {
	if l, ok := n.a.Links[link]; ok {
		return l.Name
	}
	return n.b.Links[link].Name
}

// link is what makes a link the same one: its number, or in another namespace its
// name.
func (n *netDiff) link(s *Net, index int) string {
	if n.fresh {
		return s.Links[index].Name
	}
	return fmt.Sprint(index)
}

// lost are the commands for the routes that went down with a link.
func (n *netDiff) lost(link int) (commands string) {
	for _, r := range n.b.Routes {
		if r.Link == link && r.Proto != protoKernel && !n.a.has(r) {
			commands += " && " + n.in + r.Command("add")
		}
	}
	return commands
}

func (n *Net) has(r netlook.Route) bool {
	return slices.ContainsFunc(n.Routes, func(o netlook.Route) bool { return o.Kind == r.Kind && o.Text == r.Text && o.V6 == r.V6 })
}

func (n *netDiff) links() {
	for i, l := range n.a.Links {
		was, known := n.b.Links[i]
		switch {
		case n.fresh || known && was.Name == l.Name:
			if !n.fresh && was.Up && !l.Up && !passing(l.Name) {
				n.say(n.in+"ip link set "+l.Name+" up"+n.lost(i), "the link %s is down", l.Name)
			}
			if n.fresh && netlook.Ours(l.Name) {
				n.say(n.in+"ip link del "+l.Name, "the link %s is there", l.Name)
			}
		case netlook.Ours(l.Name) || strings.HasPrefix(l.Name, "ifb"):
			n.say(n.in+"ip link del "+l.Name, "the link %s is there", l.Name)
		}
	}
	if n.fresh || n.a.Shared {
		return // links of a host come and go with its containers
	}
	for i, l := range n.b.Links {
		if _, there := n.a.Links[i]; !there {
			n.say("# connect the node to its network again", "the link %s is gone", l.Name)
		}
	}
}

// faulty are the kinds of queue by which a network is made bad. One that a
// namespace is born with is never among them.
func faulty(kind string) bool {
	return slices.Contains([]string{"netem", "tbf", "htb", "hfsc", "prio", "clsact", "ingress", "plug", "red", "blackhole"}, kind)
}

func (n *netDiff) queues() {
	for _, q := range n.a.Queues {
		key := n.link(n.a, q.Link)
		_, link := n.b.Links[q.Link]
		at := slices.IndexFunc(n.b.Queues, func(o netlook.Queue) bool {
			return n.link(n.b, o.Link) == key && o.Parent == q.Parent && (!n.fresh || o.Kind == q.Kind)
		})
		switch {
		case at >= 0 && (n.fresh || alike(n.b.Queues[at], q)):
		case n.fresh && !faulty(q.Kind), n.a.Shared && !link:
		case !n.fresh && !link && !faulty(q.Kind): // came with its link
		case at >= 0 && q.Handle == 0:
			n.say(n.in+fmt.Sprintf("tc qdisc replace dev %s %s %s # with its own settings", n.name(q.Link), q.Place(), n.b.Queues[at].Kind),
				"the qdisc %s of %s (%s) is gone, it has the system's %s now", n.b.Queues[at].Kind, n.name(q.Link), q.Place(), q.Kind)
		case at >= 0:
			n.say(n.in+fmt.Sprintf("tc qdisc del dev %s %s", n.name(q.Link), q.Place()),
				"the qdisc of %s (%s) is %s, before it was %s", n.name(q.Link), q.Place(), settings(q), settings(n.b.Queues[at]))
		default:
			n.say(n.in+fmt.Sprintf("tc qdisc del dev %s %s", n.name(q.Link), q.Place()),
				"the qdisc %s is on %s (%s)", q.Kind, n.name(q.Link), q.Place())
		}
	}
	n.queuesGone()
}

func (n *netDiff) queuesGone() {
	if n.fresh {
		return
	}
	for _, q := range n.b.Queues {
		_, link := n.a.Links[q.Link]
		replaced := slices.ContainsFunc(n.a.Queues, func(o netlook.Queue) bool { return o.Link == q.Link && o.Parent == q.Parent })
		if link && q.Handle != 0 && !replaced {
			n.say(n.in+fmt.Sprintf("tc qdisc add dev %s %s %s # with its own settings", n.name(q.Link), q.Place(), q.Kind),
				"the qdisc %s of %s (%s) is gone", q.Kind, n.name(q.Link), q.Place())
		}
	}
}

func alike(b, a netlook.Queue) bool {
	return b.Kind == a.Kind && b.Handle == a.Handle && b.Options == a.Options
}

func settings(q netlook.Queue) string {
	return fmt.Sprintf("%s %x: with settings %.16s…", q.Kind, q.Handle>>16, q.Options)
}

// filters that came to a queue which was there before; those of a new one go with
// it.
func (n *netDiff) filters() {
	told := map[string]bool{} // one filter of a person's may be several of the kernel's
	for _, f := range n.a.Filters {
		key := n.link(n.a, f.Link)
		was := slices.ContainsFunc(n.b.Filters, func(o netlook.Filter) bool {
			return n.link(n.b, o.Link) == key && o.Parent == f.Parent && o.Kind == f.Kind && o.Priority == f.Priority && (n.fresh || o.Handle == f.Handle)
		})
		queue := slices.ContainsFunc(n.b.Queues, func(o netlook.Queue) bool {
			return n.link(n.b, o.Link) == key && o.Handle != 0 && o.Handle>>16 == f.Parent>>16
		})
		name := fmt.Sprint(key, f.Parent, f.Kind, f.Priority)
		if !was && queue && !told[name] {
			told[name] = true
			n.say(n.in+fmt.Sprintf("tc filter del dev %s %s pref %d", n.name(f.Link), f.Place(), f.Priority),
				"the filter %s (pref %d) is on %s (%s)", f.Kind, f.Priority, n.name(f.Link), f.Place())
		}
	}
}

// The makers of routes that somebody wrote down (rtnetlink(7)): by hand, or in the
// configuration. A kernel's and a routing daemon's come and go.
const (
	protoBoot   = 3
	protoStatic = 4
	protoKernel = 2
)

func (n *netDiff) routes() {
	for _, r := range n.a.Routes {
		if r.Stops() && r.Proto != protoKernel && !n.b.has(r) {
			n.say(n.in+r.Command("del"), "the route %s %s is there", r.Kind, r.Text)
		}
	}
	for _, r := range n.b.Routes {
		written := r.Proto == protoBoot || r.Proto == protoStatic
		link, there := n.a.Links[r.Link]
		if n.fresh || !written || r.Stops() || !there || !link.Up || passing(link.Name) || n.a.has(r) {
			continue
		}
		n.say(n.in+r.Command("add"), "the route %s is gone", r.Text)
	}
}

func (n *netDiff) tables() {
	has := func(s *Net, t netlook.Table) bool {
		return slices.ContainsFunc(s.Tables, func(o netlook.Table) bool { return netlook.SameTable(o, t) })
	}
	for _, t := range n.a.Tables {
		if !netlook.Ours(t.Name) || has(n.b, t) {
			continue
		}
		command := n.in + "nft delete table " + t.Family + " " + t.Name
		if t.Owned {
			command = "dapple revert --all # ends the process to which it belongs"
		}
		n.say(command, "the table %s %s is there", t.Family, t.Name)
	}
	for _, t := range n.b.Tables {
		if !n.fresh && !t.Owned && !netlook.Ours(t.Name) && !has(n.a, t) {
			n.say("# load it again, as at the start of the machine: nft -f /etc/nftables.conf", "the table %s %s, which is not dapple's, is gone", t.Family, t.Name)
		}
	}
	for _, t := range n.a.Legacy {
		if !n.fresh && !n.a.Shared && !slices.Contains(n.b.Legacy, t) {
			n.say(n.in+"iptables-legacy -S # flush what is a fault's", "the table of the old iptables %s has come into use; what is in it was not seen", t)
		}
	}
}

// managed are chains that a running system fills by itself.
func managed(chain string) bool {
	for _, p := range []string{"DOCKER", "KUBE-", "cali-", "CNI-", "f2b-", "FLANNEL", "NETAVARK", "LIBVIRT", "FORWARD", "ufw-"} {
		if strings.HasPrefix(chain, p) {
			return true
		}
	}
	return false
}

// rules that stop traffic, in tables that are not ours: those are told as a whole.
func (n *netDiff) rules() {
	count := map[string]int{}
	what := func(r netlook.Rule) string { return r.Family + " " + r.Name + " " + r.Chain + r.Print }
	numbers := map[string]bool{}
	for _, r := range n.b.Rules {
		count[what(r)]++
		numbers[fmt.Sprint(r.Family, r.Name, r.Handle)] = true
	}
	for _, r := range n.a.Rules {
		count[what(r)]--
		ours := netlook.Ours(r.Comment)
		switch {
		case netlook.Ours(r.Name) || !n.fresh && numbers[fmt.Sprint(r.Family, r.Name, r.Handle)] || count[what(r)] >= 0:
		case ours, r.Stops && !n.fresh && !managed(r.Chain):
			n.say(n.in+fmt.Sprintf("nft delete rule %s %s %s handle %d", r.Family, r.Name, r.Chain, r.Handle),
				"a rule that stops traffic is in chain %s of table %s %s", r.Chain, r.Family, r.Name)
		}
	}
}
