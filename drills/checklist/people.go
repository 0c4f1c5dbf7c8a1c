package checklist

import (
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/scenarios"
)

// practise is how long a drill counts for who did it, in months.
const practise = 6

// people says of everybody in the roster when he or she last drilled a failover.
func (m *maker) people() []Person {
	out := []Person{}
	if m.in.Roster == nil {
		return out
	}
	for i := range m.in.Roster.People {
		p := &m.in.Roster.People[i]
		x := Person{Name: p.Name, Contact: p.Contact, OnCall: append([]string{}, p.OnCall...)}
		x.State, x.Why, x.Proof = m.practised(p)
		out = append(out, x)
	}
	return out
}

func (m *maker) practised(p *scenarios.Engineer) (State, string, *Proof) {
	limit := m.now.AddDate(0, -practise, 0)
	for _, r := range m.all {
		if !proven(r) || r.Digest.Failovers == 0 || !tookPart(r, p) {
			continue
		}
		if r.Started.Before(limit) {
			return Overdue, fmt.Sprintf("last drilled a failover %d days ago", days(m.now.Sub(r.Started))), proofOf(r)
		}
		return Met, "due again by " + r.Started.AddDate(0, practise, 0).Format(time.DateOnly), proofOf(r)
	}
	if since := p.Since.Time(); !since.IsZero() && since.After(limit) {
		return Due, "on call since " + since.Format(time.DateOnly) + ", no failover drilled yet", nil
	}
	return Overdue, "never drilled a failover", nil
}

// tookPart: as the trainee, or as the one who ran the drill.
func tookPart(r *history.Run, p *scenarios.Engineer) bool {
	for _, who := range r.Digest.People {
		if who.Role == drills.Trainee {
			if who.Name == p.Name {
				return true
			}
		}
	}
	return slices.Contains(p.Logins, r.Operator)
}

// onCall are the parts of the item about people, for one system.
func (m *maker) onCall(system string, people []Person) []Part {
	var parts []Part
	for _, p := range people {
		if slices.Contains(p.OnCall, system) {
			parts = append(parts, Part{p.Name, p.State, p.Why, p.Proof})
		}
	}
	switch {
	case m.in.Roster == nil:
		return []Part{{Name: "roster", State: m.missing(time.Time{}, m.by[system]), Why: "no roster was given"}}
	case len(parts) == 0:
		return []Part{{Name: "roster", State: m.missing(time.Time{}, m.by[system]), Why: "nobody in the roster is on call for it"}}
	}
	return parts
}
