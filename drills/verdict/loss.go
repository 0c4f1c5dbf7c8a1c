package verdict

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// enoughAtRisk is how many writes must have been acknowledged in the last second
// before the effect for "nothing was lost" to say anything (measurement rules,
// section 6).
const enoughAtRisk = 100

// listedLost is how many lost ids a record lists itself.
const listedLost = 1000

// An audit is one look for every write from the client endpoint.
type audit struct {
	timeline.Audited
	e timeline.Event
}

// audit returns the last audit of that name from the client endpoint that counts:
// one that began while clients still wrote does not. It is nil if there is none.
func (j *judge) audit(name string) *audit {
	for _, e := range slices.Backward(j.kinds[timeline.Audit]) {
		a := audit{e: e}
		if e.Value == name && e.Node == "" && !j.early(e) && a.decode() == nil {
			return &a
		}
	}
	return nil
}

func (a *audit) decode() error { return json.Unmarshal(a.e.Data, &a.Audited) }

// early says whether an audit began before every write had its reply: what was
// still under way is then missing without being lost.
func (j *judge) early(e timeline.Event) bool { return e.At.Lo < j.answered }

// lostWrites are the acknowledged writes that an audit which counts did not
// find, each once, by the time of their acknowledgement.
func (j *judge) lostWrites() []timeline.Event {
	tooEarly := map[string]bool{}
	for _, e := range j.kinds[timeline.Audit] {
		if j.early(e) {
			tooEarly[e.Value] = true
		}
	}
	var out []timeline.Event
	seen := map[string]bool{}
	for _, e := range j.kinds[timeline.Lost] {
		name, _, _ := strings.Cut(e.Evidence, " ")
		if seen[e.Value] || tooEarly[strings.TrimRight(name, ":,;")] {
			continue
		}
		seen[e.Value] = true
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b timeline.Event) int { return cmp.Compare(a.At.Hi, b.At.Hi) })
	return out
}

// measureLoss fills in what the audits found. The last audit's counts hold, but
// a write that any of them missed is lost: it was not there when it was asked
// for.
func (j *judge) measureLoss() {
	done := []audit{}
	for _, name := range []string{"A1", "A2"} {
		if a := j.audit(name); a != nil {
			done = append(done, *a)
		}
	}
	lost := j.lostWrites()
	if len(done) == 0 && len(lost) == 0 {
		j.m.Reasons["loss"] = j.whyNoAudit()
		return
	}
	var last audit
	if len(done) > 0 {
		last = done[len(done)-1]
	}
	l := &Loss{
		Acked: last.Acked, Degraded: last.Audited.Degraded, Unknown: last.Unknown, Failed: last.Failed,
		Recovered: last.Recovered, Absent: last.Absent,
		Lost: int64(len(lost)), Late: int64(len(j.kinds[timeline.Late])),
	}
	for _, a := range done {
		l.Lost, l.LostDegraded = max(l.Lost, a.Lost), max(l.LostDegraded, a.LostDegr)
		l.Late, l.Phantom, l.Duplicate = max(l.Late, a.Late), max(l.Phantom, a.Phantom), max(l.Duplicate, a.Duplicate)
		l.LostIDsFile = cmp.Or(a.LostFile, l.LostIDsFile)
		l.Events = append(l.Events, a.e.I)
	}
	if r := j.kinds[timeline.AtRisk]; len(r) > 0 {
		l.AtRisk = r[0].N
		l.Events = append(l.Events, r[0].I)
	}
	for i, e := range lost {
		l.Events = append(l.Events, e.I)
		if i < listedLost {
			l.LostIDs = append(l.LostIDs, e.Value)
		}
	}
	l.Events = indexes(l.Events)
	j.splitLoss(l, lost)
	j.rpo(l, lost, last)
	j.m.Loss = l
	if why := j.undecided(); why != "" {
		j.m.Reasons["loss"] = why
	}
}

func (j *judge) whyNoAudit() string {
	if all := j.kinds[timeline.Audit]; len(all) > 0 {
		return "audit " + all[0].Value + " began while writes were still under way: what it missed is not lost"
	}
	return "no audit was done"
}

// undecided says why the audits do not prove that nothing else was lost, or "".
// Both have to have been done, and have to have decided every unknown write.
func (j *judge) undecided() string {
	a1, a2 := j.audit("A1"), j.audit("A2")
	early := slices.ContainsFunc(j.kinds[timeline.Audit], j.early)
	switch {
	case a1 == nil && early:
		return j.whyNoAudit()
	case a1 == nil:
		return "audit A1 was not done"
	case a2 == nil:
		return "audit A2 was not done: nothing was looked for again after the rejoin"
	}
	for _, a := range []*audit{a1, a2} {
		if a.Recovered+a.Absent < a.Unknown && a.Recovered+a.Absent+a.Late < a.Unknown {
			return fmt.Sprintf("audit %s decided %d of %d unknown writes", a.e.Value, a.Recovered+a.Absent, a.Unknown)
		}
	}
	return ""
}

// splitLoss tells replication loss, acknowledged before the new primary took
// writes, from split-brain loss. What is not listed in the timeline is counted
// with the former: it is there that a lot is lost at once.
func (j *judge) splitLoss(l *Loss, lost []timeline.Event) {
	for _, e := range lost {
		if j.promoted.ok && e.At.Hi > j.promoted.at.Hi {
			l.LostAfterPromote++
		}
	}
	l.LostBeforePromote = l.Lost - l.LostAfterPromote
	if n := l.Lost - int64(len(lost)); n > 0 && len(lost) > 0 {
		j.m.Reasons["lost_before_promote"] = fmt.Sprintf("%d lost writes are not in the timeline and are counted here", n)
	}
}

// rpo bounds the age of the oldest loss: from the acknowledgement of the earliest
// lost write, at most from that of the latest survivor before it, to the last
// acknowledgement of the old lineage.
func (j *judge) rpo(l *Loss, lost []timeline.Event, a audit) {
	if len(lost) == 0 {
		return
	}
	first := lost[0].At
	last := first
	for _, e := range lost {
		last = later(last, e.At)
	}
	for _, x := range j.lineages() {
		if x.key != lostKey(lost[0], j.epochOnly()) {
			continue
		}
		for _, e := range x.acks {
			last = later(last, e.At)
		}
	}
	from := first
	if len(a.SurvivorMS) == 2 {
		from.Lo = min(from.Lo, timeline.FromMS(a.SurvivorMS[0]))
	}
	l.RPOLoMS = timeline.MS(max(0, last.Lo-first.Hi))
	l.RPOHiMS = timeline.MS(max(0, last.Hi-from.Lo))
}

func lostKey(e timeline.Event, epochOnly bool) string {
	if epochOnly {
		return "@" + e.Epoch
	}
	return nodeOf(e) + "@" + e.Epoch
}

func later(a, b timeline.Interval) timeline.Interval {
	if b.Hi > a.Hi {
		return b
	}
	return a
}

func (j *judge) judgeRPO() {
	want := j.in.Objectives.RPO
	l := j.m.Loss
	if want == nil || want.Writes == nil && want.Age == nil {
		j.reportLoss(l)
		return
	}
	f := Finding{Objective: "rpo", Got: "not measured", Outcome: Unproven, Text: j.m.Reasons["loss"]}
	if want.Writes != nil {
		f.Want = fmt.Sprintf("≤ %d writes", *want.Writes)
	} else {
		f.Want = "≤ " + wordsOf(*want.Age)
	}
	if l == nil || !j.from.ok {
		if !j.from.ok {
			f.Text = "no fault was made"
		}
		j.finding(f)
		return
	}
	f.Got, f.Events = lossWords(l), l.Events
	over, under := l.exceeds(want.Writes, want.Age)
	switch {
	case over:
		f.Outcome, f.Text = Missed, j.lossText(l)
	case j.m.Reasons["loss"] != "":
	case len(j.kinds[timeline.AtRisk]) == 0:
		f.Text = "how much was at risk was not counted"
	case l.AtRisk < enoughAtRisk:
		f.Text = fmt.Sprintf("nothing was at risk: %d writes were acknowledged in the last second before the effect, and %d are needed; raise the workload's rate", l.AtRisk, enoughAtRisk)
	case under:
		f.Outcome = Met
	default:
		f.Text = "the age of the oldest loss is too coarse to tell"
	}
	j.finding(f)
}

// exceeds says whether the loss is certainly above, or certainly not above, what
// is tolerated.
func (l *Loss) exceeds(writes *int64, age *time.Duration) (over, under bool) {
	if writes != nil {
		return l.Lost > *writes, l.Lost <= *writes
	}
	limit := timeline.MS(*age)
	return l.RPOLoMS > limit, l.RPOHiMS <= limit
}

func lossWords(l *Loss) string {
	if l.Lost == 0 {
		return "0 writes"
	}
	return fmt.Sprintf("%d writes, the oldest %s old", l.Lost, span(l.RPOLoMS, l.RPOHiMS))
}

func (j *judge) lossText(l *Loss) string {
	parts := []string{fmt.Sprintf("%d acknowledged before the new primary took writes (replication loss), %d after (split-brain loss)", l.LostBeforePromote, l.LostAfterPromote)}
	if l.LostDegraded > 0 {
		parts = append(parts, fmt.Sprintf("%d of them were acknowledged with weaker durability than configured: %s", l.LostDegraded, j.degradedCause()))
	}
	return strings.Join(parts, "; ")
}

// degradedCause is what the system said to writes that it acknowledged with
// weaker durability.
func (j *judge) degradedCause() string {
	var said []string
	for _, by := range j.writers() {
		for _, r := range j.writes(by) {
			if r.value() == "acked-degraded" && !slices.Contains(said, r.first.Evidence) {
				said = append(said, r.first.Evidence)
			}
		}
	}
	slices.Sort(said)
	return cmp.Or(strings.Join(said, "; "), "the timeline does not say why")
}

func (j *judge) reportLoss(l *Loss) {
	f := Finding{Objective: "rpo", Want: "not declared", Got: "not measured", Outcome: Informational, Text: j.m.Reasons["loss"]}
	if l != nil {
		f.Got, f.Events = lossWords(l), l.Events
		if l.Lost > 0 {
			f.Text = j.lossText(l)
		}
	}
	j.finding(f)
}
