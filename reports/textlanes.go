package reports

import (
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills/verdict"
)

// The lanes of a trial as characters: the same bands as in the picture, one
// column per piece of time, the class that weighs most in it.

const laneColumns = 66

// glyph is how a class is shown in one character, and its colour.
func glyph(class string) (rune, string) {
	switch class {
	case bandPrimary:
		return 'P', blue
	case bandReplica:
		return 'r', ""
	case bandNone:
		return '-', yellow
	case bandSilent:
		return 'x', red
	case bandAcked:
		return '+', green
	case bandDegraded:
		return '~', yellow
	case bandFailed:
		return 'x', red
	case bandUnknown:
		return '?', yellow
	case bandFault, bandEffect, bandBoth:
		return '#', red
	}
	return '.', ""
}

func (t *textWriter) lanes(v *trialView) {
	if len(v.Events) == 0 {
		return
	}
	s := scale{v.Start, v.End, laneColumns}
	t.line("")
	t.line("  ", pad("", 8), ruler(s))
	for _, l := range lanes(v) {
		var bs []band
		for i, st := range l.Strips {
			if l.Label == "app" || l.Label == "fresh" || l.Label == "fault" || i == 0 {
				bs = append(bs, st.Bands...)
			}
		}
		if len(bs) == 0 || slices.Contains([]string{"outage", "leader", "runner"}, l.Label) {
			continue
		}
		t.line("  ", pad(clip(clean(l.Label), 7), 8), t.cells(s, bs))
	}
	t.line("  ", pad("", 8), "P primary  r replica  - neither  + acked  x refused, silent  ? unknown")
}

func (t *textWriter) cells(s scale, bs []band) string {
	classes := make([]string, laneColumns)
	for _, b := range bs {
		if !s.overlaps(b.Lo, b.Hi) {
			continue
		}
		from, to := int(s.x(b.Lo)), int(s.x(b.Hi))
		for c := min(from, laneColumns-1); c <= min(to, laneColumns-1); c++ {
			if classes[c] == "" || weight(b.Class) > weight(classes[c]) {
				classes[c] = b.Class
			}
		}
	}
	var out strings.Builder
	for i := 0; i < len(classes); {
		j := i
		for j < len(classes) && classes[j] == classes[i] {
			j++
		}
		r, colour := glyph(classes[i])
		out.WriteString(t.colour(colour, strings.Repeat(string(r), j-i)))
		i = j
	}
	return out.String()
}

// ruler writes round times above their columns.
func ruler(s scale) string {
	wide := s
	wide.w *= 14 // about one label in eight columns
	at, decimals := wide.ticks()
	line := []rune(strings.Repeat(" ", laneColumns))
	for _, d := range at {
		label := []rune(fix(d.Seconds(), decimals) + " s")
		if c := int(s.x(d)); c+len(label) <= laneColumns {
			copy(line[c:], label)
		}
	}
	return strings.TrimRight(string(line), " ")
}

// marks lists the instants in one paragraph.
func (t *textWriter) marks(v *trialView) {
	var parts []string
	for _, m := range v.marks() {
		when := m.Since
		if when == "" {
			when = "at " + clock((m.At.Lo+m.At.Hi)/2, 3)
		}
		parts = append(parts, m.Name+nbsp+when)
	}
	t.wrap("  ", strings.Join(parts, " · "))
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
)

// colour paints s for a terminal (ECMA-48 select graphic rendition).
func (t *textWriter) colour(code, s string) string {
	if t.paint == Plain || code == "" {
		return s
	}
	return "\x1b[1;" + code + "m" + s + "\x1b[0m"
}

func (t *textWriter) outcome(o verdict.Outcome, s string) string {
	switch o {
	case verdict.Met:
		return t.colour(green, s)
	case verdict.Missed:
		return t.colour(red, s)
	case verdict.Unproven:
		return t.colour(yellow, s)
	}
	return s
}

func verdictColour(v verdict.Verdict) string {
	switch v {
	case verdict.Pass:
		return green
	case verdict.Fail:
		return red
	}
	return yellow
}
