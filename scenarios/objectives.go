package scenarios

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
)

// Tighten is the objectives of a system as a scenario tightens them: of two that
// are declared the stricter one.
func Tighten(sys, sc Objectives) Objectives {
	return Objectives{
		Detection:  shorter(sys.Detection, sc.Detection),
		RTO:        shorter(sys.RTO, sc.RTO),
		RPO:        stricter(sys.RPO, sc.RPO),
		SplitBrain: either(sys.SplitBrain, sc.SplitBrain),
		Rejoin:     shorter(sys.Rejoin, sc.Rejoin),
		Redundancy: shorter(sys.Redundancy, sc.Redundancy),
		FalseGreen: shorter(sys.FalseGreen, sc.FalseGreen),
		Alert:      shorter(sys.Alert, sc.Alert),
		StaleReads: either(sys.StaleReads, sc.StaleReads),
		LateWrites: either(sys.LateWrites, sc.LateWrites),
	}
}

func shorter(a, b *Duration) *Duration {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

func either(a, b *Never) *Never {
	if a == nil {
		return b
	}
	return a
}

func stricter(sys, sc *RPO) *RPO {
	switch {
	case sys == nil:
		return sc
	case sc == nil:
		return sys
	}
	if looser, _ := looserRPO(*sys, *sc); looser {
		return sys
	}
	return sc
}

// looserRPO says whether sc allows more loss than sys. A number of writes and an
// age can be compared only where one of them is 0.
func looserRPO(sys, sc RPO) (looser, known bool) {
	switch {
	case sc.zeroLoss():
		return false, true
	case sys.zeroLoss():
		return true, true
	case sys.Writes != nil && sc.Writes != nil:
		return *sc.Writes > *sys.Writes, true
	case sys.Age != nil && sc.Age != nil:
		return *sc.Age > *sys.Age, true
	}
	return true, false
}

// CheckPair says why the scenario cannot be run on the system: its objectives
// are looser, it requires another kind, it names a node that is not there. All
// problems are reported at once, most of them at their place in the scenario.
func CheckPair(sc *Scenario, sys *System) error {
	if sc == nil || sys == nil {
		return errors.New("check a scenario with its system: one of them is missing")
	}
	p := pair{checker{reader: &reader{src: sc.src}, sc: sc, full: sc.WithDefaults()}, sys}
	p.kinds()
	p.objectives()
	p.roles()
	if sc.Objectives.Alert != nil && sys.Monitoring.Listen == "" {
		p.report(p.src.value("objectives.alert"), slipf(ruleMonitoring, "add monitoring: {listen: \"127.0.0.1:9095\"} to the system file",
			"objectives.alert: nothing would take the alerts of the system %s", sys.Name))
	}
	if sys.Objectives.RPO != nil && sc.Objectives.RPO == nil {
		p.lowRate(sys.Objectives.RPO, sc.src.value("workload.rate"), "the system "+sys.Name)
	}
	return p.err()
}

type pair struct {
	checker
	sys *System
}

func (p *pair) kinds() {
	if want := p.sc.Requires.Kind; len(want) > 0 && !slices.Contains(want, p.sys.Kind) {
		p.report(p.src.value("requires.kind"), slipf(ruleOtherKind, "run it on another system, or choose a scenario for "+p.sys.Kind,
			"the scenario is for %s, and the system %s is of kind %s", strings.Join(want, ", "), p.sys.Name, p.sys.Kind))
	}
}

func (p *pair) objectives() {
	sys, sc := p.sys.Objectives, p.sc.Objectives
	for _, o := range []struct {
		name    string
		sys, sc *Duration
	}{
		{"detection", sys.Detection, sc.Detection}, {"rto", sys.RTO, sc.RTO}, {"rejoin", sys.Rejoin, sc.Rejoin},
		{"redundancy", sys.Redundancy, sc.Redundancy}, {"false_green", sys.FalseGreen, sc.FalseGreen},
		{"alert", sys.Alert, sc.Alert},
	} {
		if o.sys != nil && o.sc != nil && *o.sc > *o.sys {
			p.looser(o.name, o.sys.String(), o.sc.String())
		}
	}
	if sys.RPO == nil || sc.RPO == nil {
		return
	}
	looser, known := looserRPO(*sys.RPO, *sc.RPO)
	switch {
	case !known:
		p.report(p.src.value("objectives.rpo"), slipf(ruleIncomparable, "declare both in writes, or both as a duration",
			"objectives.rpo: %s cannot be compared with %s of the system %s", sc.RPO, sys.RPO, p.sys.Name))
	case looser:
		p.looser("rpo", sys.RPO.String(), sc.RPO.String())
	}
}

func (p *pair) looser(name, sys, sc string) {
	p.report(p.src.value("objectives."+name), slipf(ruleLooser, fmt.Sprintf("write %s or less, or leave it out", sys),
		"objectives.%s: %s is looser than the %s that the system %s promises; a scenario may only tighten", name, sc, sys, p.sys.Name))
}

// roles reports names of nodes that the system does not have, where its file
// says all of them.
func (p *pair) roles() {
	var names []string
	for _, n := range p.sys.named() {
		names = append(names, n.name)
	}
	if len(names) == 0 {
		return
	}
	for i, name := range p.sc.Maintenance {
		if !slices.Contains(names, name) {
			p.report(p.src.value(elementPath(p.src, "maintenance", i)), slipf(ruleUnknownNode, meant(name, names), "maintenance: the system %s has no node %q", p.sys.Name, name))
		}
	}
	for i, s := range p.sc.Steps {
		for j, word := range s.On {
			if isRole(word) || slices.Contains(names, word) {
				continue
			}
			at := p.src.value(elementPath(p.src, fmt.Sprintf("steps[%d].on", i), j))
			hint := meant(word, append(Roles(), names...))
			if diag.Nearest(word, append(Roles(), names...)) == "" {
				hint = meant(word, names)
			}
			p.report(at, slipf(ruleUnknownNode, hint, "steps[%d].on: the system %s has no node %q", i, p.sys.Name, word))
		}
	}
}
