package checklist

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

// An answer is what one run says to a question.
type answer int

const (
	silent answer = iota
	yes
	no
)

// A question is what must be proven for an item.
type question struct {
	name string
	ask  func(*history.Run) answer
	// declared is for what is written down, and no drill's to prove.
	declared func(scenarios.Design, *history.Run) string
	// optional: no answer is none; a no is one.
	optional bool
}

// An itemDef is one of the seven, in the words of the checklist.
type itemDef struct {
	name      string
	questions []question
	people    bool
}

func items() []itemDef {
	return []itemDef{
		{name: "The detection method is documented, and tuned to avoid false positives", questions: []question{
			{name: "documented", declared: func(d scenarios.Design, _ *history.Run) string { return d.Detection }},
			{name: "noticed in time", ask: func(r *history.Run) answer { return found(r, "detection") }},
			{name: "no failover without need", ask: noFalseFailover},
		}},
		{name: "State stays consistent after failover (no split-brain)", questions: []question{
			{name: "one primary at any time, through a failover", ask: consistent},
		}},
		{name: "The recovery path is automated or scripted, and was tested in the quarter", questions: []question{
			{name: "documented", declared: func(d scenarios.Design, _ *history.Run) string { return d.Recovery }},
			{name: "recovered as declared", ask: recovered},
		}},
		{name: "Monitoring covers the HA system itself", questions: []question{
			{name: "an alert came", ask: func(r *history.Run) answer { return found(r, "alert") }},
			{name: "health checks told the truth", ask: func(r *history.Run) answer { return found(r, "false_green") }, optional: true},
		}},
		{name: "Maintenance procedures account for the reduced redundancy", questions: []question{
			{name: "a failure while a node was away", ask: inMaintenance},
		}},
		{name: "Each on-call engineer has run a failover drill in the last six months", people: true},
		{name: "RTO and RPO are declared, and measured", questions: []question{
			{name: "declared", declared: objectives},
			{name: "RTO", ask: func(r *history.Run) answer { return found(r, "rto") }},
			{name: "RPO", ask: func(r *history.Run) answer { return found(r, "rpo") }},
		}},
	}
}

// found is the answer of an objective's finding. A miss is one in any record.
func found(r *history.Run, objective string) answer {
	switch f, _ := r.Digest.Finding(objective); f.Outcome {
	case verdict.Met:
		return yes
	case verdict.Missed:
		return no
	}
	return silent
}

func noFalseFailover(r *history.Run) answer {
	if want := r.Digest.Failover; want == nil || *want {
		return silent
	}
	return found(r, "failover")
}

// consistent: that nobody wrote beside the primary is worth something only where
// the role moved.
func consistent(r *history.Run) answer {
	a := found(r, "split_brain")
	if a == yes && r.Digest.Failovers == 0 {
		return silent
	}
	return a
}

func recovered(r *history.Run) answer {
	want := r.Digest.Failover
	switch {
	case want != nil && !*want:
		return silent
	case r.Verdict == verdict.Pass && r.Digest.Failovers > 0:
		return yes
	case found(r, "rto") == no || found(r, "failover") == no:
		return no
	}
	return silent
}

// inMaintenance: two nodes were away at the same time.
func inMaintenance(r *history.Run) answer {
	if !overlapping(r.Digest.Steps) {
		return silent
	}
	if r.Verdict == verdict.Pass {
		return yes
	}
	return no
}

func overlapping(steps []history.Step) bool {
	for i, a := range steps {
		for _, b := range steps[i+1:] {
			if a.Node != "" && b.Node != "" && a.Node != b.Node && a.AtMS < b.AtMS+b.ForMS && b.AtMS < a.AtMS+a.ForMS {
				return true
			}
		}
	}
	return false
}

func objectives(_ scenarios.Design, r *history.Run) string {
	if r == nil || r.Digest.Objectives.RTOMS == nil || r.Digest.Objectives.RPOWrites == nil && r.Digest.Objectives.RPOMS == nil {
		return ""
	}
	return "RTO and RPO"
}

// A maker has the runs by system, newest first, up to the end of the quarter.
type maker struct {
	in    Input
	now   time.Time // or the end of the quarter, if that is past
	all   []*history.Run
	by    map[string][]*history.Run
	named map[string]*scenarios.System
	names []string
}

func newMaker(in Input) *maker {
	m := &maker{in: in, now: in.Now.UTC(), by: map[string][]*history.Run{}, named: map[string]*scenarios.System{}}
	if end := in.Quarter.Until(); m.now.After(end) {
		m.now = end
	}
	for i := range in.Runs {
		r := &in.Runs[i]
		if r.Link.N == 0 || r.System == "" || !r.Started.Before(in.Quarter.Until()) {
			continue
		}
		m.all = append(m.all, r)
		m.by[r.System] = append(m.by[r.System], r)
	}
	for _, s := range in.Systems {
		m.named[s.Name] = s
		if m.by[s.Name] == nil {
			m.by[s.Name] = []*history.Run{}
		}
	}
	m.names = slices.Sorted(maps.Keys(m.by))
	return m
}

func (m *maker) system(name string, people []Person) System {
	runs := m.by[name]
	s := System{Name: name}
	var newest *history.Run
	if len(runs) > 0 {
		newest = runs[0]
		s.Kind, s.Environment, s.Design = newest.Kind, newest.Environment, newest.Digest.Design
	}
	if f := m.named[name]; f != nil {
		s.Kind, s.Environment, s.Design = f.Kind, string(f.Environment), f.Design
	}
	for i, def := range items() {
		item := Item{N: i + 1, Name: def.name, State: Met, Parts: []Part{}}
		if def.people {
			item.Parts = m.onCall(name, people)
		}
		for _, q := range def.questions {
			p, told := m.part(q, s.Design, newest, runs)
			if told {
				item.Parts = append(item.Parts, p)
			}
		}
		for _, p := range item.Parts {
			item.State = worse(item.State, p.State)
		}
		s.Items = append(s.Items, item)
	}
	return s
}

// part answers one question; told is false for an optional one without answer.
func (m *maker) part(q question, d scenarios.Design, newest *history.Run, runs []*history.Run) (p Part, told bool) {
	p.Name = q.name
	if q.declared != nil {
		text := q.declared(d, newest)
		if text == "" {
			p.State, p.Why = m.missing(time.Time{}, runs), "not declared in the system file"
			return p, true
		}
		p.State, p.Why = Met, "declared: "+text
		if newest != nil {
			p.Proof = proofOf(newest)
		}
		return p, true
	}
	last, missed := m.last(q.ask, runs)
	switch {
	case missed != nil:
		p.State, p.Proof = Failed, proofOf(missed)
		p.Why = "missed by " + missed.Scenario + ", and no later drill of it met it"
	case last != nil && !last.Started.Before(m.in.Quarter.From()):
		p.State, p.Proof, p.Why = Met, proofOf(last), "proven by "+last.Scenario
	case q.optional:
		return p, false
	case last != nil:
		p.State, p.Proof = m.missing(last.Started, runs), proofOf(last)
		p.Why = fmt.Sprintf("last proven %d days ago, not in the quarter", days(m.now.Sub(last.Started)))
	default:
		p.State, p.Why = m.missing(time.Time{}, runs), "never proven"
	}
	return p, true
}

// last finds the newest run that says yes, and the newest miss that no later run of
// the same scenario took back.
func (m *maker) last(ask func(*history.Run) answer, runs []*history.Run) (last, missed *history.Run) {
	told := map[string]bool{} // by scenario: what is older has been answered since
	for _, r := range runs {
		if !proven(r) {
			continue
		}
		a := ask(r)
		if a == silent {
			continue
		}
		if a == yes && last == nil {
			last = r
		}
		if a == no && !told[r.Scenario] && missed == nil {
			missed = r
		}
		told[r.Scenario] = true
	}
	return last, missed
}

// missing is due while the quarter runs, unless a whole quarter before it went by
// without proof; and overdue after it.
func (m *maker) missing(last time.Time, runs []*history.Run) State {
	before := m.in.Quarter.From().AddDate(0, -3, 0)
	known := m.now // since when the system is known
	if len(runs) > 0 {
		known = runs[len(runs)-1].Started
	}
	since := last
	if since.Before(known) {
		since = known
	}
	if !m.in.Now.Before(m.in.Quarter.Until()) || since.Before(before) {
		return Overdue
	}
	return Due
}

// open lists the objectives whose newest answer in their scenario is a miss.
func (m *maker) open(name string) []Open {
	var out []Open
	told := map[[2]string]bool{}
	for _, r := range m.by[name] {
		if !proven(r) {
			continue
		}
		for _, f := range r.Digest.Findings {
			key := [2]string{r.Scenario, f.Objective}
			if told[key] || f.Outcome == verdict.Unproven {
				continue
			}
			told[key] = true
			if f.Outcome == verdict.Missed {
				out = append(out, Open{name, f.Objective, f.Want, f.Got, *proofOf(r)})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Open) int { return cmp.Compare(b.Proof.Date.UnixNano(), a.Proof.Date.UnixNano()) })
	return out
}

func days(d time.Duration) int { return int(d / (24 * time.Hour)) }
