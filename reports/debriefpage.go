package reports

import (
	_ "embed" // the template of debriefs
	"html/template"
	"io"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

//go:embed debrief.html.tmpl
var debriefTemplate string

type debriefPage struct {
	CSS             template.CSS
	Who, System     string
	Drill, Why      string
	Facts           []pair
	Steps           []string
	Trials          []debriefTrial
	Run, Word, Task string
}

type debriefTrial struct {
	Figure        figure
	Parts, Beside []part
	Help          string
	Course        []said
}

// DebriefHTML writes it as one self-contained page without a script.
func DebriefHTML(w io.Writer, r Run) error {
	rec := &r.Record
	p := debriefPage{
		CSS: template.CSS(pageCSS), Who: who(rec), System: rec.System.Name, Drill: rec.Drill.Name, Why: rec.Drill.Why, //nolint:gosec // our own file
		Facts: facts(rec), Steps: steps(rec), Run: rec.Run, Word: word(rec.Verdict),
	}
	if t := rec.Scenario.Training; t != nil {
		p.Task = t.Task
	}
	vs := views(&r)
	for i := range vs {
		if t := vs[i].T.Training; t != nil {
			c := vs[i].course()
			p.Trials = append(p.Trials, debriefTrial{vs[i].both(c), parts(t), beside(t), hintsLine(rec, t), c})
		}
	}
	return writeTemplate(w, "debrief", "", debriefTemplate, p)
}

// both draws person and machine on one axis.
func (v *trialView) both(c []said) figure {
	lo, hi := v.stretch(c)
	s := &sketch{scale: scale{lo, hi, plotWidth}, has: func(int) bool { return false }}
	var ms []mark
	for _, x := range c {
		if x.Person && s.overlaps(x.At.Lo, x.At.Hi) {
			ms = append(ms, x.mark)
		}
	}
	placed, rowsUsed := placeMarks(s.scale, ms)
	s.y = float64(rowsUsed)*markRow + 4
	s.axis()
	top := s.y
	s.lane(v.personLane())
	for _, l := range lanes(v) {
		s.lane(l)
	}
	height := s.y + 4
	s.marks(placed, top, height)
	desc := ""
	for _, x := range c {
		desc = joinWords("; ", desc, x.When()+" "+x.Who+" "+x.What)
	}
	return s.finish(height, "Person and machine on one axis", desc)
}

// personLane shows whose time the outage was, each part where it was. Its bounds are
// instants that are known within the widths of the parts: the middles are drawn.
func (v *trialView) personLane() lane {
	effect, ok := v.effect()
	if !ok {
		return lane{Label: "whose time", Strips: []strip{{"", 20, nil}}}
	}
	begin := (effect.Lo + effect.Hi) / 2
	var bs []band
	at := begin
	for _, p := range slices.DeleteFunc(parts(v.T.Training), func(p part) bool { return !p.Reading.Known }) {
		if p.Name == "total" {
			if len(bs) < 3 { // what is left when a part is not known is nobody's
				if end := begin + timeline.FromMS(p.Reading.mid()); end > at {
					bs = append(bs, band{at, end, "told", "not split", p.Name + ": " + p.Got(), -1})
				}
			}
			break
		}
		end := at + timeline.FromMS(p.Reading.mid())
		bs = append(bs, band{at, max(end, at+time.Millisecond), p.Class, p.Name, p.Name + ", " + p.Whose + ": " + p.Got(), -1})
		at = end
	}
	return lane{Label: "whose time", Strips: []strip{{"", 20, bs}}}
}
