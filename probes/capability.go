package probes

import "fmt"

// A Capability is something that one system can tell and another cannot, whatever
// their kinds. A scenario names what it is worth nothing without.
type Capability struct {
	Name    string
	Summary string // what such a system can, in words
	untold  string // its key in Reticent.Untold, if it has one
	has     func(System) bool
}

// Capabilities returns all of them, sorted by name.
func Capabilities() []Capability {
	return []Capability{
		{"detection", "it shows when it knows of a failure", "detection", can[Observer]},
		{"expectation", "what its settings predict is known", "", can[Expecter]},
		{"fork", "its own records prove that two histories exist", "", can[Forker]},
		{"loss", "its acknowledged writes can be looked for", "loss", can[Ledger]},
		{"phase", "the fault can be made just after, or just before, its lease is renewed", "", can[Renewer]},
		{"promotion", "its own records date a promotion", "", can[Dater]},
		{"redundancy", "it tells how each node takes part", "redundancy", can[Membership]},
		{"roles", "its nodes say whether they take writes", UntoldRoles, can[System]},
		{"settings", "its effective settings can be read", "", can[Settings]},
	}
}

func can[T any](s System) bool {
	_, ok := s.(T)
	return ok
}

// Lacks is why the system cannot do it, or "".
func (c Capability) Lacks(s System) string {
	if r, ok := s.(Reticent); ok && c.untold != "" {
		if why := r.Untold()[c.untold]; why != "" {
			return why
		}
	}
	if !c.has(s) {
		return fmt.Sprintf("of a system of its kind it is not known that %s", c.Summary)
	}
	return ""
}
