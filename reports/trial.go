package reports

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// maxLost is how many lost ids a page prints; the record holds up to 1,000 and
// the file named there all (contract: record.json).
const maxLost = 200

type pageLoss struct {
	*verdict.Loss
	Counts []pair
	RPO    string
	Exact  string
	IDs    []string
	Rest   int
	Audits []pageAudit
	Refs   refs
}

type pageAudit struct {
	Name, Where string
	Rows, Lost  string
	Event       ref
}

type pageSplit struct {
	verdict.SplitBrain
	Words   string
	Class   string
	Overlap string
	Exact   string
	Pair    []pageEvent
	Refs    refs
}

func (b *builder) trial(v *trialView, c *chosen) pageTrial {
	t := v.T
	p := pageTrial{T: t, Word: word(t.Verdict), Head: trialHead(t), Events: pageEvents(c), Hidden: c.left()}
	if len(b.run.Record.Trials) > 1 { // of a single one it stands at the top of the page
		p.Reason = sentenceCase(t.Reason)
	}
	p.Figures = b.figures(v)
	for _, f := range waterfall(&b.run.Record, t) {
		pf := pageFall{fallRow: f, Got: f.Reading.text(), Refs: b.refs(f.Reading.Events)}
		pf.Exact = f.Reading.exact()
		if f.Expected != nil {
			pf.Want, pf.Class = between(f.Expected.MinMS, f.Expected.MaxMS), f.Expected.Class
		}
		p.Fall = append(p.Fall, pf)
	}
	p.Metrics = b.metrics(t)
	for _, f := range t.Faults {
		p.Faults = append(p.Faults, pageFault{f, instant(f.Inject), took(f), instant(f.Revert), b.refs(f.Events)})
	}
	for _, r := range t.Restarts {
		p.Restarts = append(p.Restarts, pageRestart{r, instant(&r.At), b.refs(r.Events)})
	}
	p.Loss = b.loss(v)
	p.Split = b.split(v)
	for _, f := range laws(t) {
		l := pageLaw{f, label(f.Objective), outcomeWord(f.Outcome), outcomeClass(f.Outcome), b.refs(f.Events)}
		if f.Severity == "warning" {
			l.Word, l.Class = "warning", "unproven"
		}
		p.Laws = append(p.Laws, l)
	}
	p.Others = others(&t.Metrics)
	return p
}

func (b *builder) figures(v *trialView) []figure {
	name := ""
	if len(b.run.Record.Trials) > 1 {
		name = fmt.Sprintf("Trial %d: ", v.T.N)
	}
	out := []figure{v.picture(v.Start, v.End, name+"the whole trial", b.has)}
	if lo, hi, ok := v.closeUp(); ok {
		out = append(out, v.picture(lo, hi, name+"the failover, enlarged", b.has))
	}
	return out
}

// metrics lists what the waterfall does not show.
func (b *builder) metrics(t *verdict.Trial) []pageMetric {
	var out []pageMetric
	for _, m := range metrics() {
		if slices.Contains(chain(), m.Name) || m.Name == "rto" {
			continue
		}
		r := m.of(t)
		if !r.Known && r.Reason == "" {
			continue
		}
		pm := pageMetric{Label: m.Label, Says: m.Says, Got: r.text(), Known: r.Known, Refs: b.refs(r.Events)}
		pm.Exact = r.exact()
		if e, ok := t.Metrics.Expectation[m.Name]; ok {
			pm.Want, pm.Class = between(e.MinMS, e.MaxMS), e.Class
		}
		out = append(out, pm)
	}
	return out
}

// others are the figures of a trial that are no durations.
func others(m *verdict.Metrics) []pair {
	out := []pair{{"Epoch changes", count(int64(m.EpochChanges))}}
	if m.StaleReads != nil {
		out = append(out, pair{"Stale reads", count(*m.StaleReads)})
	}
	if m.GoodputLoss != nil {
		out = append(out, pair{"Goodput loss", count(int64(*m.GoodputLoss)) + " writes"})
	}
	if m.Workload.Baseline > 0 {
		out = append(out, pair{"Baseline", fmt.Sprintf("%.0f writes/s", m.Workload.Baseline)})
	}
	return append(out,
		pair{"Longest stall of dapple", duration(m.Tool.ProbeStallMS)},
		pair{"Bound of the clocks", duration(m.Tool.ClockEpsMS)})
}

func instant(i *[2]float64) string {
	if i == nil {
		return "—"
	}
	return at(fromMS(*i))
}

// took is how long a fault needed to take effect.
func took(f verdict.Fault) string {
	if f.Effect == nil {
		return "no proof of effect"
	}
	if f.Inject == nil {
		return instant(f.Effect)
	}
	return "within " + duration(f.Effect[1]-f.Inject[0])
}

func (b *builder) loss(v *trialView) *pageLoss {
	l := v.T.Metrics.Loss
	if l == nil {
		return nil
	}
	p := &pageLoss{Loss: l, Counts: lossCounts(l), Refs: b.refs(l.Events)}
	if l.Lost > 0 {
		p.RPO, p.Exact = plusMinus(l.RPOLoMS, l.RPOHiMS), exact(l.RPOLoMS, l.RPOHiMS)
	}
	p.IDs = l.LostIDs[:min(len(l.LostIDs), maxLost)]
	p.Rest = int(l.Lost) - len(p.IDs)
	for _, e := range v.Events {
		if e.Kind != timeline.Audit {
			continue
		}
		var a timeline.Audited
		if json.Unmarshal(e.Data, &a) == nil {
			p.Audits = append(p.Audits, pageAudit{e.Value, orText(e.Node, "client endpoint"), count(a.Rows), count(a.Lost), ref{e.I, b.here[e.I]}})
		}
	}
	return p
}

func lossCounts(l *verdict.Loss) []pair {
	out := []pair{
		{"acknowledged", count(l.Acked)},
		{"of these lost", lostText(l)},
		{"at risk: acknowledged in the last second before the effect", count(l.AtRisk)},
		{"without a definite reply", count(l.Unknown) + unknownText(l)},
		{"refused or never sent", count(l.Failed)},
	}
	for _, p := range []struct {
		name string
		n    int64
	}{{"acknowledged with weaker durability", l.Degraded}, {"found late", l.Late}, {"found though never accepted (phantom)", l.Phantom}, {"found more than once", l.Duplicate}} {
		if p.n > 0 {
			out = append(out, pair{p.name, count(p.n)})
		}
	}
	return out
}

func lostText(l *verdict.Loss) string {
	s := count(l.Lost)
	switch l.Lost {
	case 0:
		return s
	case l.LostBeforePromote:
		return s + ", all before the promotion (replication)"
	case l.LostAfterPromote:
		return s + ", all after the promotion (split-brain)"
	}
	var parts []string
	if l.LostBeforePromote > 0 {
		parts = append(parts, count(l.LostBeforePromote)+" before the promotion (replication)")
	}
	if l.LostAfterPromote > 0 {
		parts = append(parts, count(l.LostAfterPromote)+" after it (split-brain)")
	}
	if l.LostDegraded > 0 {
		parts = append(parts, count(l.LostDegraded)+" of weaker durability")
	}
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s
}

func unknownText(l *verdict.Loss) string {
	if l.Unknown == 0 {
		return ""
	}
	return fmt.Sprintf(": %s turned out present, %s absent", count(l.Recovered), count(l.Absent))
}

func (b *builder) split(v *trialView) pageSplit {
	s := v.T.Metrics.SplitBrain
	p := pageSplit{SplitBrain: s, Words: levelWords(s.Level), Refs: b.refs(s.Events)}
	switch {
	case s.Level >= 2:
		p.Class = "missed"
	case s.Level == 1:
		p.Class = "unproven"
		p.Words += ", a warning: no write was taken twice"
	case s.ProvenAbsent:
		p.Class, p.Words = "met", "proven not to have happened"
	default:
		p.Class, p.Words = "told", "none seen, absence not proven"
	}
	if s.Overlap != nil {
		p.Overlap, p.Exact = plusMinus(s.Overlap.LoMS, s.Overlap.HiMS), exact(s.Overlap.LoMS, s.Overlap.HiMS)
	}
	const most = 12
	for _, i := range s.Events[:min(len(s.Events), most*min(1, s.Level))] {
		if e, ok := v.event(i); ok {
			pe := pageEvents(&chosen{rows: []timeline.Event{e}})[0]
			pe.Here = b.here[i]
			p.Pair = append(p.Pair, pe)
		}
	}
	slices.SortStableFunc(p.Pair, func(a, b pageEvent) int { return cmp.Compare(a.At.Lo, b.At.Lo) })
	return p
}
