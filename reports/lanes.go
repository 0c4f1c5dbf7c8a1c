package reports

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/probes"
)

// A band is a stretch of a lane in which one thing held.
type band struct {
	Lo, Hi time.Duration
	Class  string // the CSS class, which is also what it weighs: see weight
	Text   string // written into the band if there is room
	Hover  string
	Event  int // the event that it begins with, or -1
}

// A strip is one line of bands; a lane is one or more strips under one label.
type strip struct {
	Label  string
	Height float64
	Bands  []band
}

type lane struct {
	Label  string
	Strips []strip
}

// The classes of bands. Each differs from the others by more than its colour:
// see the style sheet.
const (
	bandPrimary  = "pri"
	bandReplica  = "rep"
	bandNone     = "none"
	bandSilent   = "sil"
	bandAcked    = "ok"
	bandDegraded = "deg"
	bandFailed   = "fail"
	bandUnknown  = "unk"
	bandRefused  = "ref" // by a node of its own accord: a replica ought to
	bandBoth     = "both"
	bandLeader   = "ldr"
	bandNoLeader = "nol"
	bandFault    = "flt"
	bandEffect   = "inj"
	bandOutage   = "out"
	bandCensored = "cen"
	bandPhase    = "ph"
	bandStall    = "stl"
	bandGreen    = "grn"
	bandRed      = "red"
)

// weight says which class is shown where a pixel holds several: the one that a
// reader must not miss.
func weight(class string) int {
	return slices.Index([]string{bandRefused, bandAcked, bandReplica, bandPrimary, bandNone, bandDegraded, bandUnknown, bandFailed, bandSilent}, class)
}

func roleClass(value string) string {
	switch probes.Role(value) {
	case probes.Primary:
		return bandPrimary
	case probes.Replica:
		return bandReplica
	case probes.Silent:
		return bandSilent
	}
	return bandNone
}

func healthClass(value string) string {
	if value == "green" {
		return bandGreen
	}
	return bandRed
}

// lanes makes the lanes of a trial's picture: what was done, what users felt,
// what the control plane said, and node by node what it claimed and took.
func lanes(v *trialView) []lane {
	out := faultLanes(v)
	out = append(out, outageLane(v)...)
	out = append(out, bothLane(v)...)
	w := streams(v.Events, timeline.Write)
	out = append(out, clientLane("app", w), clientLane("fresh", w))
	out = append(out, leaderLanes(v)...)
	roles, health := streams(v.Events, timeline.Role), streams(v.Events, timeline.Health)
	for _, n := range v.nodes() {
		l := lane{Label: n, Strips: []strip{{"says", 16, stateBands(roles["role/"+n], roleClass, v.End)}}}
		for _, vantage := range []string{"direct", "old"} {
			if rs := w[vantage+"/"+n]; len(rs) > 0 {
				l.Strips = append(l.Strips, strip{vantage, 10, nodeBands(rs)})
			}
		}
		if rs := health["health/"+n]; len(rs) > 0 {
			l.Strips = append(l.Strips, strip{"health", 10, stateBands(rs, healthClass, v.End)})
		}
		out = append(out, l)
	}
	out = append(out, stallLane(v)...)
	return slices.DeleteFunc(out, func(l lane) bool { return len(l.Strips) == 0 })
}

// clientLane shows each stream of a client class on a strip of its own, at most
// eight; further ones are left to the writes per second below.
func clientLane(class string, w map[string][]run) lane {
	var names []string
	for by := range w {
		if by == class || strings.HasPrefix(by, class+"/") {
			names = append(names, by)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	l := lane{Label: class}
	names = names[:min(len(names), 8)]
	for _, by := range names {
		l.Strips = append(l.Strips, strip{"", max(5, 14/float64(len(names))), writeBands(w[by])})
	}
	return l
}

func faultLanes(v *trialView) []lane {
	l := lane{Label: "fault"}
	for _, f := range v.T.Faults {
		if f.Inject == nil {
			continue
		}
		begin, end := timeline.FromMS(f.Inject[0]), v.End
		if f.Revert != nil {
			end = timeline.FromMS(f.Revert[1])
		}
		ev := -1
		if len(f.Events) > 0 {
			ev = f.Events[0]
		}
		hover := f.Kind + " on " + f.Node + ": " + f.Does
		var bs []band
		if f.Effect == nil {
			bs = []band{{begin, end, bandEffect, f.Kind + " " + f.Node + ": no proof of effect", hover + " — no proof of effect", ev}}
		} else {
			eff := timeline.FromMS(f.Effect[0])
			bs = []band{{begin, eff, bandEffect, "", hover + " — injected, not yet in effect", ev},
				{eff, end, bandFault, f.Kind + " " + f.Node, hover + " — " + clip(f.Proof, 120), ev}}
		}
		l.Strips = append(l.Strips, strip{"", 16, bs})
	}
	if len(l.Strips) == 0 {
		return nil
	}
	return []lane{l}
}

func outageLane(v *trialView) []lane {
	by := map[string][]band{}
	for _, o := range v.T.Metrics.Outages {
		class, more := bandOutage, ""
		if o.Censored {
			class, more = bandCensored, ", right-censored: ended by our revert, or still open at the end"
		}
		text := o.Class + " out for " + plusMinus(o.LoMS, o.HiMS)
		ev := -1
		if len(o.Events) > 0 {
			ev = o.Events[0]
		}
		by[o.Class] = append(by[o.Class], band{timeline.FromMS(o.At[0]), timeline.FromMS(o.At[1]), class, text,
			text + " " + exact(o.LoMS, o.HiMS) + " seen by " + o.Client + more, ev})
	}
	l := lane{Label: "outage"}
	for _, class := range sortedKeys(by) {
		l.Strips = append(l.Strips, strip{"", 16, by[class]})
	}
	return []lane{l}
}

// bothLane shows how long two sides took writes: from the promotion for as long
// as the fence lag says.
func bothLane(v *trialView) []lane {
	lag := read(v.T, "fence_lag")
	if v.T.Metrics.SplitBrain.Level < 2 || !lag.Known {
		return nil
	}
	for _, m := range v.marks() {
		if m.Name == "promoted" {
			end := m.At.Lo + timeline.FromMS(lag.Hi)
			text := "two sides took writes for " + plusMinus(lag.Lo, lag.Hi)
			return []lane{{"split", []strip{{"", 16, []band{{m.At.Lo, end, bandBoth, text, text, firstEvent(lag.Events)}}}}}}
		}
	}
	return nil
}

// leaderLanes draws the control plane's view, one lane per observer. Between the
// last look with the old view and the first with the new one it is left open.
func leaderLanes(v *trialView) []lane {
	by := map[string][]timeline.Event{}
	for _, e := range v.Events {
		if e.Kind == timeline.Leader {
			by[e.By] = append(by[e.By], e)
		}
	}
	var out []lane
	for i, name := range sortedKeys(by) {
		if i == 3 {
			break
		}
		es := by[name]
		var bs []band
		for k, e := range es {
			end := v.End
			if k+1 < len(es) {
				end = max(es[k+1].At.Lo, e.At.Hi)
			}
			b := band{e.At.Hi, end, bandLeader, e.Node, name + ": leader " + e.Node, e.I}
			if e.Node == "" {
				b.Class, b.Text, b.Hover = bandNoLeader, "none", name+": no leader"
			}
			if e.Epoch != "" {
				b.Hover += ", term " + e.Epoch
			}
			bs = append(bs, b)
		}
		out = append(out, lane{"leader", []strip{{shortBy(name), 16, bs}}})
	}
	return out
}

// stallLane shows when the runner itself was held up for 20 ms or more: twice
// the period of the fastest probe, so that what was seen then is coarser.
func stallLane(v *trialView) []lane {
	var bs []band
	for _, e := range v.Events {
		if d := time.Duration(e.N); e.Kind == timeline.Stall && d >= 20*time.Millisecond {
			bs = append(bs, band{e.At.Lo, e.At.Hi, bandStall, "", "dapple itself was held up for " + duration(timeline.MS(d)), e.I})
		}
	}
	if len(bs) == 0 {
		return nil
	}
	return []lane{{"runner", []strip{{"stalls", 9, bs}}}}
}

func shortBy(by string) string {
	_, rest, ok := strings.Cut(by, "/")
	if ok {
		by = rest
	}
	return clip(by, 10)
}

// phases draws the trial's phases.
func phases(v *trialView) []band {
	var bs []band
	for _, e := range v.Events {
		if e.Kind != timeline.Phase {
			continue
		}
		if n := len(bs); n > 0 {
			bs[n-1].Hi = e.At.Lo
		}
		bs = append(bs, band{e.At.Lo, v.End, bandPhase, e.Value, "phase " + e.Value, e.I})
	}
	return bs
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// clip shortens s to n runes.
func clip(s string, n int) string {
	i := 0
	for pos := range s {
		if i == n {
			return s[:pos] + "…"
		}
		i++
	}
	return s
}

// A trialView is a trial with its own events and the span of time that they
// cover.
type trialView struct {
	T      *verdict.Trial
	Events timeline.Timeline
	Start  time.Duration
	End    time.Duration
	names  []string
}

func (v *trialView) nodes() []string { return v.names }
