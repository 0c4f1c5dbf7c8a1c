package drills

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/scenarios"
)

// newRecord is the record of a drill that is about to begin.
func (p *Plan) newRecord(v Preview) Record {
	sum := sha256.Sum256(p.Files.Scenario)
	r := Record{
		Schema:     Schema,
		Run:        p.Run,
		Drill:      DrillInfo{Name: p.Scenario.Name, Why: p.Scenario.Why, ScenarioSHA256: hex.EncodeToString(sum[:]), ScenarioFile: p.Files.ScenarioName},
		Dapple:     ToolInfo{Version: p.Version},
		Started:    time.Now(),
		System:     p.systemInfo(v),
		Objectives: units(p.Objectives),
		Verdict:    verdict.Invalid,
		Reason:     "the drill has not come to its end",
		ExitCode:   verdict.ExitCode(verdict.Invalid, false),
		Seed:       p.Seed,
		Operator:   p.Operator,
		People:     p.people(),
		PrevSHA256: p.PrevSHA256,
		Notes:      v.Notes,
		Trials:     []verdict.Trial{},
		Scenario:   p.facts(v),
	}
	r.Series.Metrics = map[string]verdict.Spread{}
	return r
}

func (p *Plan) systemInfo(v Preview) SystemInfo {
	info := SystemInfo{
		Name: p.Target.Name, Kind: p.Target.Kind, Environment: string(p.Target.Environment), Critical: bool(p.Target.Guardrails.Critical),
		Versions: v.Versions, Settings: v.Settings, Design: p.Target.Design, Nodes: []NodeInfo{},
	}
	for _, n := range p.Nodes {
		info.Nodes = append(info.Nodes, NodeInfo{n.Name(), string(v.Roles[n.Name()].Role)})
	}
	return info
}

func (p *Plan) facts(v Preview) Facts {
	s := p.Scenario
	f := Facts{
		RatePerS: float64(s.Workload.Rate), Clients: s.Workload.Clients,
		SteadyMS: ms(s.Steady.D()), SettleMS: ms(s.Settle.D()), StableForMS: ms(s.StableFor.D()), FullForMS: ms(s.FullFor.D()),
		AppReconnectMS: ms(p.appReconnect()), FreshPeriodMS: ms(p.FreshPeriod),
		MultiPrimary: p.Kind.MultiPrimary, AnyNodeTakesWrites: p.Kind.AnyNodeTakesWrites, Bent: v.Bent, Untold: p.Untold(), Training: p.trainingFacts(),
	}
	for _, st := range p.Steps {
		f.Steps = append(f.Steps, StepFacts{Inject: st.Inject, On: st.On, With: st.Params, ForMS: ms(st.For.D()), AtMS: ms(st.At.D()), Phase: string(p.phaseOf(st)), Line: st.Pos.Line, Col: st.Pos.Col})
	}
	if s.Expect.Failover != nil {
		yes := bool(*s.Expect.Failover)
		f.ExpectFailover = &yes
	}
	return f
}

// units puts the declared objectives into the record's units.
func units(o scenarios.Objectives) Objectives {
	in := func(d *scenarios.Duration) *float64 {
		if d == nil {
			return nil
		}
		v := ms(d.D())
		return &v
	}
	never := func(n *scenarios.Never) string {
		if n == nil {
			return ""
		}
		return "never"
	}
	r := Objectives{
		DetectionMS: in(o.Detection), RTOMS: in(o.RTO), RejoinMS: in(o.Rejoin), RedundancyMS: in(o.Redundancy), FalseGreenMS: in(o.FalseGreen), AlertMS: in(o.Alert),
		SplitBrain: never(o.SplitBrain), StaleReads: never(o.StaleReads), LateWrites: never(o.LateWrites),
	}
	if o.RPO != nil {
		r.RPOWrites = o.RPO.Writes
		if o.RPO.Age != nil {
			v := ms(*o.RPO.Age)
			r.RPOMS = &v
		}
	}
	return r
}

// declared is the inverse of units.
func declared(o Objectives) scenarios.Objectives {
	in := func(v *float64) *scenarios.Duration {
		if v == nil {
			return nil
		}
		d := scenarios.Duration(timeline.FromMS(*v))
		return &d
	}
	never := func(s string) *scenarios.Never {
		if s == "" {
			return nil
		}
		n := scenarios.Never(true)
		return &n
	}
	r := scenarios.Objectives{
		Detection: in(o.DetectionMS), RTO: in(o.RTOMS), Rejoin: in(o.RejoinMS), Redundancy: in(o.RedundancyMS), FalseGreen: in(o.FalseGreenMS), Alert: in(o.AlertMS),
		SplitBrain: never(o.SplitBrain), StaleReads: never(o.StaleReads), LateWrites: never(o.LateWrites),
	}
	if o.RPOWrites != nil || o.RPOMS != nil {
		r.RPO = &scenarios.RPO{Writes: o.RPOWrites}
		if o.RPOMS != nil {
			d := timeline.FromMS(*o.RPOMS)
			r.RPO.Age = &d
		}
	}
	return r
}

// input is what the verdict on a trial rests on.
func (p *Plan) input(n int, t timeline.Timeline, v Preview, dead map[string]bool, eps time.Duration) verdict.Input {
	in := inputOf(p.facts(v), p.Objectives)
	in.N, in.Timeline, in.Expectation, in.NodeDead, in.ClockEps = n, t, v.Expectation, dead, eps
	return in
}

// inputOf is the part of the input that is the same for all trials.
func inputOf(f Facts, o scenarios.Objectives) verdict.Input {
	phase := "random"
	if len(f.Steps) > 0 {
		phase = slices.MinFunc(f.Steps, func(a, b StepFacts) int { return cmp.Compare(a.AtMS, b.AtMS) }).Phase
	}
	return verdict.Input{
		Objectives:   o,
		Failover:     f.ExpectFailover,
		Phase:        verdict.Phase{Asked: phase},
		Window:       verdict.Window{Settle: timeline.FromMS(f.SettleMS), StableFor: timeline.FromMS(f.StableForMS), FullFor: timeline.FromMS(f.FullForMS)},
		AppReconnect: timeline.FromMS(f.AppReconnectMS), FreshPeriod: timeline.FromMS(f.FreshPeriodMS),
		MultiPrimary: f.MultiPrimary, AnyNodeTakesWrites: f.AnyNodeTakesWrites, Bent: f.Bent, Untold: f.Untold, Training: f.Training != nil,
	}
}

// Rejudge gives the verdict on a record again, from its timeline and the facts
// that it holds.
func Rejudge(r Record, t timeline.Timeline) Record {
	for i, old := range r.Trials {
		var own timeline.Timeline
		for _, e := range t {
			if e.Trial == old.N {
				own = append(own, e)
			}
		}
		in := inputOf(r.Scenario, declared(r.Objectives))
		in.N, in.Timeline, in.NodeDead = old.N, own, r.Scenario.NodeDead
		in.ClockEps = timeline.FromMS(old.Metrics.Tool.ClockEpsMS)
		in.Expectation = map[string]verdict.Expected{}
		for name, e := range old.Metrics.Expectation {
			e.Class, e.Mode = "", ""
			in.Expectation[name] = e
		}
		r.Trials[i] = verdict.Judge(in)
		r.Trials[i].Started = old.Started
	}
	Summarize(&r)
	r.ExitCode = verdict.ExitCode(r.Verdict, r.Left())
	return r
}

// Summarize brings the trials of r together: series, verdict, claim.
func Summarize(r *Record) {
	r.Series, r.Verdict, r.Claim, r.Reason = verdict.Summarize(r.Trials)
	r.ExitCode = verdict.ExitCode(r.Verdict, r.Left())
}

// WriteRecord writes record.json into dir so that it survives a crash.
func WriteRecord(dir string, r Record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(dir, "record.json"), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

// ReadRecord reads record.json from a run directory.
func ReadRecord(dir string) (Record, error) {
	var r Record
	path := filepath.Join(dir, "record.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read the record: %w", err)
	}
	if r, err = ParseRecord(data); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// ParseRecord reads the content of a record.json.
func ParseRecord(data []byte) (r Record, err error) {
	if err := json.Unmarshal(data, &r); err != nil {
		return r, err
	}
	if r.Schema != Schema {
		return r, fmt.Errorf("its schema is %q, and this dapple reads %q: use the dapple that wrote it", r.Schema, Schema)
	}
	return r, nil
}
