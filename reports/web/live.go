package web

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/reports/live"
)

// A liveView is a drill that goes on, or has just ended.
type liveView struct {
	Ref     string
	Rec     drills.Record
	State   html // changes all the time
	Lines   []html
	Seen    int // how many lines that is
	End     html
	Stopped string
	Is      bool
	Form    string
}

// unfinished shows a run that had no end a moment ago.
func (s *Server) unfinished(w http.ResponseWriter, r *http.Request, base string) {
	f, err := s.feed(base)
	if err != nil {
		s.broken(w, r, fmt.Errorf("run %s: %w", base, err))
		return
	}
	v := liveView{Ref: base, Form: s.stopForm(r)}
	v.Stopped, v.Is = stopped(s.c.Home)
	f.mu.Lock()
	v.Rec, v.Seen = f.rec, len(f.lines)
	v.State = html(f.render(f, "state")) //nolint:gosec // a template of ours
	if f.end != "" {
		v.End = html(f.render(f, "end")) //nolint:gosec // a template of ours
	}
	for _, l := range f.lines {
		v.Lines = append(v.Lines, html(lineHTML(l))) //nolint:gosec // it escapes
	}
	f.mu.Unlock()
	s.show(w, r, http.StatusOK, "live", v.Rec.Drill.Name+" on "+v.Rec.System.Name, v)
}

// A stateView is what of a drill changes all the time.
type stateView struct {
	live.Shown
	Now     string
	Acked   string
	Other   string
	Lanes   []laneView
	Stopped bool
}

// A laneView is a lane with its picture, in thousandths of the span.
type laneView struct {
	live.Lane
	Says  string
	Rects []rect
}

type rect struct{ X, W, Class string }

// An endView is what became of a drill.
type endView struct {
	Ref  string
	Rec  drills.Record
	Died bool
	Left int // faults that the journal lists
}

// renderPart makes a part of the page of f, whose lock is held.
func (s *Server) renderPart(f *feed, part string) []byte {
	var data any
	if part == "end" {
		v := endView{Ref: f.base, Rec: f.rec, Died: f.end == "died"}
		if v.Died {
			v.Left = outstanding(s.c.Home)
		}
		data = v
	} else {
		_, is := stopped(s.c.Home)
		data = stateOf(f.story.Shown(), is && f.end == "")
	}
	var b bytes.Buffer
	if err := s.pages.of["live"].ExecuteTemplate(&b, part, data); err != nil {
		fmt.Fprintf(s.c.Log, "dapple: the %s of %s: %v\n", part, f.base, err)
	}
	return b.Bytes()
}

func stateOf(shown live.Shown, isStopped bool) stateView {
	v := stateView{Shown: shown, Now: instant(shown.At), Acked: perSecondText(shown.Acked), Other: perSecondText(shown.Other), Stopped: isStopped}
	if shown.Other == 0 {
		v.Other = ""
	}
	for _, l := range shown.Lanes {
		v.Lanes = append(v.Lanes, drawn(l, shown.Span))
	}
	return v
}

// maxRects bounds how much of a lane that changes all the time is drawn.
const maxRects = 300

func drawn(l live.Lane, span time.Duration) laneView {
	v := laneView{Lane: l, Says: saying(l)}
	stretches := l.Stretches[max(0, len(l.Stretches)-maxRects):]
	for _, st := range stretches {
		class := laneClass(l.Of, st.What)
		if class == "" {
			continue
		}
		width := max(2, float64(st.To-st.From)/float64(span)*1000)
		v.Rects = append(v.Rects, rect{thousandth(st.From, span), strconv.FormatFloat(width, 'f', 1, 64), class})
	}
	return v
}

func thousandth(d, span time.Duration) string {
	return strconv.FormatFloat(max(0, float64(d)/float64(span)*1000), 'f', 1, 64)
}

// saying is the present state of a lane in words.
func saying(l live.Lane) string {
	switch {
	case l.Of == "fault" && l.Now == "":
		return "taken back"
	case l.Of == "leader" && l.Now == "":
		return "none"
	case l.Of == "client" && strings.HasPrefix(l.Now, string(probes.Acked)):
		return "writes succeed"
	case l.Of == "client":
		return "writes: " + l.Now
	case l.Now == "":
		return "not known"
	}
	return l.Now
}

// laneClass is the style of a state, as the pictures of a report have it.
func laneClass(of, what string) string {
	switch of {
	case "fault":
		if what == "" {
			return ""
		}
		return "flt"
	case "leader":
		if what == "" {
			return "nol"
		}
		return "ldr"
	}
	switch what {
	case string(probes.Primary):
		return "pri"
	case string(probes.Replica):
		return "rep"
	case string(probes.Silent):
		return "sil"
	case string(probes.Acked):
		return "ok"
	case string(probes.Degraded):
		return "deg"
	case string(probes.Unknown):
		return "unk"
	case "":
		return ""
	}
	if of == "node" {
		return "none"
	}
	return "fail"
}

// lineHTML is a sentence of the story.
func lineHTML(l live.Line) []byte {
	trial := ""
	if l.Trial > 1 {
		trial = fmt.Sprintf("trial %d, ", l.Trial)
	}
	return fmt.Appendf(nil, `<span class="at">%s%s</span> %s`, trial, template.HTMLEscapeString(l.At), template.HTMLEscapeString(l.Text))
}

func instant(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s" }

func perSecondText(n float64) string { return strconv.FormatFloat(n, 'f', 0, 64) }
