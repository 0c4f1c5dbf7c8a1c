package proof

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// A row is one mistake that a drill has to find: a scenario, a cluster that does
// not make the mistake, and its twin that does.
type row struct {
	no        int // in the catalogue of drills
	scenario  string
	good, bad string
	setting   string // what the twin does differently
	signature signature
	// clears is the objective that decides about the sound cluster where another one
	// cannot be told by rule, so that the drill is inconclusive: the RTO, where the
	// outage ends with the fault, which is no recovery; split-brain, where the old
	// primary ends the sessions that would have shown it. "" is the verdict.
	clears string
	// lacks says why the twin cannot be drilled yet; "" if it can.
	lacks string
}

// A signature is how a drill must tell of the mistake.
type signature struct {
	words string
	// seen says whether a record tells of it, and in which words.
	seen func(drills.Record) (string, bool)
}

// rows is the table. A row is added here, with its scenario in the library and its
// twin among the built-in clusters.
func rows() []row {
	return []row{
		{no: 1, scenario: "patroni/primary-kill", good: "patroni", bad: "patroni-async-lag",
			setting: "synchronous_mode: false, standbys 2 s behind", signature: lost("acknowledged writes lost", func(l *verdict.Loss) int64 { return l.Lost })},
		{no: 1, scenario: "postgres/primary-kill", good: "postgres-script", bad: "postgres-async",
			setting: "synchronous_standby_names: '', standbys 2 s behind", signature: lost("acknowledged writes lost", func(l *verdict.Loss) int64 { return l.Lost })},
		{no: 2, scenario: "patroni/primary-kill", good: "patroni", bad: "patroni-colocated",
			setting: "etcd's leader on the primary's node", signature: mode("detection", "lease refreshed")},
		{no: 3, scenario: "patroni/agent-freeze", good: "patroni", bad: "patroni-async",
			setting: "synchronous_mode: false, watchdog: off", signature: split(2)},
		{no: 4, scenario: "patroni/primary-frozen", good: "patroni", bad: "patroni-async",
			setting: "synchronous_mode: false", signature: split(2)},
		{no: 6, scenario: "patroni/primary-minority", good: "patroni", bad: "patroni-async",
			setting: "synchronous_mode: false", signature: lost("acknowledged writes lost", func(l *verdict.Loss) int64 { return l.Lost }), clears: "rpo"},
		{no: 6, scenario: "redis-sentinel/primary-minority", good: "redis-sentinel", bad: "redis-sentinel-noguard",
			setting: "min-replicas-to-write: 0", signature: both(split(2), missed("rpo", "RPO missed"))},
		{no: 6, scenario: "mysqlgr/primary-minority", good: "mysqlgr", bad: "mysqlgr-forcing",
			setting: "a node without the majority makes a group of its own", signature: split(2)},
		{no: 8, scenario: "patroni/primary-deaf", good: "patroni", bad: "patroni-liar",
			setting: "HAProxy checks the port, not the role", signature: falseGreen(), clears: "rto"},
		{no: 8, scenario: "patroni/primary-mute", good: "patroni", bad: "patroni-liar",
			setting: "HAProxy checks the port, not the role", signature: falseGreen(), clears: "rto"},
		{no: 13, scenario: "mysqlgr/primary-stall", good: "mysqlgr", bad: "mysqlgr-expel0",
			setting: "member_expel_timeout: 0", signature: missed("failover", "false failover"), clears: "failover"},
		{no: 14, scenario: "etcd/leader-stall", good: "etcd", bad: "etcd-fast-election",
			setting: "--election-timeout=100", signature: missed("failover", "false failover"), clears: "failover"},
		{no: 15, scenario: "patroni/primary-lost", good: "patroni", bad: "patroni-ttl600",
			setting: "ttl: 600", signature: both(missed("rto", "RTO missed"), noted("the settings alone predict an outage", "said before the fault"))},
		{no: 15, scenario: "redis-sentinel/down-after-too-long", good: "redis-sentinel", bad: "redis-sentinel-down600",
			setting: "down-after-milliseconds: 600000", signature: both(missed("rto", "RTO missed"), noted("the settings alone predict an outage", "said before the fault"))},
		{no: 15, scenario: "mysqlgr/expel-too-long", good: "mysqlgr", bad: "mysqlgr-expel3600",
			setting: "member_expel_timeout: 3600", signature: both(missed("rto", "RTO missed"), noted("the settings alone predict an outage", "said before the fault"))},
		{no: 16, scenario: "patroni/primary-kill", good: "patroni", bad: "patroni-ttl5",
			setting: "ttl: 5", signature: told("settings", "ttl: declared 5, effective 20")},
		{no: 17, scenario: "patroni/disk-full", good: "patroni-diskguard", bad: "patroni-smalldisk",
			setting: "nothing looks at the disk: Patroni says that a primary which cannot write is well", signature: falseGreen(), clears: "false_green"},
		{no: 21, scenario: "patroni/dcs-quorum-lost", good: "patroni-failsafe", bad: "patroni-colocated",
			setting: "failsafe_mode: false", signature: missed("rto", "RTO missed though the primary was well")},
		{no: 23, scenario: "patroni/cascading-maintenance", good: "patroni", bad: "patroni-async-lag",
			setting: "synchronous_mode: false, standbys 2 s behind", signature: lost("acknowledged writes lost", func(l *verdict.Loss) int64 { return l.Lost })},
		{no: 24, scenario: "postgres/both-lost", good: "postgres-script", bad: "postgres-any",
			setting: "FIRST 1, and a script that promotes whichever standby is left", signature: lost("acknowledged writes lost", func(l *verdict.Loss) int64 { return l.Lost }), clears: "rpo"},
		{no: 25, scenario: "patroni/sync-standby-gone", good: "patroni", bad: "patroni-shorttimeouts",
			setting: "writes cancelled after 1 s", signature: lost("writes acknowledged with a warning lost", func(l *verdict.Loss) int64 { return l.LostDegraded }), clears: "rpo"},
		{no: 25, scenario: "redis-sentinel/replicas-cut", good: "redis-sentinel-wait", bad: "redis-sentinel-shortwait",
			setting: "clients go on after 100 ms without a replica", signature: lost("writes acknowledged on too few replicas lost", func(l *verdict.Loss) int64 { return l.LostDegraded })},
		{no: 26, scenario: "patroni/primary-kill", good: "patroni", bad: "patroni-rogue",
			setting: "PostgreSQL started outside Patroni", signature: split(1)},
		{no: 26, scenario: "postgres/primary-kill", good: "postgres-script", bad: "postgres-autostart",
			setting: "a node that comes back is what it was", signature: split(1)},
		{no: 27, scenario: "patroni/old-primary-returns", good: "patroni", bad: "patroni-norewind",
			setting: "use_pg_rewind: false, no new copy", signature: missed("rejoin", "rejoin missed")},
		{no: 26, scenario: "redis-sentinel/primary-kill", good: "redis-sentinel", bad: "redis-sentinel-noguard",
			setting: "min-replicas-to-write: 0", signature: split(2)},
		{no: 36, scenario: "postgres/primary-cut-off", good: "postgres-script", bad: "postgres-async",
			setting: "a script promotes, and nothing stops the old primary", signature: split(2), clears: "rpo"},
	}
}

// find is the first finding of an objective whose text holds all of the words.
func find(r drills.Record, objective string, ok func(verdict.Finding) bool) (string, bool) {
	for _, t := range r.Trials {
		for _, f := range t.Findings {
			if f.Objective == objective && ok(f) {
				return fmt.Sprintf("%s: want %s, got %s", f.Objective, f.Want, f.Got), true
			}
		}
	}
	return "", false
}

func missed(objective, words string) signature {
	return signature{words, func(r drills.Record) (string, bool) {
		return find(r, objective, func(f verdict.Finding) bool { return f.Outcome == verdict.Missed })
	}}
}

func told(objective, got string) signature {
	return signature{got, func(r drills.Record) (string, bool) {
		return find(r, objective, func(f verdict.Finding) bool { return strings.Contains(f.Got, got) })
	}}
}

func mode(metric, name string) signature {
	return signature{metric + " slower than model: " + name, func(r drills.Record) (string, bool) {
		return find(r, "expectation", func(f verdict.Finding) bool {
			return strings.HasPrefix(f.Want, metric+" ") && strings.Contains(f.Got, "slower than model: "+name)
		})
	}}
}

func split(level int) signature {
	return signature{fmt.Sprintf("split-brain of level %d or more", level), func(r drills.Record) (string, bool) {
		for _, t := range r.Trials {
			if s := t.Metrics.SplitBrain; s.Level >= level {
				return fmt.Sprintf("split-brain level %d: %s", s.Level, s.Reason), true
			}
		}
		return "", false
	}}
}

func lost(words string, count func(*verdict.Loss) int64) signature {
	return signature{words, func(r drills.Record) (string, bool) {
		for _, t := range r.Trials {
			if l := t.Metrics.Loss; l != nil && count(l) > 0 {
				return fmt.Sprintf("%d %s", count(l), words), true
			}
		}
		return "", false
	}}
}

// falseGreen wants that the check was surely green while clients failed, and that
// they failed for longer than promised.
func falseGreen() signature {
	rto := missed("rto", "")
	return signature{"false green, RTO missed", func(r drills.Record) (string, bool) {
		said, ok := rto.seen(r)
		i := slices.IndexFunc(r.Trials, func(t verdict.Trial) bool {
			return t.Metrics.FalseGreen != nil && t.Metrics.FalseGreen.LoMS > 0
		})
		if !ok || i < 0 {
			return "", false
		}
		return fmt.Sprintf("%s; the check was green for at least %.1f s meanwhile", said, r.Trials[i].Metrics.FalseGreen.LoMS/1000), true
	}}
}

// noted wants that it was said before the fault was made.
func noted(text, words string) signature {
	return signature{words, func(r drills.Record) (string, bool) {
		i := slices.IndexFunc(r.Notes, func(n string) bool { return strings.Contains(n, text) })
		if i < 0 {
			return "", false
		}
		return "before: " + r.Notes[i], true
	}}
}

func both(a, b signature) signature {
	return signature{a.words + ", " + b.words, func(r drills.Record) (string, bool) {
		x, ok := a.seen(r)
		y, too := b.seen(r)
		return x + "; " + y, ok && too
	}}
}
