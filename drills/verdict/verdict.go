// Package verdict says what a timeline proves.
//
// It is pure: the same timeline, objectives and settings always give the same
// verdict, in whatever order the events stand, so that an old record can be
// judged again. Its rules are those of docs (measurement): every number is an
// interval with the events that prove it; what is not proven is inconclusive or
// invalid, and never a pass; what is proven to be missed is never hidden.
//
// It does not observe, does not know what kind of system it judges, and imports
// no package that does input or output.
package verdict

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// Judge returns all that the timeline of one trial proves, and the verdict on it
// by the precedence of the contract: fail, aborted, invalid, inconclusive, pass.
func Judge(in Input) Trial {
	j := read(in)
	j.find()
	t := Trial{
		N: in.N, Phase: in.Phase, Expect: Expect{Failover: in.Failover},
		Faults: j.reportFaults(), Restarts: j.reportRestarts(), Leftovers: j.reportLeftovers(),
	}
	j.t = &t
	j.m = &t.Metrics
	j.m.Reasons = map[string]string{}
	j.measure()
	j.judge()
	t.Training = j.training()
	t.Expect.Outcome = j.outcome
	t.Findings = j.findings
	t.Verdict, t.Reason = j.verdict()
	t.tidy()
	return t
}

// A judge holds what is read off the timeline while it is judged. The methods
// run in the order of Judge: read, find (instants), measure (metrics), judge
// (findings).
type judge struct {
	facts
	t        *Trial
	m        *Metrics
	findings []Finding
	invalid  []string // why the trial did not happen as declared

	detected, elected, promoted, firstAck instant
	outcome                               string   // of the failover, in words
	moves                                 []string // the primaries, beginning with the one before the fault
	clients                               []clientView
	split                                 split
	stalled                               map[int]bool       // stalls that widened something
	base                                  *baseline          // nil: not computed yet
	bounds                                map[string]*Metric // of what has not come: it takes at least so long
}

// measure fills in the metrics.
func (j *judge) measure() {
	j.measurePhases()
	j.measureOutages()
	j.measureLoad()
	j.measureLoss()
	j.measureSplit()
	j.measureBack()
	j.measureHealth()
	j.m.EpochChanges = j.epochChanges()
	j.m.StaleReads = nil
	j.m.Reasons["stale_reads"] = "no probe reads in this trial"
	j.m.Tool = Tool{ProbeStallMS: timeline.MS(j.longestStall()), ClockEpsMS: timeline.MS(j.in.ClockEps)}
	j.m.Expectation = j.compareExpectation()
	j.giveReasons()
}

// giveReasons says of what was not measured, and cannot be on this system, why it
// cannot.
func (j *judge) giveReasons() {
	for _, m := range j.m.all() {
		if why := j.in.Untold[m.name]; why != "" && *m.m == nil && j.from.ok {
			j.m.Reasons[m.name] = why
		}
	}
	if why := j.in.Untold["loss"]; why != "" && j.m.Loss == nil {
		j.m.Reasons["loss"] = why
	}
}

// judge makes the findings, the declared objectives first.
func (j *judge) judge() {
	j.judgeFailover()
	j.judgeDetection()
	j.judgeRTO()
	j.judgeRPO()
	j.judgeSplit()
	j.judgeTime("rejoin", j.in.Objectives.Rejoin)
	j.judgeTime("redundancy", j.in.Objectives.Redundancy)
	j.judgeTime("false_green", j.in.Objectives.FalseGreen)
	j.judgeAlert()
	j.judgeStale()
	j.judgeLate()
	j.judgeOrder()
	j.judgePromotionSource()
	j.judgeWrites()
	j.judgeExpectation()
	j.judgeBent()
	j.judgeTool()
	j.judgeValidity()
}

// verdict applies the precedence.
func (j *judge) verdict() (Verdict, string) {
	decides := func(o Outcome) (Finding, bool) {
		for _, f := range j.findings {
			if f.Outcome == o && f.Severity != warning {
				return f, true
			}
		}
		return Finding{}, false
	}
	if f, ok := decides(Missed); ok {
		return Fail, f.reason()
	}
	if a := j.kinds[timeline.Aborted]; len(a) > 0 {
		return Aborted, "aborted: " + a[0].Value
	}
	if len(j.invalid) > 0 {
		return Invalid, j.invalid[0]
	}
	if f, ok := decides(Unproven); ok {
		return Inconclusive, f.reason()
	}
	if _, ok := decides(Met); !ok {
		return Pass, "no objective was declared: nothing was judged"
	}
	return Pass, ""
}

// warning is the severity of what is told and does not decide.
const warning = "warning"

func (f Finding) reason() string {
	s := fmt.Sprintf("%s: want %s, got %s", f.Objective, f.Want, f.Got)
	if f.Text != "" {
		s += ": " + f.Text
	}
	return s
}

// finding adds a finding; the events are those of the given lists, each once.
func (j *judge) finding(f Finding, events ...[]int) {
	f.Events = indexes(append(events, f.Events)...)
	j.findings = append(j.findings, f)
}

// warn adds a finding that does not decide.
func (j *judge) warn(f Finding, events ...[]int) {
	f.Outcome, f.Severity = Informational, warning
	j.finding(f, events...)
}

// indexes is the union of lists of event indexes, ascending and never nil.
func indexes(lists ...[]int) []int {
	all := slices.Concat(lists...)
	slices.Sort(all)
	all = slices.Compact(all)
	if all == nil {
		return []int{}
	}
	return all
}

// of is the indexes of events.
func of(events ...timeline.Event) []int {
	is := make([]int, len(events))
	for i, e := range events {
		is[i] = e.I
	}
	return is
}

func (j *judge) reportFaults() []Fault {
	out := []Fault{}
	for _, f := range j.faults {
		r := Fault{Kind: f.kind, Node: f.node, Does: f.does, Events: indexes(f.events), Prepares: f.prepares}
		for _, p := range []struct {
			e  *timeline.Event
			to **[2]float64
		}{{f.injected, &r.Inject}, {f.effect, &r.Effect}, {f.reverted, &r.Revert}} {
			if p.e != nil {
				at := ms(p.e.At)
				*p.to = &at
			}
		}
		switch {
		case f.effect != nil:
			r.Proof = f.effect.Evidence
		case f.noEffect != nil:
			r.Proof = f.noEffect.Evidence
		}
		out = append(out, r)
	}
	return out
}

func (j *judge) reportRestarts() []Restart {
	out := []Restart{}
	for _, e := range j.kinds[timeline.Restarted] {
		out = append(out, Restart{Node: e.Node, By: e.Value, At: ms(e.At), Events: of(e)})
	}
	slices.SortStableFunc(out, func(a, b Restart) int { return cmp.Compare(a.At[0], b.At[0]) })
	return out
}

func (j *judge) reportLeftovers() []Left {
	out := []Left{}
	for _, e := range j.kinds[timeline.Leftover] {
		out = append(out, Left{What: e.Value, Node: e.Node, Command: e.Evidence})
	}
	return out
}

// tidy makes every list of t a list: JSON then has [] and never null.
func (t *Trial) tidy() {
	m := &t.Metrics
	if t.Findings == nil {
		t.Findings = []Finding{}
	}
	if m.Outages == nil {
		m.Outages = []Outage{}
	}
	if m.SplitBrain.Events == nil {
		m.SplitBrain.Events = []int{}
	}
	w := &m.Workload
	for _, l := range []*[]int64{&w.Acked, &w.Degraded, &w.Failed, &w.Unknown} {
		if *l == nil {
			*l = []int64{}
		}
	}
	for _, l := range []*[]float64{&w.P50, &w.P99} {
		if *l == nil {
			*l = []float64{}
		}
	}
	if m.Loss != nil && m.Loss.LostIDs == nil {
		m.Loss.LostIDs = []string{}
	}
}
