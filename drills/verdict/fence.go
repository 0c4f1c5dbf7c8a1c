package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// measureFence measures the fence lag: from when the new primary took writes
// until the old one could acknowledge on no session any more.
func (j *judge) measureFence() {
	switch {
	case !j.from.ok, !j.promoted.ok:
		j.m.Reasons["fence_lag"] = cmp.Or(j.promoted.why, "no fault was made")
		return
	case j.oldNode == "" && !j.epochOnly():
		j.m.Reasons["fence_lag"] = "nothing told who was primary before the fault"
		return
	case !j.failedOver() && !j.epochOnly():
		j.m.Reasons["fence_lag"] = j.outcome
		return
	}
	fence, events, why := j.fenced()
	if why != "" {
		j.m.Reasons["fence_lag"] = why
		return
	}
	d := fence.Sub(j.promoted.at)
	j.m.FenceLag = &Metric{LoMS: timeline.MS(d.Lo), HiMS: timeline.MS(d.Hi), Events: indexes(events, j.promoted.events)}
	for _, r := range j.reverts {
		if r.Node == j.oldNode && r.At.Lo <= fence.Hi && j.deadSince(j.oldNode) == nil {
			j.m.FenceLag.Censored = true // it acknowledged until we took the fault back
		}
	}
}

// fenced bounds when the old primary was fenced: at the effect if that killed
// it, else after its last acknowledgement on the old lineage.
func (j *judge) fenced() (timeline.Interval, []int, string) {
	var old *lineage
	for _, l := range j.lineages() {
		mine := l.node == j.oldNode || j.epochOnly()
		if mine && !j.isNew(l.firstBack) && (old == nil || l.lastSent.At.Lo > old.lastSent.At.Lo) {
			old = l
		}
	}
	if dead := j.deadSince(j.oldNode); dead != nil && (old == nil || old.lastSent.At.Lo <= dead.At.Hi) {
		return dead.At, of(*dead), ""
	}
	if old == nil {
		return timeline.Interval{}, nil, "the old primary was not seen to acknowledge"
	}
	return j.fencedAfter(old, old.lastSent), of(old.lastSent), ""
}

// fencedAfter bounds when no session of the lineage's node could acknowledge any
// more, a being its last acknowledgement: after a was sent, and not after each
// of the node's sessions had sent something that was not acknowledged on it.
func (j *judge) fencedAfter(l *lineage, a timeline.Event) timeline.Interval {
	at := timeline.Interval{Lo: a.At.Lo, Hi: a.At.Hi}
	streams := 0
	for _, by := range j.writers() {
		class, node, _ := strings.Cut(by, "/")
		if class != "old" && class != "direct" || l.node != "" && node != l.node || l.node == "" && node != j.oldNode {
			continue
		}
		streams++
		at.Hi = max(at.Hi, j.refusedAfter(by, l, a.At.Lo))
	}
	if streams == 0 {
		at.Hi = max(at.Hi, j.end)
	}
	return j.wide(instant{at: at, ok: true}).at
}

// refusedAfter is when a stream had its first attempt after t that was not
// acknowledged on the lineage; its connection's end counts as one. An attempt
// that hung was not served from when it was sent. Of a run only the ends are known,
// but no time in it was longer than its gap without an attempt that came back.
func (j *judge) refusedAfter(by string, l *lineage, t time.Duration) time.Duration {
	last := t
	for _, r := range j.writes(by) {
		if success(r.value()) && r.first.Epoch == l.epoch {
			last = max(last, r.latest.At.Lo)
		}
	}
	best := max(j.end, last)
	for _, r := range j.writes(by) {
		if success(r.value()) && r.first.Epoch == l.epoch {
			continue
		}
		for _, e := range r.events() {
			if e.At.Lo >= last && !unsent(e) {
				best = min(best, e.At.Hi, e.At.Lo+late(e)+timeline.Pause)
			}
		}
		if r.earliest.At.Lo <= last && last+r.gap <= r.latest.At.Lo && r.gap > 0 {
			best = min(best, last+r.gap)
		}
	}
	for _, e := range j.kinds[timeline.SessionEnd] {
		if e.By == by && e.At.Hi >= last {
			best = min(best, e.At.Hi)
		}
	}
	return best
}

// deadSince returns the effect of a fault that is the death of every server
// process of the node, if there was one.
func (j *judge) deadSince(node string) *timeline.Event {
	for _, f := range j.faults {
		if f.node == node && node != "" && f.effect != nil && j.in.NodeDead[f.key] {
			return f.effect
		}
	}
	return nil
}

// formerPrimaries are the nodes that were primary before the fault or claimed to
// be since, but for the last one.
func (j *judge) formerPrimaries() []string {
	seen := []string{}
	add := func(n string) {
		if n != "" && !slices.Contains(seen, n) {
			seen = append(seen, n)
		}
	}
	for _, n := range j.moves {
		add(n)
	}
	for _, c := range j.roleClaims() {
		add(c.node)
	}
	last := j.oldNode
	if len(j.moves) > 0 {
		last = j.moves[len(j.moves)-1]
	}
	return slices.DeleteFunc(seen, func(n string) bool { return n == last })
}

// unprovenAbsence lists why it is not proven that no two nodes took writes at
// once (measurement rules, section 7): empty if it is.
func (j *judge) unprovenAbsence() []string {
	switch {
	case !j.from.ok:
		return []string{"no fault was made"}
	case j.in.MultiPrimary:
		return j.unprovenComponents()
	case j.oldNode == "":
		return []string{"nothing told who was primary before the fault"}
	}
	var gaps []string
	if w := j.windowGap(); w != "" {
		gaps = append(gaps, w)
	}
	if j.split.close {
		gaps = append(gaps, "an acknowledgement of each side is within the bound of the clocks")
	}
	former := j.formerPrimaries()
	for _, n := range j.nodes {
		looks := segments(j.streams[string(timeline.Role)+" role/"+n])
		switch {
		case slices.Contains(former, n):
			gaps = append(gaps, j.unprovenFence(n)...)
		case len(looks) > 0:
			j.split.events = append(j.split.events, looks[0].first.I, looks[len(looks)-1].last.I)
		case !j.epochOnly():
			gaps = append(gaps, "nobody asked "+n+" for its role")
		}
	}
	if len(j.nodes) == 0 {
		gaps = append(gaps, "no node was watched")
	}
	return gaps
}

func (j *judge) unprovenComponents() []string {
	for _, l := range j.lineages() {
		if l.epoch != "" {
			return nil
		}
	}
	return []string{"no write told which component took it"}
}

// windowGap says that the window was too short for what did not happen in it to
// prove anything: shorter than the longest that the settings predict.
func (j *judge) windowGap() string {
	need := j.in.Window.StableFor
	for _, x := range j.in.Expectation {
		need = max(need, timeline.FromMS(x.MaxMS))
	}
	if got := j.end - j.from.at.Hi; got < need {
		return fmt.Sprintf("the window was too short: %s after the effect, of %s", wordsOf(max(got, 0)), wordsOf(need))
	}
	return ""
}

// unprovenFence lists why it is not proven that a former primary did not take
// writes beside the new one.
func (j *judge) unprovenFence(node string) []string {
	var gaps []string
	if dead := j.deadSince(node); dead != nil {
		j.split.events = append(j.split.events, dead.I)
	} else {
		gaps = append(gaps, j.oldSessionGap(node)...)
	}
	back, given := j.backEvent(node)
	if !given {
		return gaps
	}
	follows, ok := j.followsAfter(node, back.At.Lo)
	if !ok {
		return append(gaps, node+" was not seen to follow the new lineage after it came back")
	}
	j.split.events = append(j.split.events, back.I, follows.I)
	between := timeline.Interval{Lo: back.At.Lo, Hi: follows.At.Hi}
	if !j.lookedWithin(timeline.Role, "role/"+node, between) {
		gaps = append(gaps, "nobody asked "+node+" for its role between its coming back and its following")
	}
	if !j.lookedWithin(timeline.Write, "direct/"+node, between) {
		gaps = append(gaps, "no direct write was tried on "+node+" between its coming back and its following")
	}
	return gaps
}

// oldSessionGap says why the session that was opened on the node before the
// fault does not prove anything, if so: it has to be alive until the revert.
func (j *judge) oldSessionGap(node string) []string {
	by := "old/" + node
	rs := j.writes(by)
	until := j.end
	for _, r := range j.reverts {
		until = min(until, r.At.Lo)
	}
	for _, e := range j.kinds[timeline.SessionEnd] {
		if e.By == by && e.At.Hi < until {
			return []string{fmt.Sprintf("the old session on %s ended at %s, before the revert: whether others could still write is not known", node, wordsOf(e.At.Hi))}
		}
	}
	if len(rs) == 0 {
		return []string{"there was no old session on " + node}
	}
	first, last := rs[0].earliest, rs[0].latest
	for _, r := range rs {
		for _, e := range r.events() {
			if e.At.Lo < first.At.Lo {
				first = e
			}
			if e.At.Hi > last.At.Hi {
				last = e
			}
		}
	}
	switch {
	case first.At.Lo > j.from.at.Lo:
		return []string{"the old session on " + node + " was not opened before the fault"}
	case last.At.Hi < until:
		return []string{fmt.Sprintf("the old session on %s was last heard of at %s, before the revert", node, wordsOf(last.At.Hi))}
	}
	j.split.events = append(j.split.events, first.I, last.I)
	return nil
}

// followsAfter is the first look after t at which the node followed.
func (j *judge) followsAfter(node string, t time.Duration) (timeline.Event, bool) {
	for _, r := range j.streams[string(timeline.Member)+" member/"+node] {
		if r.value() != "following" {
			continue
		}
		for _, e := range []timeline.Event{r.first, r.latest} {
			if e.At.Lo >= t {
				return e, true
			}
		}
	}
	return timeline.Event{}, false
}

// justAfter is how much later than a node's following a look at it still counts
// as one from before: where it follows at once, nothing can come in between.
const justAfter = time.Second

// lookedWithin says whether a stream has a result that came within at, or just
// after; it is then part of the evidence.
func (j *judge) lookedWithin(k timeline.Kind, by string, at timeline.Interval) bool {
	for _, r := range j.streams[string(k)+" "+by] {
		if r.first.At.Lo <= at.Hi+justAfter && r.latest.At.Hi >= at.Lo {
			j.split.events = append(j.split.events, r.first.I, r.latest.I)
			return true
		}
	}
	return false
}
