// Package matrix puts designs beside each other: several systems under the same
// drills, with what was measured of each. It is a pure function of the records.
package matrix

import (
	"maps"
	"slices"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/stats"
	"github.com/dapple-drills/dapple/scenarios"
)

// Schema is the format of a matrix as JSON.
const Schema = "dapple.compare/v1"

// A Matrix has a row for each system, and in it a cell for each scenario.
type Matrix struct {
	Schema    string   `json:"schema"`
	Scenarios []string `json:"scenarios"`
	Rows      []Row    `json:"rows"`
}

// A Row is a system, with what its owners say of its design.
type Row struct {
	System string           `json:"system"`
	Kind   string           `json:"kind"`
	Design scenarios.Design `json:"design"`
	Write  *Cost            `json:"write"` // before any fault, over all its drills; null: not measured
	Cells  []Cell           `json:"cells"` // in the order of the scenarios
}

// A Cost is how long writes take while nothing is wrong, in ms: the middle of the
// buckets' medians and 99th percentiles before the effect.
type Cost struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// A Cell is one drill, or why there is none.
type Cell struct {
	Run        string          `json:"run"`
	Verdict    verdict.Verdict `json:"verdict"` // "" if there is none
	Why        string          `json:"why,omitempty"`
	N          int             `json:"n"` // trials that count
	Detection  *[2]float64     `json:"detection_ms"`
	RTO        *[2]float64     `json:"rto_ms"` // the bounds of the median
	RTOMax     *float64        `json:"rto_max_ms"`
	Lost       *int64          `json:"lost_writes"`
	RPOMaxMS   *float64        `json:"rpo_max_ms"`
	SplitBrain int             `json:"split_brain"` // the highest level that was proven
	Absent     bool            `json:"split_brain_proven_absent"`
}

// A Drilled is a record, and which system and scenario of the comparison it is of.
type Drilled struct {
	System, Scenario string
	Record           *drills.Record // nil: refused, or not for this kind of system
	Why              string
}

// Make sorts what was drilled into a matrix; systems and scenarios keep the order in
// which they come.
func Make(all []Drilled) Matrix {
	m := Matrix{Schema: Schema, Scenarios: []string{}, Rows: []Row{}}
	row := map[string]int{}
	for _, d := range all {
		if !slices.Contains(m.Scenarios, d.Scenario) {
			m.Scenarios = append(m.Scenarios, d.Scenario)
		}
		if _, ok := row[d.System]; !ok {
			row[d.System] = len(m.Rows)
			m.Rows = append(m.Rows, Row{System: d.System})
		}
	}
	costs := map[string][][2]float64{}
	for i := range m.Rows {
		m.Rows[i].Cells = make([]Cell, len(m.Scenarios))
	}
	for _, d := range all {
		r := &m.Rows[row[d.System]]
		r.Cells[slices.Index(m.Scenarios, d.Scenario)] = cell(d)
		if d.Record != nil {
			r.Kind, r.Design = d.Record.System.Kind, d.Record.System.Design
			costs[d.System] = append(costs[d.System], writes(d.Record)...)
		}
	}
	for name := range maps.Keys(costs) {
		m.Rows[row[name]].Write = cost(costs[name])
	}
	return m
}

func cell(d Drilled) Cell {
	if d.Record == nil {
		return Cell{Why: d.Why}
	}
	c := Cell{Run: d.Record.Run, Verdict: d.Record.Verdict, Why: d.Record.Reason, Absent: true}
	var detection, rto [][2]float64
	for i := range d.Record.Trials {
		t := &d.Record.Trials[i]
		c.SplitBrain = max(c.SplitBrain, t.Metrics.SplitBrain.Level) // what was proven, whatever else the trial is worth
		if t.Verdict == verdict.Invalid || t.Verdict == verdict.Aborted {
			continue
		}
		c.N++
		c.Absent = c.Absent && t.Metrics.SplitBrain.ProvenAbsent
		if m := t.Metrics.Detection; m != nil && !m.Censored {
			detection = append(detection, [2]float64{m.LoMS, m.HiMS})
		}
		if m := t.Metrics.RTO; m != nil && !m.Censored {
			rto = append(rto, [2]float64{m.LoMS, m.HiMS})
			c.RTOMax = most(c.RTOMax, m.HiMS)
		}
		if l := t.Metrics.Loss; l != nil {
			c.Lost = most(c.Lost, l.Lost)
			c.RPOMaxMS = most(c.RPOMaxMS, l.RPOHiMS)
		}
	}
	c.Absent = c.Absent && c.N > 0
	c.Detection, c.RTO = median(detection), median(rto)
	return c
}

func most[T int64 | float64](have *T, v T) *T {
	if have == nil || v > *have {
		return &v
	}
	return have
}

func median(xs [][2]float64) *[2]float64 {
	if len(xs) == 0 {
		return nil
	}
	var a, b []float64
	for _, x := range xs {
		a, b = append(a, x[0]), append(b, x[1])
	}
	return &[2]float64{stats.Median(a), stats.Median(b)}
}

// writes are the latencies of the buckets that ended before the first effect.
func writes(rec *drills.Record) [][2]float64 {
	var out [][2]float64
	for i := range rec.Trials {
		t := &rec.Trials[i]
		w := &t.Metrics.Workload
		effect := -1.0
		for _, f := range t.Faults {
			if f.Effect != nil && (effect < 0 || f.Effect[0] < effect) {
				effect = f.Effect[0]
			}
		}
		for k := range w.P50 {
			if w.FirstMS+float64(k+1)*w.BucketMS <= effect && w.P50[k] > 0 && k < len(w.P99) {
				out = append(out, [2]float64{w.P50[k], w.P99[k]})
			}
		}
	}
	return out
}

func cost(xs [][2]float64) *Cost {
	m := median(xs)
	if m == nil {
		return nil
	}
	return &Cost{m[0], m[1]}
}
