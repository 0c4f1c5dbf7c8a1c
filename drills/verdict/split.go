package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A split is what is known of split-brain.
type split struct {
	level   int
	text    string // what was seen, in words
	events  []int
	overlap timeline.Interval
	close   bool     // a pair of writes was there, but within the bound of the clocks
	gaps    []string // why absence is not proven
}

// A lineage is who took writes: a node on an epoch, or an epoch alone where any
// node passes writes on. Of its acknowledgements the first to return and the
// last to be sent are known exactly.
type lineage struct {
	key, node, epoch string
	acks             []timeline.Event
	firstBack        timeline.Event
	lastSent         timeline.Event
}

func (l *lineage) String() string {
	switch {
	case l.node == "":
		return "epoch " + l.epoch
	case l.epoch == "":
		return l.node
	}
	return l.node + " (epoch " + l.epoch + ")"
}

// lineages are those that acknowledged writes, in the order of their first
// acknowledgement.
func (j *judge) lineages() []*lineage {
	by := map[string]*lineage{}
	var out []*lineage
	for _, w := range j.writers() {
		for _, r := range j.writes(w) {
			if !success(r.value()) {
				continue
			}
			node, epoch := nodeOf(r.first), r.first.Epoch
			if j.epochOnly() {
				node = ""
			}
			if node == "" && (epoch == "" || !j.epochOnly()) {
				continue // nobody knows who took it
			}
			key := node + "@" + epoch
			l := by[key]
			if l == nil {
				l = &lineage{key: key, node: node, epoch: epoch, firstBack: r.first, lastSent: r.latest}
				by[key] = l
				out = append(out, l)
			}
			l.add(r)
		}
	}
	slices.SortFunc(out, func(a, b *lineage) int {
		return cmp.Or(cmp.Compare(a.firstBack.At.Hi, b.firstBack.At.Hi), cmp.Compare(a.key, b.key))
	})
	return out
}

func (l *lineage) add(r run) {
	for _, e := range r.events() {
		l.acks = append(l.acks, e)
		if e.At.Hi < l.firstBack.At.Hi {
			l.firstBack = e
		}
		if e.At.Lo > l.lastSent.At.Lo {
			l.lastSent = e
		}
	}
}

// epochOnly says that who took a write tells nothing of its lineage.
func (j *judge) epochOnly() bool { return j.in.AnyNodeTakesWrites || j.in.MultiPrimary }

// measureSplit finds the highest level of split-brain that is proven, the fence
// lag, and whether its absence is proven.
func (j *judge) measureSplit() {
	j.measureFence()
	s := &j.split
	if !j.in.MultiPrimary {
		j.dualClaim()
	}
	ls := j.lineages()
	for _, x := range ls {
		for _, y := range ls {
			if j.olderThan(x, y) {
				j.dualWritable(x, y)
			}
		}
	}
	j.forked()
	if s.level < 2 {
		s.gaps = j.unprovenAbsence()
	}
	r := &j.m.SplitBrain
	r.Level, r.Events = s.level, indexes(s.events)
	r.ProvenAbsent = s.level < 2 && len(s.gaps) == 0
	if s.level >= 2 && s.overlap.Hi > 0 {
		r.Overlap = &OverlapMS{timeline.MS(s.overlap.Lo), timeline.MS(s.overlap.Hi)}
	}
	r.Reason = strings.Join(append(clip(s.text), s.gaps...), "; ")
}

func clip(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// dualClaim looks for two nodes that claim the primary role at the same time,
// beyond the bound of the clocks: each was seen to claim it before the other was
// last seen to.
func (j *judge) dualClaim() {
	type claims struct {
		node string
		s    segment
	}
	var all []claims
	for _, n := range j.nodes {
		for _, s := range segments(j.streams[string(timeline.Role)+" role/"+n]) {
			if s.value == "primary" && s.last.At.Hi >= j.since() {
				all = append(all, claims{n, s})
			}
		}
	}
	for i, a := range all {
		for _, b := range all[i+1:] {
			apart := min(b.s.last.At.Lo-a.s.first.At.Hi, a.s.last.At.Lo-b.s.first.At.Hi)
			if a.node == b.node || apart < 0 || apart < j.in.ClockEps {
				continue
			}
			both := max(0, min(a.s.last.At.Lo, b.s.last.At.Lo)-max(a.s.first.At.Hi, b.s.first.At.Hi))
			j.split.raise(1, fmt.Sprintf("%s and %s both claimed to be primary for at least %s", a.node, b.node, wordsOf(both)),
				of(a.s.first, a.s.last, b.s.first, b.s.last))
		}
	}
}

// raise sets the level, and keeps the words and events of the highest.
func (s *split) raise(level int, text string, events []int) {
	switch {
	case level > s.level:
		s.level, s.text = level, text
	case level == s.level && text != s.text:
		s.text += "; " + text
	}
	s.events = append(s.events, events...)
}

// olderThan says whether y superseded x, so that an acknowledgement on x after
// one on y is from the wrong side.
func (j *judge) olderThan(x, y *lineage) bool {
	if x == y || !j.epochOnly() && x.node == y.node {
		return false // one node does not take writes on two lineages at once
	}
	if x.epoch != y.epoch && x.epoch != "" && y.epoch != "" && (newer(y.epoch, x.epoch) != newer(x.epoch, y.epoch)) {
		return newer(y.epoch, x.epoch)
	}
	return cmp.Or(cmp.Compare(x.firstBack.At.Hi, y.firstBack.At.Hi), cmp.Compare(x.key, y.key)) < 0
}

// dualWritable looks for an acknowledgement a on the old lineage x and one b on
// the new lineage y with inv(a) > ret(b), beyond the bound of the clocks.
func (j *judge) dualWritable(x, y *lineage) {
	b := y.firstBack
	var a *timeline.Event
	for _, e := range x.acks {
		if e.At.Lo <= b.At.Hi || j.reclaimed(x, y, e.At.Lo) {
			continue
		}
		if e.At.Lo <= b.At.Hi+j.in.ClockEps {
			j.split.close = true
			continue
		}
		if a == nil || e.At.Lo > a.At.Lo {
			a = &e
		}
	}
	if a == nil {
		return
	}
	over := timeline.Interval{Lo: a.At.Lo - b.At.Hi - j.in.ClockEps, Hi: j.fencedAfter(x, *a).Hi - min(b.At.Lo, j.promotedLo(b)) + j.in.ClockEps}
	text := fmt.Sprintf("%s acknowledged a write of %s that was sent %s after %s had acknowledged one of %s", x, a.By, wordsOf(a.At.Lo-b.At.Hi), y, b.By)
	j.split.raise(2, text, of(*a, b))
	j.split.events = append(j.split.events, j.snapshots(x, y)...)
	if over.Hi > j.split.overlap.Hi {
		j.split.overlap = over
	}
	if lost := j.lostAfter(x, b); len(lost) > 0 {
		j.split.raise(3, fmt.Sprintf("%s; %d of the writes that the old side acknowledged meanwhile are missing from the final history", text, len(lost)), of(lost...))
	}
}

func (j *judge) promotedLo(b timeline.Event) time.Duration {
	if j.promoted.ok && j.promoted.at.Lo <= b.At.Hi {
		return j.promoted.at.Lo
	}
	return b.At.Lo
}

// reclaimed says whether the node of x became primary again, after y had taken
// over and before t. Only where epochs do not tell the two reigns apart.
func (j *judge) reclaimed(x, y *lineage, t time.Duration) bool {
	if x.epoch != "" && y.epoch != "" && x.epoch != y.epoch || x.node == "" {
		return false
	}
	between := func(at timeline.Interval) bool { return at.Hi >= y.firstBack.At.Lo && at.Lo <= t }
	for _, e := range j.kinds[timeline.Leader] {
		if e.Node == x.node && between(e.At) {
			return true
		}
	}
	return slices.ContainsFunc(j.roleClaims(), func(c claim) bool { return c.node == x.node && between(c.at) })
}

// snapshots are what the nodes of both lineages said of their roles last before
// the end of the overlap: part of the evidence.
func (j *judge) snapshots(x, y *lineage) []int {
	var out []int
	for _, l := range []*lineage{x, y} {
		if s, ok := j.stateAt(timeline.Role, "role/"+l.node, x.lastSent.At.Lo); ok && l.node != "" {
			out = append(out, s.first.I, s.last.I)
		}
	}
	return out
}

// lostAfter are the writes that x acknowledged, sent after b had returned, which
// the final history does not have.
func (j *judge) lostAfter(x *lineage, b timeline.Event) []timeline.Event {
	var out []timeline.Event
	for _, e := range j.lostWrites() {
		node := nodeOf(e)
		if j.epochOnly() {
			node = ""
		}
		if e.At.Lo > b.At.Hi+j.in.ClockEps && node == x.node && (e.Epoch == x.epoch || e.Epoch == "") {
			out = append(out, e)
		}
	}
	return out
}

// forked takes the engine's own proof that two histories exist for level 3,
// unless every node that could have written the other one is proven to have been
// dead since the effect: then it is what the dead node had not passed on yet,
// which is loss and no split-brain.
func (j *judge) forked() {
	for _, e := range j.kinds[timeline.Forked] {
		if j.split.level < 2 && j.allDead() {
			j.warn(Finding{Objective: "fork", Want: "one history", Got: e.Value,
				Text: "the dead node holds what it had not passed on: replication loss, and no split-brain"}, of(e))
			continue
		}
		j.split.raise(3, "the engine shows two histories: "+e.Value, of(e))
	}
}

// allDead says whether every former primary is proven to have been dead since
// the effect.
func (j *judge) allDead() bool {
	former := j.formerPrimaries()
	return len(former) > 0 && !slices.ContainsFunc(former, func(n string) bool { return j.deadSince(n) == nil })
}

func (j *judge) judgeSplit() {
	s := j.m.SplitBrain
	declared := j.in.Objectives.SplitBrain != nil && bool(*j.in.Objectives.SplitBrain)
	f := Finding{Objective: "split_brain", Want: "never", Got: "none", Text: s.Reason, Events: s.Events}
	if s.Level > 0 {
		f.Got = []string{1: "dual claim (L1)", 2: "dual writable (L2)", 3: "divergent (L3)"}[s.Level]
	}
	switch {
	case s.Level >= 2: // fails always (measurement rules, section 9)
		f.Outcome = Missed
	case !declared:
		f.Outcome, f.Want = Informational, "not declared"
	case s.ProvenAbsent:
		f.Outcome = Met
	default:
		f.Outcome, f.Got = Unproven, "not proven"
	}
	j.finding(f)
	if s.Level == 1 {
		j.warn(Finding{Objective: "dual_claim", Want: "one primary", Got: "dual claim (L1)",
			Text: j.split.text}, j.split.events)
	}
	if j.split.close && s.Level < 2 {
		j.warn(Finding{Objective: "clock_eps", Want: "a pair of writes further apart than the clocks may differ", Got: "± " + wordsOf(j.in.ClockEps),
			Text: "an acknowledgement of each side was seen, too close together to tell which came first"})
	}
}
