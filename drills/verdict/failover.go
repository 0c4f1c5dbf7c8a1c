package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// find finds the instants of the failover: who detected, was elected, took
// writes, and when.
func (j *judge) find() {
	const noFault = "no fault was made"
	j.detected, j.elected, j.promoted, j.firstAck = none(noFault), none(noFault), none(noFault), none(noFault)
	j.outcome = "unknown: " + noFault
	if !j.from.ok {
		return
	}
	changes, acks := j.leaderChanges(), j.newAcks()
	j.findMoves(changes, acks)
	j.detected = j.findDetected(changes)
	j.promoted = j.findPromoted(acks)
	j.elected = j.findElected(changes)
	j.firstAck = j.findFirstAck(acks)
}

// leaderChanges are the changes of the control plane's view since the fault was
// made. The first view of an observer is one only if it is not the old primary.
func (j *judge) leaderChanges() timeline.Timeline {
	last := map[string]*timeline.Event{}
	var out timeline.Timeline
	for _, e := range j.kinds[timeline.Leader] {
		before := last[e.By]
		last[e.By] = &e
		changed := false
		switch {
		case before == nil:
			changed = e.Node != j.oldNode
		case e.Node != before.Node, e.Epoch != before.Epoch && e.Epoch != "" && before.Epoch != "":
			changed = true
		}
		if changed && e.At.Hi >= j.since() {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b timeline.Event) int { return cmp.Compare(a.At.Hi, b.At.Hi) })
	return out
}

// since is from when on events may be consequences of the fault.
func (j *judge) since() time.Duration {
	if j.inject.ok {
		return min(j.inject.at.Lo, j.from.at.Lo)
	}
	return j.from.at.Lo
}

// A claim is a node seen to take the primary role.
type claim struct {
	node string
	at   timeline.Interval
	e    timeline.Event
}

// roleClaims are the beginnings of claims of the primary role after the fault,
// by the nodes themselves.
func (j *judge) roleClaims() []claim {
	var out []claim
	for _, n := range j.nodes {
		segs := segments(j.streams[string(timeline.Role)+" role/"+n])
		for i, s := range segs {
			if s.value == "primary" && s.first.At.Hi >= j.since() && (i > 0 || s.first.At.Lo >= j.from.at.Lo) {
				out = append(out, claim{n, began(segs, i), s.first})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b claim) int { return cmp.Compare(a.at.Hi, b.at.Hi) })
	return out
}

// findMoves finds through which nodes the primary role went: by the control
// plane where it was seen, else by what the nodes say; a node that took writes
// of the new lineage has it, whatever was said.
func (j *judge) findMoves(changes timeline.Timeline, acks []ack) {
	j.moves = []string{j.oldNode}
	move := func(n string) {
		if n != "" && n != j.moves[len(j.moves)-1] {
			j.moves = append(j.moves, n)
		}
	}
	if len(j.kinds[timeline.Leader]) > 0 {
		for _, e := range changes {
			move(e.Node)
		}
	} else {
		for _, c := range j.roleClaims() {
			move(c.node)
		}
	}
	if !j.epochOnly() {
		for _, a := range acks {
			if !slices.Contains(j.moves, a.node) {
				move(a.node)
			}
		}
	}
	switch {
	case j.in.MultiPrimary:
		j.moves, j.outcome = j.moves[:1], "not applicable: every node is a primary"
	case j.oldNode == "":
		j.outcome = "unknown: nothing told who was primary before the fault"
	case len(j.moves) > 1:
		j.outcome = "failover " + strings.Join(j.moves, " → ")
	default:
		j.outcome = "no failover"
	}
}

func (j *judge) failedOver() bool { return len(j.moves) > 1 && j.oldNode != "" }

// findDetected finds the first evidence by which the system showed that it
// knows: a change of its leader or term, another sign of its own, or that it
// restarted what was killed.
func (j *judge) findDetected(changes timeline.Timeline) instant {
	signs := slices.Clone(changes)
	for _, e := range j.kinds[timeline.Detected] {
		if e.At.Hi >= j.since() {
			signs = append(signs, e)
		}
	}
	for _, e := range j.kinds[timeline.Restarted] {
		if e.At.Hi >= j.since() && (e.Value == byEngine || e.Value == byManager) {
			signs = append(signs, e)
		}
	}
	signs = slices.DeleteFunc(signs, func(e timeline.Event) bool { return e.At.Hi < j.main.at.Lo && j.main.at != j.from.at })
	if len(signs) == 0 {
		return none("the system gave no sign that it knew")
	}
	return j.wide(firstSign(signs))
}

// A sign is one moment, seen in one or more events.
type sign struct {
	instant
	of timeline.Event
}

// tellsToo says whether e is about the same moment: the control plane getting the
// same leader, at times that overlap.
func (s sign) tellsToo(e timeline.Event) bool {
	return s.of.Kind == timeline.Leader && e.Kind == timeline.Leader && s.of.Node == e.Node &&
		s.at.Lo <= e.At.Hi && e.At.Lo <= s.at.Hi
}

// firstSign bounds the first of several signs. Observers that tell of the same
// moment bound it from several sides; any other may have come before.
func firstSign(es []timeline.Event) instant {
	es = slices.Clone(es)
	slices.SortStableFunc(es, func(a, b timeline.Event) int { return cmp.Compare(a.At.Hi, b.At.Hi) })
	var signs []sign
	for _, e := range es {
		i := slices.IndexFunc(signs, func(s sign) bool { return s.tellsToo(e) })
		if i < 0 {
			signs = append(signs, sign{at(e.At, e), e})
			continue
		}
		s := &signs[i]
		s.at = timeline.Interval{Lo: max(s.at.Lo, e.At.Lo), Hi: min(s.at.Hi, e.At.Hi)}
		s.events = append(s.events, e.I)
	}
	first := signs[0].instant // the one with the smallest upper bound
	for _, s := range signs[1:] {
		if s.at.Lo < first.at.Lo {
			first.at.Lo = s.at.Lo
			first.events = append(first.events, s.events...)
		}
	}
	return first
}

// findPromoted finds when the new primary began to take writes: by the first direct
// one that it acknowledged, and no later than by any other that it did. Until then
// it refused those that were sent to itself. If there are no direct writes in the
// timeline, any write will do.
func (j *judge) findPromoted(acks []ack) instant {
	direct := slices.ContainsFunc(j.writers(), func(by string) bool { return strings.HasPrefix(by, "direct/") })
	for _, a := range acks {
		if !direct || strings.HasPrefix(a.by, "direct/") {
			i := instant{at: a.at, events: a.events, ok: true}
			if !j.in.AnyNodeTakesWrites && a.node != "" {
				i = j.soonest(i, a.node, acks)
			}
			return j.wide(i)
		}
	}
	if !j.failedOver() {
		return none("%s", j.outcome)
	}
	return none("%s acknowledged no direct write", j.moves[len(j.moves)-1])
}

// soonest bounds when a node began to take writes, from above by the first that it
// acknowledged on any stream, and from below by the last that it refused on one to
// itself: what the endpoint refused says nothing of the node.
func (j *judge) soonest(i instant, node string, acks []ack) instant {
	own := func(a ack) bool {
		return a.node == node && (strings.HasPrefix(a.by, "direct/") || strings.HasPrefix(a.by, "old/"))
	}
	for _, a := range acks {
		if a.node == node && a.at.Hi < i.at.Hi {
			i.at.Hi = a.at.Hi
			i.events = append(slices.Clone(a.events), i.events...)
		}
	}
	if i.at.Lo > i.at.Hi {
		i.at.Lo = j.since() // the direct write was slow to come back, not the node to take it
	}
	for _, a := range acks {
		if own(a) && a.refused > i.at.Lo && a.refused <= i.at.Hi {
			i.at.Lo = a.refused
			i.events = append(i.events, a.events...)
		}
	}
	return i
}

// promotedNode is the node that first took writes on the new lineage, or "".
func (j *judge) promotedNode() string {
	if j.in.AnyNodeTakesWrites || !j.promoted.ok || len(j.promoted.events) == 0 {
		return ""
	}
	for _, e := range j.events {
		if e.I == j.promoted.events[0] {
			return nodeOf(e)
		}
	}
	return ""
}

// findElected finds when the claim of the node that came to take writes was
// committed; by the control plane where it was seen, else by the node's own word.
func (j *judge) findElected(changes timeline.Timeline) instant {
	var all, own []timeline.Event
	target := j.promotedNode()
	add := func(e timeline.Event) {
		all = append(all, e)
		if e.Node == target {
			own = append(own, e)
		}
	}
	for _, e := range changes {
		if e.Node != "" && (e.Node != j.oldNode || e.Epoch != j.oldEpoch) {
			add(e)
		}
	}
	if len(j.kinds[timeline.Leader]) == 0 {
		for _, c := range j.roleClaims() {
			e := c.e
			e.At, e.Node = c.at, c.node
			add(e)
		}
	}
	switch {
	case len(own) > 0:
		return j.wide(firstSign(own))
	case len(all) > 0:
		return j.wide(firstSign(all))
	case j.in.Untold[untoldRoles] != "":
		return none("%s", j.in.Untold[untoldRoles])
	case j.failedOver():
		return none("no observer saw the new claim")
	}
	return none("%s", j.outcome)
}

// findFirstAck finds the first acknowledgement through the endpoint: of the new
// lineage if there is one, else the first that was sent after the effect.
func (j *judge) findFirstAck(acks []ack) instant {
	for _, a := range acks {
		if clientClass(a.by) != "" {
			return j.wide(instant{at: a.at, events: a.events, ok: true})
		}
	}
	var best instant
	for _, by := range j.writers() {
		if clientClass(by) == "" {
			continue
		}
		for _, r := range j.writes(by) {
			if i := j.ackAfter(r); i.ok && (!best.ok || i.at.Hi < best.at.Hi) {
				best = i
			}
		}
	}
	if !best.ok {
		return none("no client write was acknowledged after the effect")
	}
	return j.wide(best)
}

// ackAfter bounds the first success of a run that was sent after the effect.
func (j *judge) ackAfter(r run) instant {
	t := j.main.at
	switch {
	case !success(r.value()) || r.latest.At.Lo < t.Hi:
		return instant{}
	case r.first.At.Lo >= t.Hi:
		return at(r.first.At, r.first)
	}
	// The run spans the effect: the next success came within its longest gap.
	return at(timeline.Interval{Lo: t.Lo, Hi: min(t.Hi+r.gap, r.latest.At.Hi)}, r.first, r.latest)
}

func (j *judge) epochChanges() int {
	seen := map[string]bool{}
	for _, by := range j.writers() {
		for _, r := range j.writes(by) {
			if success(r.value()) && r.first.Epoch != "" {
				seen[r.first.Epoch] = true
			}
		}
	}
	if len(seen) > 0 {
		return len(seen) - 1
	}
	return max(0, len(j.moves)-1)
}

func (i instant) String() string {
	if !i.ok {
		return i.why
	}
	return fmt.Sprintf("[%.3f s, %.3f s]", i.at.Lo.Seconds(), i.at.Hi.Seconds())
}
