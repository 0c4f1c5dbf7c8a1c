// Package sweep brings together what drills say of one parameter of a system: how
// long a failover takes at each value, against how often a short disturbance causes
// one that need not be. It is a pure function of the records.
package sweep

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/stats"
)

// Schema is the format of a sweep as JSON.
const Schema = "dapple.sweep/v1"

// A Sweep is a parameter over its values, in their order.
type Sweep struct {
	Schema    string    `json:"schema"`
	Made      time.Time `json:"made"`
	System    string    `json:"system"`
	Parameter string    `json:"parameter"`
	RTOMS     *float64  `json:"rto_ms"`      // declared; null: nothing is recommended
	Tolerate  float64   `json:"tolerate_ms"` // the longest disturbance that must cause no failover
	Values    []Value   `json:"values"`
	Range     *Range    `json:"recommended"` // null: no value is proven to do
	Why       string    `json:"why"`
}

// A Value is what was measured at one value of the parameter.
type Value struct {
	ValueMS float64 `json:"value_ms"`
	Kill    Kill    `json:"kill"`
	Blips   []Blip  `json:"blips"`
	// Fits: the RTO was met in every trial, and no tolerated disturbance caused a
	// failover; both proven.
	Fits bool   `json:"fits"`
	Why  string `json:"why"` // why it does not
}

// A Kill is the drill in which the primary was killed.
type Kill struct {
	Runs      []string    `json:"runs"`
	Verdict   string      `json:"verdict"`
	N         int         `json:"n"`
	Detection *[2]float64 `json:"detection_ms"` // the bounds of the median
	RTO       *[2]float64 `json:"rto_ms"`       // likewise
	WorstMS   float64     `json:"worst_rto_ms"` // the highest upper bound; 0 if none was measured
	Met       bool        `json:"met"`          // the objective, in each trial
}

// A Blip is the drill with a disturbance of that length.
type Blip struct {
	BlipMS    float64  `json:"blip_ms"`
	Runs      []string `json:"runs"`
	N         int      `json:"n"`         // trials that tell whether the role moved
	Failovers int      `json:"failovers"` // those in which it did
	Untold    int      `json:"untold"`    // trials that do not count, or cannot tell
}

// A Range is from the least to the greatest value that is proven to do, with none
// between them that is not.
type Range struct {
	FromMS float64 `json:"from_ms"`
	ToMS   float64 `json:"to_ms"`
}

// KillOf reads the record of a kill.
func KillOf(rec *drills.Record) Kill {
	k := Kill{Runs: runsOf(rec), Verdict: string(rec.Verdict), Met: true}
	var detection, rto [][2]float64
	for i := range rec.Trials {
		t := &rec.Trials[i]
		if t.Verdict == verdict.Invalid || t.Verdict == verdict.Aborted {
			continue
		}
		k.N++
		k.Met = k.Met && outcome(t, "rto") == verdict.Met
		if m := t.Metrics.Detection; m != nil && !m.Censored {
			detection = append(detection, [2]float64{m.LoMS, m.HiMS})
		}
		if m := t.Metrics.RTO; m != nil && !m.Censored {
			rto = append(rto, [2]float64{m.LoMS, m.HiMS})
			k.WorstMS = max(k.WorstMS, m.HiMS)
		}
	}
	k.Met = k.Met && k.N > 0
	k.Detection, k.RTO = median(detection), median(rto)
	return k
}

// BlipOf reads the record of a disturbance of that length.
func BlipOf(length time.Duration, rec *drills.Record) Blip {
	b := Blip{BlipMS: ms(length), Runs: runsOf(rec)}
	for i := range rec.Trials {
		t := &rec.Trials[i]
		counts := t.Verdict != verdict.Invalid && t.Verdict != verdict.Aborted
		switch f := outcome(t, "failover"); {
		case counts && f == verdict.Met:
			b.N++
		case f == verdict.Missed:
			b.N++
			b.Failovers++
		default:
			b.Untold++
		}
	}
	return b
}

// runsOf is the run of a record; none of a drill that was refused.
func runsOf(rec *drills.Record) []string {
	if rec.Run == "" {
		return []string{}
	}
	return []string{rec.Run}
}

func outcome(t *verdict.Trial, objective string) verdict.Outcome {
	for _, f := range t.Findings {
		if f.Objective == objective && f.Severity != "warning" {
			return f.Outcome
		}
	}
	return ""
}

func median(xs [][2]float64) *[2]float64 {
	if len(xs) == 0 {
		return nil
	}
	var los, his []float64
	for _, x := range xs {
		los, his = append(los, x[0]), append(his, x[1])
	}
	return &[2]float64{stats.Median(los), stats.Median(his)}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Judge says which values fit, and recommends the widest stretch of them: values
// that lie beside each other among those that were tried.
func (s *Sweep) Judge() {
	slices.SortFunc(s.Values, func(a, b Value) int { return cmp.Compare(a.ValueMS, b.ValueMS) })
	for i := range s.Values {
		v := &s.Values[i]
		v.Why = s.unfit(v)
		v.Fits = v.Why == ""
	}
	s.Range = nil
	best := 0
	for i := 0; i < len(s.Values); i++ {
		j := i
		for j < len(s.Values) && s.Values[j].Fits {
			j++
		}
		if j-i > best {
			best = j - i
			s.Range = &Range{s.Values[i].ValueMS, s.Values[j-1].ValueMS}
		}
		i = max(i, j-1)
	}
	switch {
	case s.RTOMS == nil:
		s.Why = "no RTO is declared: nothing can be recommended"
	case s.Range == nil:
		s.Why = "at no value both were proven: the RTO, and that a tolerated disturbance moves nothing"
	default:
		s.Why = fmt.Sprintf("in each of %d values the RTO was met in every trial, and no disturbance of up to %v moved the role", best, time.Duration(s.Tolerate*float64(time.Millisecond)))
	}
}

// unfit is why a value does not do, or "".
func (s *Sweep) unfit(v *Value) string {
	var why []string
	switch {
	case s.RTOMS == nil:
		return "no RTO is declared"
	case !v.Kill.Met:
		why = append(why, "the RTO is not proven to be met")
	}
	told := 0
	for _, b := range v.Blips {
		if b.BlipMS > s.Tolerate {
			continue
		}
		if b.Failovers > 0 {
			why = append(why, fmt.Sprintf("%v caused %d failovers in %d trials", time.Duration(b.BlipMS*float64(time.Millisecond)), b.Failovers, b.N))
		} else if b.N > 0 && b.Untold == 0 {
			told++
		} else {
			why = append(why, fmt.Sprintf("%d trials of %v could not tell", b.Untold, time.Duration(b.BlipMS*float64(time.Millisecond))))
		}
	}
	if told == 0 && len(why) == 0 {
		why = append(why, "no tolerated disturbance was drilled")
	}
	return strings.Join(why, "; ")
}
