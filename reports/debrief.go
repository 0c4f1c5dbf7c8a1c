package reports

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// Trained says whether a person faced the fault of a run, so that there is a debrief.
func Trained(r Run) bool { return r.Record.Scenario.Training != nil }

// DebriefFormat is one way to write a debrief.
type DebriefFormat struct {
	Name  string
	File  string // its name in the run's folder; "" for none
	Write func(w io.Writer, r Run) error
}

// DebriefFormats lists them. As JSON a debrief is in the record: trials[].training.
func DebriefFormats() []DebriefFormat {
	return []DebriefFormat{
		{"html", "debrief.html", DebriefHTML}, {"md", "debrief.md", DebriefMarkdown},
		{"text", "", func(w io.Writer, r Run) error { return Debrief(w, r, Plain) }},
	}
}

// WriteDebrief writes the debrief of a training into dir; of another drill nothing.
func WriteDebrief(dir string, r Run) error {
	if !Trained(r) {
		return nil
	}
	for _, f := range DebriefFormats() {
		if f.File == "" {
			continue
		}
		if err := writeFile(filepath.Join(dir, f.File), func(w io.Writer) error { return f.Write(w, r) }); err != nil {
			return err
		}
	}
	return nil
}

// A part is a stretch of the outage, and whose time it was.
type part struct {
	Name, Whose, From, To string
	Class                 string
	Reading               reading
	Share                 string
}

// Got is its length with the error bar, or why it is not known.
func (p part) Got() string { return p.Reading.text() }

// Exact is for hovers.
func (p part) Exact() string { return p.Reading.exact() }

// parts are alert, human and machine, then the whole.
func parts(t *verdict.Training) []part {
	out := []part{
		{Name: "alert", Whose: "until somebody knew", From: "effect", To: "first stamp", Class: "al", Reading: trained(t, "alert", t.Alert)},
		{Name: "human", Whose: "until what helped was begun", From: "first stamp", To: "acted", Class: "hu", Reading: trained(t, "human", t.Human)},
		{Name: "machine", Whose: "until clients were served", From: "acted", To: "service", Class: "ma", Reading: trained(t, "machine", t.Machine)},
	}
	sum := 0.0
	for _, p := range out {
		if p.Reading.Known {
			sum += p.Reading.mid()
		}
	}
	for i := range out {
		if p := &out[i]; p.Reading.Known && sum > 0 {
			p.Share = percent(p.Reading.mid() / sum)
		}
	}
	return append(out, part{Name: "total", Whose: "", From: "effect", To: "service", Class: "told", Reading: trained(t, "total", t.Total)})
}

func trained(t *verdict.Training, name string, m *verdict.Metric) reading {
	if m == nil {
		return reading{Reason: t.Reasons[name]}
	}
	return reading{Lo: m.LoMS, Hi: m.HiMS, Events: m.Events, Known: true, Censored: m.Censored}
}

// beside are two further times that are told, and are no part of the outage.
func beside(t *verdict.Training) []part {
	return []part{
		{Name: "told", Whose: "until their monitoring told of it", From: "effect", To: "alert", Reading: trained(t, "told", t.Told)},
		{Name: "closing", Whose: "until it was said to be over", From: "service", To: "resolved", Reading: trained(t, "closing", t.Closing)},
	}
}

// A said is one line of the debrief's timeline.
type said struct {
	mark
	Who    string // a person, or the machine
	What   string
	Note   string
	Person bool
}

// When is the time since the effect, or that of the trial for what was before.
func (s said) When() string { return orText(s.Since, "at "+clock((s.At.Lo+s.At.Hi)/2, 3)) }

// course is what people and machine did, on one axis, in the order of time.
func (v *trialView) course() []said {
	t := v.T.Training
	effect, known := v.effect()
	var out []said
	add := func(at timeline.Interval, event int, s said) {
		s.mark = mark{At: at, Name: s.What, Event: event}
		if known && at.Hi >= effect.Lo {
			d := at.Sub(effect)
			s.Since = "+" + about(max(0, timeline.MS(d.Lo)), timeline.MS(d.Hi))
			s.Exact = "+" + plusMinus(max(0, timeline.MS(d.Lo)), timeline.MS(d.Hi)) + " after the effect"
		}
		out = append(out, s)
	}
	for _, s := range slices.Concat(t.Stamps, t.Paced) {
		note := s.Note
		if s.Ran != "" {
			note = joinWords("; ", note, "began "+s.Ran)
		}
		add(fromMS(s.At), s.Event, said{Who: s.By, What: s.What, Note: note, Person: true})
	}
	for _, h := range t.Hints {
		add(fromMS(h.At), h.Event, said{Who: h.By, What: "hint " + strconv.FormatInt(h.N, 10) + price(h.PriceS, h.Points), Note: h.Text, Person: true})
	}
	for _, e := range v.Events {
		if e.Kind == timeline.Alert {
			add(e.At, e.I, said{Who: "monitoring", What: e.Value, Note: e.Evidence})
		}
	}
	for _, m := range v.marks() {
		if m.Name == "inject" {
			continue // its effect follows
		}
		add(m.At, m.Event, said{Who: "machine", What: m.Name, Note: v.faultWords(m)})
	}
	for _, o := range v.lastOutages() {
		at := timeline.FromMS(o.At[1])
		add(timeline.Interval{Lo: at, Hi: at}, firstEvent(o.Events), said{Who: "clients", What: "served again", Note: o.Class + ", out for " + plusMinus(o.LoMS, o.HiMS)})
	}
	slices.SortStableFunc(out, func(a, b said) int { return cmp.Compare(a.At.Lo+a.At.Hi, b.At.Lo+b.At.Hi) })
	return out
}

// lastOutages are the outages of a trial that ended last among those of their class that
// overlap: several clients see one and the same.
func (v *trialView) lastOutages() []verdict.Outage {
	var out []verdict.Outage
	for _, o := range v.T.Metrics.Outages {
		i := slices.IndexFunc(out, func(x verdict.Outage) bool { return x.Class == o.Class && x.At[0] <= o.At[1] && o.At[0] <= x.At[1] })
		switch {
		case i < 0:
			out = append(out, o)
		case o.At[1] > out[i].At[1]:
			out[i] = o
		}
	}
	return out
}

// faultWords says which fault a mark is of.
func (v *trialView) faultWords(m mark) string {
	if !slices.Contains([]string{"inject", "effect", "reverted"}, m.Name) {
		return ""
	}
	if e, ok := v.event(m.Event); ok && strings.HasPrefix(string(e.Kind), "fault.") {
		return e.By + " on " + e.Node + ": " + e.Value
	}
	return ""
}

// effect is that of the first fault.
func (v *trialView) effect() (first timeline.Interval, ok bool) {
	for _, f := range v.T.Faults {
		if f.Effect == nil {
			continue
		}
		if at := fromMS(*f.Effect); !ok || at.Lo < first.Lo {
			first, ok = at, true
		}
	}
	return first, ok
}

func price(seconds float64, points int64) string {
	var words []string
	if seconds > 0 {
		words = append(words, duration(seconds*1000))
	}
	if points > 0 {
		words = append(words, plural(points, "point"))
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, ", ") + ")"
}

// hintsLine says what help was taken, and what it cost.
func hintsLine(rec *drills.Record, t *verdict.Training) string {
	s := fmt.Sprintf("%d of %d hints", len(t.Hints), rec.Scenario.Training.Hints)
	if p := price(t.PriceS, t.PricePoints); p != "" {
		s += " at" + strings.TrimRight(strings.Replace(p, "(", "", 1), ")")
	}
	return s
}

// who names the people of a training.
func who(rec *drills.Record) string {
	var names []string
	for _, p := range rec.People {
		switch p.Role {
		case drills.Trainee:
			names = append(names, p.Name)
		default:
			names = append(names, "led by "+p.Name)
		}
	}
	return orText(strings.Join(names, ", "), rec.Operator)
}

// stretch is the time that a debrief's picture shows: from shortly before the effect to
// shortly after all was said.
func (v *trialView) stretch(c []said) (lo, hi time.Duration) {
	effect, ok := v.effect()
	if !ok || len(c) == 0 {
		return v.Start, v.End
	}
	lo, hi = effect.Lo, effect.Hi
	for _, s := range c {
		if s.Since != "" {
			hi = max(hi, s.At.Hi)
		}
	}
	pad := max((hi-lo)/12, time.Second)
	return max(v.Start, lo-pad), min(v.End, hi+pad)
}

// Debrief writes for a terminal how the person fared; of a drill that nobody was trained
// in nothing.
func Debrief(w io.Writer, r Run, p Paint) error {
	if !Trained(r) {
		return nil
	}
	t := &textWriter{paint: p}
	vs := views(&r)
	for i := range vs {
		t.debrief(&r.Record, &vs[i])
	}
	if _, err := io.WriteString(w, t.b.String()); err != nil {
		return fmt.Errorf("writing the debrief: %w", err)
	}
	return nil
}

func (t *textWriter) debrief(rec *drills.Record, v *trialView) {
	tr := v.T.Training
	if tr == nil {
		return
	}
	t.line("DEBRIEF  ", clean(who(rec)), " on ", clean(rec.System.Name))
	for _, s := range steps(rec) {
		t.wrap("  ", "it was: "+clean(s))
	}
	t.line("")
	for _, p := range append(parts(tr), beside(tr)...) {
		t.line("  ", pad(p.Name, 9), pad(p.Got(), 22), joinWords(", ", p.From+" → "+p.To, p.Share))
	}
	t.line("  ", pad("help", 9), hintsLine(rec, tr))
	t.line("")
	for _, s := range v.course() {
		mark := "  "
		if s.Person {
			mark = t.colour(blue, "● ")
		}
		t.line("  ", pad(s.When(), 12), mark, pad(clean(s.Who), 12), joinWords(": ", clean(s.What), clean(clip(s.Note, 90))))
	}
	t.line("")
}

// DebriefMarkdown writes it for a wiki.
func DebriefMarkdown(w io.Writer, r Run) error {
	m := &mdWriter{}
	m.line("# Debrief: ", md(who(&r.Record)), " on ", md(r.Record.System.Name))
	m.line("")
	m.line(md(r.Record.Drill.Name), " · ", md(when(&r.Record)), " · run ", code(r.Record.Run))
	for _, s := range steps(&r.Record) {
		m.line("")
		m.line("It was: ", md(s))
	}
	vs := views(&r)
	for i := range vs {
		tr := vs[i].T.Training
		if tr == nil {
			continue
		}
		var rows [][]string
		for _, p := range append(parts(tr), beside(tr)...) {
			rows = append(rows, []string{p.Name, md(p.From + " → " + p.To), md(p.Got()), p.Share})
		}
		m.table([]string{"Time", "From → to", "Took", "Share"}, rows)
		m.line("")
		m.line("Help: ", md(hintsLine(&r.Record, tr)))
		rows = nil
		for _, s := range vs[i].course() {
			rows = append(rows, []string{md(s.When()), md(s.Who), md(s.What), md(s.Note)})
		}
		m.table([]string{"Since the effect", "Who", "What", "Note"}, rows)
	}
	if _, err := io.WriteString(w, m.b.String()); err != nil {
		return fmt.Errorf("writing the debrief: %w", err)
	}
	return nil
}
