package reports

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// word is the verdict as readers meet it first. An unknown one is shown as it
// is: a report never invents a verdict.
func word(v verdict.Verdict) string {
	if v == "" {
		return "NO VERDICT"
	}
	return strings.ToUpper(string(v))
}

// meaning says in a few words what a verdict is (glossary).
func meaning(v verdict.Verdict) string {
	switch v {
	case verdict.Pass:
		return "every objective was met"
	case verdict.Fail:
		return "an objective was missed"
	case verdict.Inconclusive:
		return "measured, but not proven: this is not a pass"
	case verdict.Invalid:
		return "the drill did not happen as declared: this says nothing about the system"
	case verdict.Aborted:
		return "ended by a guardrail or a person before it was over"
	}
	return ""
}

// objectives lists the names of objectives in the order in which they are told;
// findings with another name are laws of measurement.
func objectives() []string {
	return []string{"failover", "detection", "rto", "rpo", "split_brain", "rejoin", "redundancy", "false_green", "stale_reads", "late_writes"}
}

func label(objective string) string {
	switch objective {
	case "rto", "rpo":
		return strings.ToUpper(objective)
	case "split_brain":
		return "Split-brain"
	}
	s := strings.ReplaceAll(objective, "_", " ")
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// limit is the declared bound of an objective that is a duration, in ms.
func limit(o drills.Objectives, objective string) *float64 {
	switch objective {
	case "detection":
		return o.DetectionMS
	case "rto":
		return o.RTOMS
	case "rpo":
		return o.RPOMS
	case "rejoin":
		return o.RejoinMS
	case "redundancy":
		return o.RedundancyMS
	case "false_green":
		return o.FalseGreenMS
	case "alert":
		return o.AlertMS
	}
	return nil
}

// A row is one objective over all trials: what was wanted, and what the trial
// that came nearest to missing it, or missed it by most, got.
type row struct {
	Objective string
	Label     string
	Want      string
	Got       string
	Exact     string // the measured bounds, for the hover
	Margin    string
	Outcome   verdict.Outcome
	Trial     int
	Events    []int
	Text      string
	Limit     *float64 // ms; nil if the objective is no duration or undeclared
	Spans     []span   // one per trial that counts; empty if it is no duration
}

// A span is what one trial measured for an objective.
type span struct {
	reading
	Trial   int
	Outcome verdict.Outcome
}

// rows gathers the objectives of the trials that count. If none counts, it
// gathers those of all, so that a reader sees what the drill was after.
func rows(rec *drills.Record) []row {
	trials := counted(rec.Trials)
	if len(trials) == 0 {
		trials = rec.Trials
	}
	var out []row
	for _, name := range objectives() {
		if r, ok := gather(rec, trials, name); ok {
			out = append(out, r)
		}
	}
	return out
}

// counted leaves out the trials that say nothing about the system.
func counted(trials []verdict.Trial) []verdict.Trial {
	var out []verdict.Trial
	for _, t := range trials {
		if t.Verdict != verdict.Invalid && t.Verdict != verdict.Aborted {
			out = append(out, t)
		}
	}
	return out
}

func gather(rec *drills.Record, trials []verdict.Trial, name string) (row, bool) {
	var r row
	found := false
	for i := range trials {
		t := &trials[i]
		f, ok := finding(t, name)
		if !ok {
			continue
		}
		one := rowOf(rec, t, f)
		one.Spans = append(slices.Clone(r.Spans), one.Spans...)
		switch {
		case !found || worse(one, r):
			r = one
		default:
			r.Spans = one.Spans
		}
		found = true
	}
	return r, found
}

func finding(t *verdict.Trial, name string) (verdict.Finding, bool) {
	best, found := verdict.Finding{}, false
	for _, f := range t.Findings {
		if f.Objective == name && f.Severity != "warning" && (!found || outcomeRank(f.Outcome) > outcomeRank(best.Outcome)) {
			best, found = f, true
		}
	}
	return best, found
}

func rowOf(rec *drills.Record, t *verdict.Trial, f verdict.Finding) row {
	r := row{Objective: f.Objective, Label: label(f.Objective), Want: f.Want, Got: f.Got,
		Outcome: f.Outcome, Trial: t.N, Events: f.Events, Text: f.Text, Limit: limit(rec.Objectives, f.Objective)}
	if r.Limit != nil {
		r.Want = "≤ " + duration(*r.Limit)
	}
	m := measured(t, f.Objective)
	if !m.Known {
		return r
	}
	if r.Limit != nil {
		r.Margin = margin(m, *r.Limit)
	}
	if f.Objective != "rpo" || r.Limit != nil {
		r.Got, r.Exact = m.text(), m.exact()
		r.Spans = []span{{m, t.N, f.Outcome}}
	}
	return r
}

// measured returns what a trial measured for an objective that is a duration.
func measured(t *verdict.Trial, objective string) reading {
	if objective != "rpo" {
		return read(t, objective)
	}
	if l := t.Metrics.Loss; l != nil {
		return reading{Lo: l.RPOLoMS, Hi: l.RPOHiMS, Known: true}
	}
	return reading{}
}

// margin says what is proven about the distance to the limit: never more.
func margin(m reading, limit float64) string {
	switch {
	case m.Hi <= limit && !m.Censored:
		return duration(limit-m.Hi) + " to spare"
	case m.Lo > limit:
		return duration(m.Lo-limit) + " over"
	default:
		return "cannot be told"
	}
}

func worse(a, b row) bool {
	if x, y := outcomeRank(a.Outcome), outcomeRank(b.Outcome); x != y {
		return x > y
	}
	la, lb := lastSpan(a), lastSpan(b)
	return la.Hi > lb.Hi
}

func lastSpan(r row) span {
	for i := len(r.Spans) - 1; i >= 0; i-- {
		if r.Spans[i].Trial == r.Trial {
			return r.Spans[i]
		}
	}
	return span{}
}

func outcomeRank(o verdict.Outcome) int {
	switch o {
	case verdict.Missed:
		return 3
	case verdict.Unproven:
		return 2
	case verdict.Met:
		return 1
	}
	return 0
}

func verdictRank(v verdict.Verdict) int {
	return slices.Index([]verdict.Verdict{verdict.Pass, verdict.Inconclusive, verdict.Invalid, verdict.Aborted, verdict.Fail}, v)
}

// worst is the index of the trial that a reader should see first: the one whose
// verdict weighs most and, of these, the one with the longest outage.
func worst(trials []verdict.Trial) int {
	best := 0
	for i := range trials {
		a, b := verdictRank(trials[i].Verdict), verdictRank(trials[best].Verdict)
		if a > b || a == b && read(&trials[i], "rto").Hi > read(&trials[best], "rto").Hi {
			best = i
		}
	}
	return best
}

// sentence says in one sentence why the verdict is what it is.
func sentence(rec *drills.Record) string {
	if s := missed(rec); rec.Verdict == verdict.Fail && s != "" {
		return s
	}
	if rec.Verdict != verdict.Pass {
		if rec.Reason != "" {
			return sentenceCase(rec.Reason)
		}
		for _, t := range rec.Trials {
			if t.Verdict == rec.Verdict && t.Reason != "" {
				return sentenceCase(fmt.Sprintf("trial %d: %s", t.N, t.Reason))
			}
		}
		return sentenceCase(meaning(rec.Verdict))
	}
	var parts []string
	for _, r := range rows(rec) {
		switch {
		case r.Outcome != verdict.Met:
		case r.Objective == "rto" && r.Limit != nil:
			most := ""
			if len(r.Spans) > 1 {
				most = "at most "
			}
			parts = append(parts, fmt.Sprintf("%s %s%s of %s", r.Label, most, r.Got, duration(*r.Limit)))
		case r.Objective == "rpo":
			parts = append(parts, "no acknowledged write lost")
		case r.Objective == "split_brain":
			parts = append(parts, "no split-brain")
		}
	}
	if len(parts) == 0 {
		return sentenceCase(orText(rec.Reason, meaning(rec.Verdict)))
	}
	return "Every objective was met: " + strings.Join(parts, ", ") + "."
}

// missed names every objective that was missed, with what was got.
func missed(rec *drills.Record) string {
	var parts []string
	for _, r := range rows(rec) {
		if r.Outcome != verdict.Missed {
			continue
		}
		s := "Missed " + lowerLabel(r.Label) + ": got " + orText(r.Got, "none") + ", wanted " + r.Want
		if len(rec.Trials) > 1 {
			s += fmt.Sprintf(", in trial %d", r.Trial)
		}
		parts = append(parts, sentenceCase(s))
	}
	return strings.Join(parts, " ")
}

func lowerLabel(s string) string {
	if strings.ToUpper(s) == s {
		return s
	}
	return strings.ToLower(s)
}

func sentenceCase(s string) string {
	if s == "" {
		return s
	}
	r := []rune(s)
	if len(r) > 1 && r[0] >= 'a' && r[0] <= 'z' && !strings.ContainsAny(strings.Fields(s)[0], "_:0123456789") {
		r[0] += 'A' - 'a'
	}
	s = string(r)
	if !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "!") {
		s += "."
	}
	return s
}

// laws are the findings of a trial that are no objectives, and the warnings.
func laws(t *verdict.Trial) []verdict.Finding {
	var out []verdict.Finding
	for _, f := range t.Findings {
		if f.Severity == "warning" || !slices.Contains(objectives(), f.Objective) {
			out = append(out, f)
		}
	}
	return out
}

// levelWords names a split-brain level (measurement rules, "Split-brain").
func levelWords(level int) string {
	switch level {
	case 0:
		return "none seen"
	case 1:
		return "L1 dual claim"
	case 2:
		return "L2 dual writable"
	case 3:
		return "L3 divergent"
	}
	return fmt.Sprintf("L%d", level)
}
