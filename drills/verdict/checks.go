package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// judgeValidity collects why the drill did not happen as declared.
func (j *judge) judgeValidity() {
	var why []string
	add := func(k timeline.Kind, say func(timeline.Event) string) {
		for _, e := range j.kinds[k] {
			why = append(why, say(e))
			j.finding(Finding{Objective: "validity", Want: "the drill happens as declared", Got: say(e), Outcome: Informational}, of(e))
		}
	}
	add(timeline.Unsteady, func(e timeline.Event) string { return "the system was not steady: " + e.Value })
	add(timeline.FaultNoEffect, func(e timeline.Event) string {
		return strings.TrimSuffix(fmt.Sprintf("no effect of %s on %s was proven: %s", e.By, e.Node, e.Evidence), ": ")
	})
	add(timeline.FaultHole, func(e timeline.Event) string {
		return fmt.Sprintf("the fault on %s was found gone while it was held, within [%s, %s]", e.Node, wordsOf(e.At.Lo), wordsOf(e.At.Hi))
	})
	for _, f := range j.faults {
		if f.injected != nil && f.effect == nil && f.noEffect == nil {
			why = append(why, fmt.Sprintf("nothing says that %s on %s took effect", f.kind, f.node))
		}
	}
	if len(why) == 0 && !j.from.ok {
		why = append(why, "no fault was made")
	}
	j.invalid = append(why, j.invalid...)
	j.judgePhase()
	if len(j.invalid) == 0 {
		j.invalid = append(j.invalid, j.notSettled()...)
	}
}

// notSettled says that service was back for too short a time before the window
// ended to be called recovered.
func (j *judge) notSettled() []string {
	lasts := j.in.Window.StableFor
	if !j.from.ok || len(j.clients) == 0 {
		return nil
	}
	back, by := j.from.at.Hi, "the effect"
	for _, v := range j.clients {
		for _, o := range v.outages {
			if o.after != nil && o.span.Hi > back && !j.afterthought(o) {
				back, by = o.span.Hi, "the last outage of "+v.by
			}
		}
	}
	if left := max(j.end, j.sent) - back; left < lasts {
		return []string{fmt.Sprintf("window too short: it ended %s after %s, and recovery has to last %s", wordsOf(left), by, wordsOf(lasts))}
	}
	return nil
}

// afterthought says of a pause that it came when service had been back and stable
// for its time, and that it is not the longest: it is told as what it is, and does
// not unsay the recovery before it.
func (j *judge) afterthought(o outage) bool {
	if j.m.Stable == nil || o.span.Lo < j.from.at.Hi+timeline.FromMS(j.m.Stable.HiMS)+j.in.Window.StableFor {
		return false
	}
	for _, v := range j.clients {
		for _, other := range v.outages {
			if other.span.Hi < o.span.Lo && other.span.Width() > o.span.Width() {
				return true
			}
		}
	}
	return false
}

// judgeStale judges stale reads, which nothing watches yet.
func (j *judge) judgeStale() {
	if want := j.in.Objectives.StaleReads; want == nil || !bool(*want) {
		return
	}
	j.finding(Finding{Objective: "stale_reads", Want: "never", Got: "not measured", Outcome: Unproven, Text: j.m.Reasons["stale_reads"]})
}

// judgeLate judges unknown writes that were absent in one audit and present in a
// later one.
func (j *judge) judgeLate() {
	l, late := j.m.Loss, j.kinds[timeline.Late]
	declared := j.in.Objectives.LateWrites != nil && bool(*j.in.Objectives.LateWrites)
	var n int64
	if l != nil {
		n = l.Late
	}
	n = max(n, int64(len(late)))
	f := Finding{Objective: "late_writes", Want: "never", Got: fmt.Sprintf("%d writes", n)}
	switch {
	case n > 0 && declared:
		f.Outcome, f.Text = Missed, "absent in one audit and present in a later one: "+ids(late)
	case n > 0:
		j.warn(Finding{Objective: "late_writes", Want: "no write turns up later", Got: f.Got,
			Text: "absent in one audit and present in a later one: " + ids(late)}, of(late...))
		return
	case !declared:
		return
	case l == nil || j.m.Reasons["loss"] != "":
		f.Outcome, f.Got, f.Text = Unproven, "not measured", j.m.Reasons["loss"]
	default:
		f.Outcome, f.Events = Met, l.Events
	}
	j.finding(f, of(late...))
}

// ids names the first few writes of a list.
func ids(es []timeline.Event) string {
	const some = 5
	var out []string
	for i, e := range es {
		if i == some {
			return strings.Join(out, ", ") + fmt.Sprintf(" and %d more", len(es)-some)
		}
		out = append(out, e.Value)
	}
	return strings.Join(out, ", ")
}

// judgeWrites tells of writes that are not what their class demands: found
// although refused, found twice, acknowledged with less durability, or back
// after having been missed.
func (j *judge) judgeWrites() {
	if p := j.kinds[timeline.Phantom]; len(p) > 0 {
		j.warn(Finding{Objective: "phantom", Want: "a refused write is absent", Got: fmt.Sprintf("%d found", len(p)),
			Text: ids(p)}, of(p...))
	}
	if d := j.kinds[timeline.Duplicate]; len(d) > 0 {
		j.warn(Finding{Objective: "duplicate", Want: "each write once", Got: fmt.Sprintf("%d found more than once", len(d)),
			Text: ids(d)}, of(d...))
	}
	l := j.m.Loss
	if l != nil && l.Degraded > 0 {
		j.warn(Finding{Objective: "acked_degraded", Want: "the configured durability", Got: fmt.Sprintf("%d writes were acknowledged with less", l.Degraded),
			Text: fmt.Sprintf("%d of them were lost; the system said: %s", l.LostDegraded, j.degradedCause())}, l.Events)
	}
	a1, a2 := j.audit("A1"), j.audit("A2")
	switch {
	case a1 == nil || a2 == nil || a1.Lost == a2.Lost:
	case a1.Lost > a2.Lost:
		j.warn(Finding{Objective: "resurrected", Want: "what is lost stays lost", Got: fmt.Sprintf("%d lost before the rejoin, %d after it", a1.Lost, a2.Lost)}, of(a1.e, a2.e))
	default:
		j.warn(Finding{Objective: "erased", Want: "a rejoin erases nothing", Got: fmt.Sprintf("%d lost before the rejoin, %d after it", a1.Lost, a2.Lost)}, of(a1.e, a2.e))
	}
	j.judgeReplicas(a2)
}

// judgeReplicas compares the audits of replicas with that of the primary.
func (j *judge) judgeReplicas(a2 *audit) {
	for _, e := range j.kinds[timeline.Audit] {
		r := audit{e: e}
		if e.Value != "A3" || a2 == nil || r.decode() != nil || r.Lost == a2.Lost {
			continue
		}
		j.warn(Finding{Objective: "replica", Want: "the same rows as the primary", Got: fmt.Sprintf("%s misses %d acknowledged writes, the primary %d", e.Node, r.Lost, a2.Lost)}, of(e, a2.e))
	}
}

// judgeTool tells of what dapple itself did not see well.
func (j *judge) judgeTool() {
	if stalls := j.tellStalls(); len(stalls) > 0 {
		j.warn(Finding{Objective: "stall", Want: "the runner is never held up", Got: fmt.Sprintf("%d times, up to %s", len(stalls), wordsOf(j.longestStall())),
			Text: "the intervals that they touch were widened"}, stalls)
	}
	unknown := map[string][]int{}
	for _, e := range j.events {
		if !known(e.Kind) {
			unknown[string(e.Kind)] = append(unknown[string(e.Kind)], e.I)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(unknown)) {
		j.warn(Finding{Objective: "timeline", Want: "events that this dapple knows", Got: fmt.Sprintf("%d of kind %q", len(unknown[k]), k),
			Text: "judge the record again with the dapple that wrote it"}, unknown[k])
	}
}

func known(k timeline.Kind) bool { return slices.Contains(timeline.Kinds(), k) }
