package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// How a metric compares with what the settings predict.
const (
	inside      = "inside"
	faster      = "faster than min"
	slower      = "slower than max"
	secondMode  = "second mode"
	notMeasured = "not measured"
)

// compareExpectation classes each predicted metric: outside only if the whole
// interval is, and of another mode only if the whole interval may be.
func (j *judge) compareExpectation() map[string]Expected {
	out := map[string]Expected{}
	for name, x := range j.in.Expectation {
		m := j.m.get(name)
		switch {
		case m == nil:
			x.Class = notMeasured
		case m.LoMS > x.MaxMS:
			x.Class = slower
			if i := x.modeOf(m); i >= 0 {
				x.Class, x.Mode = secondMode, x.Modes[i].Name
			}
		case m.HiMS < x.MinMS && !m.Censored:
			x.Class = faster
		case m.Censored:
			x.Class = notMeasured
		default:
			x.Class = inside
		}
		out[name] = x
	}
	return out
}

// modeOf is the mode that holds all of what was measured; -1 if none does.
func (x Expected) modeOf(m *Metric) int {
	return slices.IndexFunc(x.Modes, func(o KnownMode) bool {
		return !m.Censored && m.LoMS >= o.MinMS && m.HiMS <= o.MaxMS
	})
}

// judgeExpectation tells of metrics outside of what the settings predict, and of
// a whole that was slow by the part that overran.
func (j *judge) judgeExpectation() {
	for _, name := range slices.Sorted(maps.Keys(j.m.Expectation)) {
		x, m := j.m.Expectation[name], j.m.get(name)
		want := fmt.Sprintf("%s to %s", words(x.MinMS), words(x.MaxMS))
		switch x.Class {
		case slower:
			text := x.Why
			if name == "outage" || name == "rto" {
				text = j.overran()
			}
			j.warn(Finding{Objective: "expectation", Want: name + " " + want, Got: gotOf(m) + ", " + slower,
				Text: text}, m.Events)
		case secondMode:
			o := x.Modes[x.modeOf(m)]
			j.warn(Finding{Objective: "expectation", Want: name + " " + want, Got: fmt.Sprintf("%s, slower than model: %s", gotOf(m), o.Name),
				Text: fmt.Sprintf("%s: %s to %s: %s", secondMode, words(o.MinMS), words(o.MaxMS), o.Why)}, m.Events)
		case faster:
			j.warn(Finding{Objective: "expectation", Want: name + " " + want, Got: gotOf(m) + ", " + faster,
				Text: "a graceful or reset path was exercised, not the declared fault"}, m.Events)
		}
	}
}

// overran names the phases that took longer than predicted; where none has a
// prediction, the longest.
func (j *judge) overran() string {
	var over []string
	longest, most := "", 0.0
	for _, name := range phases() {
		m := j.m.get(name)
		if m == nil {
			continue
		}
		if x := j.m.Expectation[name]; x.Class == slower || x.Class == secondMode {
			text := fmt.Sprintf("%s overran: %s, at most %s was expected", name, gotOf(m), words(x.MaxMS))
			if x.Mode != "" {
				text += " (" + x.Mode + ")"
			}
			over = append(over, text)
		}
		if m.LoMS > most {
			longest, most = fmt.Sprintf("the longest phase was %s: %s", name, gotOf(m)), m.LoMS
		}
	}
	if len(over) > 0 {
		return strings.Join(over, "; ")
	}
	return longest
}

// judgeBent tells of settings that are not what was declared: whoever reads the
// configuration expects something else of the system than it does.
func (j *judge) judgeBent() {
	for _, b := range j.in.Bent {
		j.warn(Finding{Objective: "settings", Want: "declared = effective", Got: fmt.Sprintf("%s: declared %s, effective %s", b.Name, b.Declared, b.Effective),
			Text: b.Why})
	}
}
