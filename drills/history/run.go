package history

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

// A Run is a drill as the history knows it: what can be asked for, and a digest
// of its record. The record itself is in Dir.
type Run struct {
	Run         string          `json:"run"`
	Dir         string          `json:"dir"` // absolute; "" if it is on another machine
	Origin      string          `json:"origin"`
	System      string          `json:"system"`
	Kind        string          `json:"kind"`
	Environment string          `json:"environment"`
	Scenario    string          `json:"scenario"` // the drill's name
	Started     time.Time       `json:"started"`
	Finished    time.Time       `json:"finished"` // zero: it never ended
	Verdict     verdict.Verdict `json:"verdict"`
	Operator    string          `json:"operator"`
	Trials      int             `json:"trials"`
	SHA256      string          `json:"sha256"` // of record.json
	Prev        string          `json:"prev_sha256"`
	Link        Linked          `json:"link"`
	Digest      Digest          `json:"digest"`
}

// Linked is where a run stands in its chain; N is 0 if it stands in none, and
// then it proves nothing.
type Linked struct {
	N     int       `json:"n"`
	Hash  string    `json:"hash"` // of its line
	Prev  string    `json:"prev"` // of the line before
	How   string    `json:"how"`  // ByDrill, ByHand, ByAdding
	Added time.Time `json:"added"`
}

// A Digest is what questions about many runs need of each record.
type Digest struct {
	Reason     string            `json:"reason,omitempty"`
	Claim      string            `json:"claim,omitempty"`
	ExitCode   int               `json:"exit_code"`
	Left       bool              `json:"left,omitempty"` // something was still in place
	N          int               `json:"n"`              // trials that count
	Design     scenarios.Design  `json:"design"`
	Objectives drills.Objectives `json:"objectives"`
	Findings   []Finding         `json:"findings,omitempty"`
	Steps      []Step            `json:"steps,omitempty"`
	Failover   *bool             `json:"failover,omitempty"` // as the scenario expected it
	Failovers  int               `json:"failovers,omitempty"`
	Rejoined   bool              `json:"rejoined,omitempty"` // rejoin was measured
	Phase      string            `json:"phase,omitempty"`    // of the trials that count: random, worst or best
	Setup      string            `json:"setup"`              // a hash of settings and versions
	ScenarioID string            `json:"scenario_sha256"`
	People     []drills.Person   `json:"people,omitempty"`
	Critical   bool              `json:"critical,omitempty"`
	Touched    int               `json:"touched,omitempty"` // nodes, in the trial with the most faults
}

// A Finding is the worst outcome of an objective in the trials of a run.
type Finding struct {
	Objective string          `json:"objective"`
	Outcome   verdict.Outcome `json:"outcome"`
	Want      string          `json:"want,omitempty"`
	Got       string          `json:"got,omitempty"`
}

// A Step is a fault as the scenario asked for it.
type Step struct {
	Inject string            `json:"inject"`
	On     []string          `json:"on"`
	With   map[string]string `json:"with,omitempty"`
	AtMS   float64           `json:"at_ms,omitempty"`
	ForMS  float64           `json:"for_ms,omitempty"`
	Node   string            `json:"node,omitempty"` // on which the first trial injected it; "" if on several
}

// A Reading is a metric of one trial that counts, in ms; a censored one has no
// upper bound.
type Reading struct {
	Metric   string
	Trial    int
	Lo, Hi   float64
	Censored bool
}

// fromRecord is the run of a record that was read from dir.
func fromRecord(dir string, rec *drills.Record) Run {
	return Run{
		Run: rec.Run, Dir: dir, System: rec.System.Name, Kind: rec.System.Kind, Environment: rec.System.Environment,
		Scenario: rec.Drill.Name, Started: rec.Started, Finished: rec.Finished, Verdict: rec.Verdict, Operator: rec.Operator,
		Trials: len(rec.Trials), Prev: rec.PrevSHA256, Digest: digest(rec),
	}
}

func digest(rec *drills.Record) Digest {
	d := Digest{
		Reason: rec.Reason, Claim: rec.Claim, ExitCode: rec.ExitCode, Left: rec.Left(), N: rec.Series.N,
		Design: rec.System.Design, Objectives: rec.Objectives, Findings: findings(rec), Steps: steps(rec),
		Failover: rec.Scenario.ExpectFailover, Setup: setup(rec), ScenarioID: rec.Drill.ScenarioSHA256, People: rec.People,
		Critical: rec.System.Critical, Touched: touched(rec),
	}
	for _, t := range rec.Trials {
		if !counts(t) {
			continue
		}
		if strings.HasPrefix(t.Expect.Outcome, "failover ") {
			d.Failovers++
		}
		d.Rejoined = d.Rejoined || t.Metrics.Rejoin != nil && !t.Metrics.Rejoin.Censored
		if d.Phase == "" {
			d.Phase = t.Phase.Asked
		}
	}
	return d
}

func touched(rec *drills.Record) (most int) {
	for _, t := range rec.Trials {
		nodes := map[string]bool{}
		for _, f := range t.Faults {
			nodes[f.Node] = true
		}
		most = max(most, len(nodes))
	}
	return most
}

// counts says whether a trial may prove anything that is good.
func counts(t verdict.Trial) bool {
	return t.Verdict != verdict.Invalid && t.Verdict != verdict.Aborted
}

// findings are the worst of each objective that was judged, by name. A miss
// counts wherever it was proven; all else only where the trial does.
func findings(rec *drills.Record) []Finding {
	rank := map[verdict.Outcome]int{verdict.Met: 1, verdict.Unproven: 2, verdict.Missed: 3}
	worst := map[string]Finding{}
	for _, t := range rec.Trials {
		for _, f := range t.Findings {
			if rank[f.Outcome] == 0 || f.Outcome != verdict.Missed && !counts(t) || f.Severity == "warning" {
				continue
			}
			if rank[f.Outcome] > rank[worst[f.Objective].Outcome] {
				worst[f.Objective] = Finding{f.Objective, f.Outcome, f.Want, f.Got}
			}
		}
	}
	var out []Finding
	for _, name := range slices.Sorted(maps.Keys(worst)) {
		out = append(out, worst[name])
	}
	return out
}

func steps(rec *drills.Record) []Step {
	var out []Step
	for _, s := range rec.Scenario.Steps {
		step := Step{Inject: s.Inject, On: s.On, With: s.With, AtMS: s.AtMS, ForMS: s.ForMS}
		nodes := map[string]bool{}
		if len(rec.Trials) > 0 {
			for _, f := range rec.Trials[0].Faults {
				if f.Kind == s.Inject {
					nodes[f.Node] = true
				}
			}
		}
		if len(nodes) == 1 {
			step.Node = slices.Collect(maps.Keys(nodes))[0]
		}
		out = append(out, step)
	}
	return out
}

// setup tells series apart that must not be compared without a word: the
// effective settings and the versions.
func setup(rec *drills.Record) string {
	data, err := json.Marshal([]any{rec.System.Settings, rec.System.Versions})
	if err != nil {
		panic("dapple: internal error: " + err.Error()) // maps of strings
	}
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:6])
}

// metricsOf are the durations that a trial measures, by their names in the record.
func metricsOf(m *verdict.Metrics) map[string]*verdict.Metric {
	return map[string]*verdict.Metric{
		"detection": m.Detection, "election": m.Election, "promotion": m.Promotion, "routing": m.Routing,
		"outage": m.Outage, "rto": m.RTO, "fence_lag": m.FenceLag, "rejoin": m.Rejoin, "redundancy": m.Redundancy,
		"first_ack": m.FirstAck, "stable": m.Stable, "full": m.Full, "false_green": m.FalseGreen, "false_red": m.FalseRed,
	}
}

// readings are those of the trials that count, of one phase (see verdict.Series).
func readings(rec *drills.Record) []Reading {
	var out []Reading
	phase := ""
	for i := range rec.Trials {
		t := &rec.Trials[i]
		if !counts(*t) {
			continue
		}
		if phase == "" {
			phase = t.Phase.Asked
		}
		if t.Phase.Asked != phase {
			continue
		}
		all := metricsOf(&t.Metrics)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if m := all[name]; m != nil {
				out = append(out, Reading{name, t.N, m.LoMS, m.HiMS, m.Censored})
			}
		}
	}
	return out
}

// Finding returns what was found of an objective.
func (d *Digest) Finding(objective string) (Finding, bool) {
	for _, f := range d.Findings {
		if f.Objective == objective {
			return f, true
		}
	}
	return Finding{}, false
}
