package reports

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// A page is what the HTML template shows: every figure is already a text, every
// picture already drawn, so that the template decides nothing but its order.
type page struct {
	CSS template.CSS
	JS  template.JS

	Rec      *drills.Record
	Word     string
	Sentence string
	Meaning  string
	Facts    []pair
	Steps    []string
	Left     []verdict.Left
	Rows     []pageRow
	Series   []spreadRow
	Curve    template.HTML
	Shares   string
	Bound    string
	Trials   []pageTrial
	Many     bool
	System   []pair
	Origin   []pair
}

type pair struct{ Key, Value string }

// A ref is an event that a number rests on.
type ref struct {
	I    int
	Here bool // the page prints it
}

// Refs is a list of events, cut short for the eye.
type refs struct {
	Shown []ref
	More  int
}

type pageRow struct {
	row
	Word  string
	Class string
	Bar   template.HTML
	Refs  refs
}

type pageTrial struct {
	T        *verdict.Trial
	Word     string
	Open     bool
	Head     string
	Reason   string
	Figures  []figure
	Fall     []pageFall
	Metrics  []pageMetric
	Faults   []pageFault
	Restarts []pageRestart
	Loss     *pageLoss
	Split    pageSplit
	Laws     []pageLaw
	Others   []pair
	Events   []pageEvent
	Hidden   int
}

type pageFall struct {
	fallRow
	Got, Exact, Want, Class string
	Refs                    refs
}

type pageMetric struct {
	Label, Says, Got, Exact, Want, Class string
	Known                                bool
	Refs                                 refs
}

type pageFault struct {
	verdict.Fault
	Injected, Took, Reverted string
	Refs                     refs
}

type pageRestart struct {
	verdict.Restart
	When string
	Refs refs
}

type pageLaw struct {
	verdict.Finding
	Label, Word, Class string
	Refs               refs
}

// A builder makes a page; it knows which events the page prints.
type builder struct {
	run  *Run
	here map[int]bool
}

func (b *builder) has(i int) bool { return b.here[i] }

func (b *builder) refs(events []int) refs {
	const shown = 3
	var r refs
	for _, i := range events[:min(len(events), shown)] {
		r.Shown = append(r.Shown, ref{i, b.here[i]})
	}
	r.More = len(events) - len(r.Shown)
	return r
}

func newPage(r *Run) *page {
	rec := &r.Record
	vs := views(r)
	b := &builder{r, map[int]bool{}}
	picks := make([]chosen, len(vs))
	for i := range vs {
		picks[i] = choose(&vs[i], maxRows/max(1, len(vs)))
		for _, e := range picks[i].rows {
			b.here[e.I] = true
		}
	}
	p := &page{Rec: rec, Word: word(rec.Verdict), Sentence: sentence(rec), Meaning: explain(rec.Verdict),
		Many: len(rec.Trials) > 1, Facts: facts(rec), Steps: steps(rec), System: system(rec), Origin: origin(r)}
	for _, row := range rows(rec) {
		p.Rows = append(p.Rows, pageRow{row, outcomeWord(row.Outcome), outcomeClass(row.Outcome), objectiveBar(row), b.refs(row.Events)})
	}
	if p.Many {
		p.Series, p.Shares, p.Curve = spreads(rec), shares(rec), seriesCurve(r)
		if b := rec.Series.LossBound; b != nil {
			p.Bound = fmt.Sprintf("No write was lost in %d trials, which bounds the probability that a trial loses one to %.0f %% (95 %%)", rec.Series.N, *b*100)
		}
	}
	first := worst(rec.Trials)
	for i := range vs {
		t := b.trial(&vs[i], &picks[i])
		t.Open = !p.Many || i == first
		p.Trials = append(p.Trials, t)
		p.Left = append(p.Left, vs[i].T.Leftovers...)
	}
	return p
}

// explain says what a verdict is that is neither a pass nor a fail.
func explain(v verdict.Verdict) string {
	if v == verdict.Pass || v == verdict.Fail || meaning(v) == "" {
		return ""
	}
	return word(v) + ": " + meaning(v) + "."
}

// shares says how the way to the first write was spent.
func shares(rec *drills.Record) string {
	var parts []string
	for _, name := range chain() {
		if s, ok := rec.Series.Shares[name]; ok {
			parts = append(parts, name+" "+percent(s))
		}
	}
	return strings.Join(parts, ", ")
}

func outcomeWord(o verdict.Outcome) string {
	if o == "" {
		return "—"
	}
	return string(o)
}

func facts(rec *drills.Record) []pair {
	s := rec.System
	out := []pair{
		{"System", joinWords(" · ", s.Name, s.Kind, s.Environment)},
		{"When", when(rec)},
		{"Trials", trialsLine(rec)},
	}
	if len(s.Nodes) > 0 {
		var ns []string
		for _, n := range s.Nodes {
			ns = append(ns, n.Name+" ("+orText(n.Role, "?")+")")
		}
		out = append(out, pair{"Nodes", strings.Join(ns, ", ")})
	}
	return out
}

func when(rec *drills.Record) string {
	if rec.Started.IsZero() {
		return "not recorded"
	}
	s := rec.Started.Format("2006-01-02 15:04:05 MST")
	if rec.Finished.After(rec.Started) {
		s += ", took " + rec.Finished.Sub(rec.Started).Round(time.Second).String()
	}
	return s
}

func trialsLine(rec *drills.Record) string {
	s := fmt.Sprintf("%d, of which %d count", len(rec.Trials), len(counted(rec.Trials)))
	if len(counted(rec.Trials)) == len(rec.Trials) {
		s = fmt.Sprint(len(rec.Trials))
	}
	if p := rec.Scenario.Steps; len(p) > 0 && p[0].Phase != "" {
		s += ", phase " + p[0].Phase
	}
	return s
}

// steps says in words what was declared to be broken.
func steps(rec *drills.Record) []string {
	var out []string
	for _, s := range rec.Scenario.Steps {
		line := s.Inject + " on " + strings.Join(s.On, ", ")
		var with []string
		for _, k := range sortedKeys(s.With) {
			with = append(with, k+" "+s.With[k])
		}
		if len(with) > 0 {
			line += " (" + strings.Join(with, ", ") + ")"
		}
		if s.ForMS > 0 {
			line += ", held " + duration(s.ForMS)
		}
		if s.AtMS > 0 {
			line += ", " + duration(s.AtMS) + " after the first"
		}
		out = append(out, line)
	}
	return out
}

func system(rec *drills.Record) []pair {
	var out []pair
	for _, k := range sortedKeys(rec.System.Versions) {
		out = append(out, pair{"version of " + k, rec.System.Versions[k]})
	}
	for _, k := range sortedKeys(rec.System.Settings) {
		out = append(out, pair{k, rec.System.Settings[k]})
	}
	d := rec.System.Design
	for _, p := range []pair{{"pattern", d.Pattern}, {"detection", d.Detection}, {"state", d.State}, {"recovery", d.Recovery}} {
		if p.Value != "" {
			out = append(out, pair{"design: " + p.Key, p.Value})
		}
	}
	return out
}

func origin(r *Run) []pair {
	rec := &r.Record
	f := rec.Scenario
	out := []pair{
		{"run", rec.Run}, {"dapple", rec.Dapple.Version}, {"operator", rec.Operator},
		{"scenario", joinWords(", sha256 ", rec.Drill.ScenarioFile, rec.Drill.ScenarioSHA256)},
		{"seed", fmt.Sprint(rec.Seed)}, {"exit code", fmt.Sprint(rec.ExitCode)}, {"schema", rec.Schema},
		{"previous record", rec.PrevSHA256},
	}
	if f.RatePerS > 0 {
		out = append(out, pair{"workload", fmt.Sprintf("%g writes/s from %d clients; fresh connections every %s; a client tries again within %s",
			f.RatePerS, f.Clients, duration(f.FreshPeriodMS), duration(f.AppReconnectMS))})
	}
	out = append(out, pair{"evidence", plural(int64(len(r.Timeline)), "event") + " in " + TimelineFile})
	return slices.DeleteFunc(out, func(p pair) bool { return p.Value == "" })
}

func joinWords(sep string, words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), sep)
}

// trialHead is the line by which a trial is told from the others.
func trialHead(t *verdict.Trial) string {
	var parts []string
	for _, f := range t.Faults {
		parts = append(parts, f.Kind+" "+f.Node)
	}
	parts = append(parts, t.Expect.Outcome)
	if r := read(t, "rto"); r.Known {
		parts = append(parts, "RTO "+r.text())
	}
	if l := t.Metrics.Loss; l != nil {
		parts = append(parts, count(l.Lost)+" lost")
	}
	return joinWords(" · ", parts...)
}

type pageEvent struct {
	timeline.Event
	When, Exact string
	Uses        string
	Short       string
	Data        string
	Here        bool
}

func pageEvents(c *chosen) []pageEvent {
	out := make([]pageEvent, 0, len(c.rows))
	for _, e := range c.rows {
		out = append(out, pageEvent{e, at(e.At), exact(timeline.MS(e.At.Lo), timeline.MS(e.At.Hi)),
			strings.Join(c.uses[e.I], ", "), clip(e.Evidence, 400), clip(string(e.Data), 200), true})
	}
	return out
}
