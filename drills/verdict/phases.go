package verdict

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// measurePhases measures the parts of the failover.
func (j *judge) measurePhases() {
	j.part("detection", j.main, j.detected)
	j.part("election", j.detected, j.elected)
	j.part("promotion", j.elected, j.promoted)
	j.part("routing", j.promoted, j.firstAck)
}

// part is the metric from one instant to the next, or the reason why there is
// none.
func (j *judge) part(name string, from, to instant) {
	var m *Metric
	switch d := to.at.Sub(from.at); {
	case !from.ok && !j.from.ok:
		j.m.Reasons[name] = "no fault was made"
	case !to.ok:
		j.m.Reasons[name] = to.why
	case !from.ok:
		j.m.Reasons[name] = "it begins at what was not seen: " + from.why
	case d.Hi < 0:
		j.m.Reasons[name] = "its end was before its beginning: see the finding order"
	default:
		m = &Metric{LoMS: timeline.MS(max(0, d.Lo)), HiMS: timeline.MS(d.Hi), Events: indexes(from.events, to.events)}
	}
	for _, n := range j.m.all() {
		if n.name == name {
			*n.m = m
		}
	}
}

// judgeOrder checks t_effect ≤ t_detect ≤ t_elect ≤ t_promote ≤ t_first_ack within
// the widths. A violation means that something was misunderstood. Where the role
// stayed, the old primary may serve before anybody notices, and all along: then the
// first write is not part of the order.
func (j *judge) judgeOrder() {
	type named struct {
		name string
		i    instant
	}
	order := []named{{"detection", j.detected}, {"election", j.elected}, {"promotion", j.promoted}}
	if j.failedOver() {
		order = append(order, named{"first write", j.firstAck})
	}
	last := named{"effect", j.main}
	for _, x := range order {
		if !x.i.ok {
			continue
		}
		if last.i.ok && last.i.at.Lo > x.i.at.Hi+j.in.ClockEps {
			j.finding(Finding{
				Objective: "order", Want: "effect, detection, election, promotion, first write, in this order", Outcome: Unproven,
				Got: fmt.Sprintf("%s %s after %s %s", last.name, last.i, x.name, x.i), Text: "the observations contradict each other",
			}, last.i.events, x.i.events)
		}
		last = x
	}
}

// slowPromotion is how much later than its promotion a node may take the first
// write before it is worth telling.
const slowPromotion = time.Second

// judgePromotionSource checks t_promote against the independent source: a node
// cannot have acknowledged before it was promoted.
func (j *judge) judgePromotionSource() {
	node := j.promotedNode()
	if !j.promoted.ok || node == "" {
		return
	}
	for _, e := range j.kinds[timeline.Promoted] {
		if e.Node != node || e.At.Hi < j.since() {
			continue
		}
		got := fmt.Sprintf("promoted within [%s, %s] by %s, first direct write acknowledged within %s", wordsOf(e.At.Lo), wordsOf(e.At.Hi), cmp.Or(e.By, "its source"), j.promoted)
		switch {
		case j.promoted.at.Hi+j.in.ClockEps < e.At.Lo:
			j.finding(Finding{Objective: "promotion_source", Want: "promotion before the first acknowledged write", Got: got, Outcome: Unproven,
				Text: "the independent source contradicts the probes"}, j.promoted.events, of(e))
		case j.promoted.at.Lo-e.At.Hi > slowPromotion:
			j.warn(Finding{Objective: "promotion_source", Want: "writes as soon as promoted", Got: got}, j.promoted.events, of(e))
		}
		return
	}
}

// judgeFailover compares the author's expectation with what came.
func (j *judge) judgeFailover() {
	if len(j.moves) > 2 {
		j.warn(Finding{Objective: "flapping", Want: "the primary role moves once", Got: strings.Join(j.moves, " → ")}, j.moveEvents())
	}
	want := j.in.Failover
	if want == nil {
		if j.failedOver() && !j.faulty(j.oldNode) {
			j.warn(Finding{Objective: "false_failover", Want: "no failover: the fault was not on the primary", Got: j.outcome}, j.moveEvents())
		}
		return
	}
	f := Finding{Objective: "failover", Want: map[bool]string{true: "yes", false: "no"}[*want], Got: j.outcome, Outcome: Met, Events: j.moveEvents()}
	switch {
	case !j.from.ok || strings.HasPrefix(j.outcome, "unknown") || j.in.MultiPrimary:
		f.Outcome = Unproven
	case !j.failedOver() && j.windowGap() != "":
		f.Outcome, f.Text = Unproven, j.windowGap()
		j.invalid = append(j.invalid, f.Text+": that no failover came in it proves nothing")
	case *want && !j.failedOver():
		f.Outcome, f.Text = Missed, "the drill did not exercise what it declares"
		for _, e := range j.kinds[timeline.Restarted] {
			if e.At.Hi >= j.since() {
				f.Text += fmt.Sprintf("; %s was restarted by %s", e.Node, e.Value)
				f.Events = indexes(f.Events, of(e))
			}
		}
	case !*want && j.failedOver():
		f.Outcome, f.Text = Missed, "a false failover: the role moved although it was not to"
	}
	j.finding(f)
}

// moveEvents are the events that show through which nodes the role went; without
// any move those that show who was primary.
func (j *judge) moveEvents() []int {
	out := [][]int{j.elected.events}
	if len(j.kinds[timeline.Leader]) > 0 {
		for _, e := range j.leaderChanges() {
			out = append(out, of(e))
		}
	} else {
		for _, c := range j.roleClaims() {
			out = append(out, of(c.e))
		}
	}
	if s, ok := j.stateAt(timeline.Role, "role/"+j.oldNode, j.end); ok {
		out = append(out, of(s.first, s.last))
	}
	return indexes(append(out, j.from.events)...)
}

// judgeDetection judges the detection time. That the system gave no sign proves
// nothing against it: the probes may not see the signs that it gives.
func (j *judge) judgeDetection() {
	if j.nothingToDetect() {
		j.finding(Finding{
			Objective: "detection", Want: "≤ " + wordsOf(j.in.Objectives.Detection.D()), Got: "nothing to detect", Outcome: Informational,
			Text: "no failover was expected, none came, and no client was without service", Events: j.moveEvents(),
		})
		return
	}
	j.judgeTime("detection", j.in.Objectives.Detection)
}

// nothingToDetect says whether the fault stayed below what the system has to
// notice: the author expects no failover, none came, no client had a failure, and
// the system was silent. A null control is such a drill.
func (j *judge) nothingToDetect() bool {
	if j.in.Objectives.Detection == nil || j.in.Failover == nil || *j.in.Failover || j.detected.ok || j.outcome != "no failover" {
		return false
	}
	for _, o := range j.m.Outages {
		if o.LoMS > 0 {
			return false
		}
	}
	return true
}
