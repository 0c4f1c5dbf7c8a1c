package traces

import (
	"slices"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
)

// A Clock is how the clock of this machine stands, and who keeps it.
type Clock struct {
	// Offset is how far CLOCK_REALTIME is before CLOCK_BOOTTIME, and Slack how
	// long it took to read both. A service that slews the clock changes the rate
	// of both at once; only a step changes the offset, and a suspended machine
	// does not.
	Offset, Slack time.Duration
	Synced        bool     // the kernel was told so by whoever keeps it (adjtimex(2))
	Keepers       []string // programs that keep it, that run
}

// keepers are the names of programs that keep a clock, as /proc shows them: at most
// 15 bytes; and the units that start them.
var keepers = map[string]string{
	"chronyd": "chronyd", "ntpd": "ntpd", "systemd-timesyn": "systemd-timesyncd", "ntpd-rs": "ntpd-rs", "openntpd": "openntpd",
}

// Machine looks at what this machine has for all of its nodes. net says whether its
// network is looked at: if a node uses it.
func Machine(net bool) (l Look) {
	if net {
		l.network("/proc/self/ns/net")
	}
	c, err := clock()
	if err != nil {
		l.unseen("the clock", err)
		return l
	}
	all, err := kernel.Procs(kernel.Filter{Keep: func(p kernel.Proc) bool { return keepers[p.Name] != "" && p.State != "T" && p.State != "Z" }})
	if err != nil {
		l.unseen("who keeps the clock", err)
	}
	for _, p := range all {
		c.Keepers = append(c.Keepers, p.Name)
	}
	l.Clock = &c
	return l
}

// step is from where on a change of the offset is one: more than the kernel's own
// leap of a second's fraction, and less than any fault that could matter.
const step = 50 * time.Millisecond

func (d *diff) clock(before, after *Clock) {
	if before == nil || after == nil {
		return
	}
	by := after.Offset - before.Offset
	// Where the clock is kept, whoever keeps it may have set it, and it is right.
	if by.Abs() > step+before.Slack+after.Slack && !(before.Synced && after.Synced) {
		d.say("chronyc makestep # or: timedatectl set-ntp true; or: date --set='"+(-by).String()+"'", "the clock of this machine was set by %v", by.Round(time.Millisecond))
	}
	for _, k := range before.Keepers {
		if !slices.Contains(after.Keepers, k) {
			d.say("systemctl start "+keepers[k], "%s, which kept the clock, does not run", k)
		}
	}
}
