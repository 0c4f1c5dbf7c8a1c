package drills

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// A Preview is what a drill would do, and what is known of the system before
// it: all that preflight read.
type Preview struct {
	Roles       map[string]probes.Claim
	Steps       []StepPreview
	Expectation map[string]verdict.Expected
	// Failover is what the settings predict; nil without a model for the fault.
	Failover *bool
	Settings map[string]string
	Versions map[string]string
	Bent     []verdict.Bent // settings whose declared value is not in effect
	Notes    []string
}

// StepPreview is one step with the faults that it would make now.
type StepPreview struct {
	Step   Step
	Faults []injectors.Fault
}

// Preflight finds every reason not to begin, without changing anything. The
// error is a *Refusal that holds all of them.
func Preflight(ctx context.Context, p *Plan) (Preview, error) {
	var v Preview
	var problems []error
	v.Roles = askRoles(ctx, p)
	if err := onePrimary(p, v.Roles); err != nil {
		problems = append(problems, err)
	}
	problems = append(problems, redundant(p, v.Roles)...)
	problems = append(problems, guarded(ctx, p)...)
	problems = append(problems, connects(ctx, p)...)
	strange, errs := oneCluster(ctx, p)
	v.Notes = append(v.Notes, strange...)
	problems = append(problems, errs...)
	if err := v.settings(ctx, p); err != nil {
		problems = append(problems, err)
	}
	for _, s := range p.Steps {
		step, notes, errs := previewStep(ctx, p, s)
		v.Steps = append(v.Steps, step)
		v.Notes = append(v.Notes, notes...)
		problems = append(problems, errs...)
	}
	if err := v.expect(ctx, p); err != nil {
		problems = append(problems, err)
	}
	v.untold(p)
	if len(problems) > 0 {
		return v, &Refusal{problems}
	}
	return v, nil
}

// connects opens and closes one session at the client endpoint: a wrong password
// or address is found before anything is touched.
func connects(ctx context.Context, p *Plan) []error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, ack := p.System.Open(ctx, probes.Where{})
	if ack != nil {
		return []error{fmt.Errorf("connect to the client endpoint as an application would: %s", ack.Reply)}
	}
	if err := s.Close(); err != nil {
		return []error{fmt.Errorf("close a session at the client endpoint: %w", err)}
	}
	return nil
}

func (v *Preview) settings(ctx context.Context, p *Plan) error {
	s, ok := p.System.(probes.Settings)
	if !ok {
		v.Notes = append(v.Notes, fmt.Sprintf("kind %s cannot tell its settings: nothing is predicted from them", p.Kind.Name))
		return nil
	}
	var err error
	var notes []string
	if v.Settings, notes, err = s.Settings(ctx); err != nil {
		return fmt.Errorf("read the effective settings: %w", err)
	}
	v.Notes = append(v.Notes, notes...)
	if v.Versions, err = s.Versions(ctx); err != nil {
		return fmt.Errorf("read the versions: %w", err)
	}
	return v.bent(ctx, p)
}

func (v *Preview) bent(ctx context.Context, p *Plan) error {
	s, ok := p.System.(probes.Bender)
	if !ok {
		return nil
	}
	bent, err := s.Bent(ctx)
	if err != nil {
		return fmt.Errorf("compare the settings with what was declared: %w", err)
	}
	for _, b := range bent {
		v.Bent = append(v.Bent, verdict.Bent(b))
	}
	return nil
}

func previewStep(ctx context.Context, p *Plan, s Step) (sp StepPreview, notes []string, problems []error) {
	sp.Step = s
	aim, _, err := p.aim(ctx, s)
	if err != nil {
		return sp, nil, []error{err}
	}
	if sp.Faults, err = s.Injector.Plan(ctx, aim); err != nil {
		return sp, nil, []error{fmt.Errorf("%s: %w", s.Pos, err)}
	}
	for _, n := range aim.On {
		if _, ok := n.(targets.Portable); !ok {
			problems = append(problems, fmt.Errorf("%s: node %s cannot be reached by an agent, so nothing would end the fault if dapple died: only probes may use it", s.Pos, n.Name()))
		}
		note, err := p.policy(ctx, s, n)
		if err != nil {
			problems = append(problems, err)
		}
		if note != "" {
			notes = append(notes, note)
		}
	}
	if err := p.lockable(ctx, s); err != nil {
		problems = append(problems, err)
	}
	return sp, notes, problems
}

// policy finds that the node's engine would start it again before `for` is over:
// the fault would then not be the one that was declared.
func (p *Plan) policy(ctx context.Context, s Step, n targets.Node) (note string, err error) {
	st, ok := n.(targets.Starter)
	if !ok || s.Params["mode"] == "fence" || s.Inject != "kill" {
		return "", nil
	}
	state, err := st.State(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: ask for the state of %s: %w", s.Pos, n.Name(), err)
	}
	if state.Policy == "" || state.Policy == "no" {
		return "", nil
	}
	why := fmt.Sprintf("the engine's restart policy of %s is %q: it starts the node again by itself, so `for: %v` cannot be kept by a kill",
		n.Name(), state.Policy, s.For.D())
	if p.Scenario.Expect.Failover != nil && bool(*p.Scenario.Expect.Failover) {
		return "", fmt.Errorf("%s: %s, and `expect: {failover: yes}` would measure the restart; use `mode: fence`, or a restart policy of \"no\"", s.Pos, why)
	}
	return why, nil
}

// expect asks the system what its settings predict for the first step.
func (v *Preview) expect(ctx context.Context, p *Plan) error {
	v.Expectation = map[string]verdict.Expected{}
	e, ok := p.System.(probes.Expecter)
	if !ok || len(p.Steps) != 1 {
		return nil
	}
	s := p.Steps[0]
	ranges, failover, ok, err := e.Expect(ctx, probes.Cause{Injector: s.Inject, Params: s.Params, Roles: v.rolesOf(0), For: s.For.D()})
	if err != nil {
		return fmt.Errorf("predict from the settings: %w", err)
	}
	if !ok {
		v.Notes = append(v.Notes, fmt.Sprintf("there is no model of %s on kind %s: nothing is predicted", s.Inject, p.Kind.Name))
		return nil
	}
	v.Failover = &failover
	for metric, r := range ranges {
		x := verdict.Expected{MinMS: ms(r.Min), MaxMS: ms(r.Max), Why: r.Why}
		for _, m := range r.Modes {
			x.Modes = append(x.Modes, verdict.KnownMode{Name: m.Name, MinMS: ms(m.Min), MaxMS: ms(m.Max), Why: m.Why})
		}
		v.Expectation[metric] = x
	}
	v.compare(p)
	return nil
}

// untold tells before the drill what it will not be able to tell.
func (v *Preview) untold(p *Plan) {
	why := p.Untold()
	var said []string
	for _, what := range slices.Sorted(maps.Keys(why)) {
		if !slices.Contains(said, why[what]) {
			said = append(said, why[what])
		}
	}
	v.Notes = append(v.Notes, said...)
	if p.Objectives.RPO != nil && why["rejoin"] != "" {
		v.Notes = append(v.Notes, "the objective rpo will not be met for certain: without a second audit after a rejoin, only a loss can be proven")
	}
	if p.Objectives.SplitBrain != nil && why[probes.UntoldRoles] != "" {
		v.Notes = append(v.Notes, "the objective split_brain will not be met for certain: where no node says what it is, only two that take writes can be proven")
	}
}

// rolesOf is what the nodes of a step's faults say that they are.
func (v *Preview) rolesOf(step int) []string {
	var roles []string
	for _, f := range v.Steps[step].Faults {
		roles = append(roles, string(v.Roles[f.Node].Role))
	}
	return roles
}

// compare tells before the drill what the settings already say of the
// objectives.
func (v *Preview) compare(p *Plan) {
	want := p.Scenario.Expect.Failover
	if want != nil && bool(*want) != *v.Failover {
		v.Notes = append(v.Notes, fmt.Sprintf("the scenario expects failover: %v, the settings predict the opposite", yes(bool(*want))))
	}
	if p.Objectives.RTO == nil {
		return
	}
	if e, ok := v.Expectation["rto"]; ok && e.MinMS > ms(p.Objectives.RTO.D()) {
		v.Notes = append(v.Notes, fmt.Sprintf("the settings alone predict an outage of at least %.1f s, more than the declared RTO of %v", e.MinMS/1000, p.Objectives.RTO.D()))
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// asRefusal makes err a Refusal unless it is one.
func asRefusal(err error) error {
	var r *Refusal
	if errors.As(err, &r) {
		return err
	}
	return &Refusal{[]error{err}}
}
