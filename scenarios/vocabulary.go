package scenarios

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
)

// A Vocabulary is the names that a program knows. cmd/dapple makes one of its
// catalogues; with a nil one, names are taken as they are, and so are the names of
// a list that is empty.
type Vocabulary struct {
	Injectors []InjectorWord
	Kinds     []KindWord
	Clusters  []string // built-in throw-away clusters
	// Times says what is wrong with the times of a schedule: diag.Field errors
	// named for its keys. nil takes any.
	Times func(s *Schedule) error
	// Capabilities are what a scenario may require of a system, whatever its kind,
	// each with what it means in one line.
	Capabilities map[string]string
}

// An InjectorWord is what a scenario may say of one injector.
type InjectorWord struct {
	Name    string
	Summary string // one line
	// Params and Check are those of the Section "with".
	Params any
	Check  func(p Params) error
	// Excludes says why the injector cannot be on one node together with
	// another one, or ""; nil excludes none.
	Excludes func(other string) string
}

// A KindWord is what a system file may say of one kind of system.
type KindWord struct {
	Name     string
	Summary  string   // one line
	Phases   []string // those that can be locked on
	Settings Section  // what may stand under "settings"
	HTTP     Section  // what may stand under "http", for the kind that has it: see KindHTTP
}

// KindHTTP is the kind of system that is drilled by URL: the only one with a
// section "http" (contract, System file).
const KindHTTP = "http"

// A Section is a part of a file whose meaning belongs to somebody else. The zero
// one takes anything.
type Section struct {
	// Params is a pointer to the zero value of the struct that the section
	// fills, by its yaml tags. It is also the source of the section's JSON
	// Schema, see Schema.
	Params any
	// Check reads the section with Params.Decode, and says what is wrong with it
	// beyond that. nil: decoding it is all there is.
	Check func(p Params) error
}

// check reads p as the section, and reports what is wrong at the place of p.
func (s Section) check(r *reader, p Params, at Pos) {
	check := s.Check
	if check == nil {
		if s.Params == nil {
			return
		}
		check = func(p Params) error {
			return p.Decode(reflect.New(reflect.TypeOf(s.Params).Elem()).Interface())
		}
	}
	err := check(p)
	if err == nil {
		return
	}
	ps, fs := diag.ProblemsOf(err), diag.FieldsOf(err)
	for _, x := range ps {
		r.add(x)
	}
	for _, f := range fs {
		r.report(p.place(f.Path, at), slipOf(f, p.at()))
	}
	if len(ps)+len(fs) > 0 {
		return
	}
	hint := strings.Join(diag.Hints(err), "; ")
	r.report(at, slipf(ruleParameter, hint, "%s: %s", p.at(), err))
}

// slipOf is what a section's owner found wrong with one value of it.
func slipOf(f *diag.Field, section string) *slip {
	rule := ruleRequest
	if f.Secret {
		rule = ruleSecret
	}
	return slipf(rule, f.Hint, "%s.%s: %s", section, f.Path, f.Msg)
}

// at is where the section stands, in words.
func (p Params) at() string {
	if p.path == "" {
		return "with"
	}
	return p.path
}

// CheckCluster is an error unless there is a built-in cluster of that name.
func (v *Vocabulary) CheckCluster(name string) error {
	if v == nil || slices.Contains(v.Clusters, name) {
		return nil
	}
	return diag.Hint(fmt.Errorf("no built-in cluster is named %q", name), meant(name, v.Clusters))
}

// CheckPhase is an error if that kind of system cannot be locked on the phase:
// a phase is refused then, never silently random.
func (v *Vocabulary) CheckPhase(kind string, p Phase) error {
	if what := v.phase([]string{kind}, p); what != nil {
		return diag.Hint(errors.New(what.msg), what.hint)
	}
	return nil
}

// phase is what is wrong with asking the kinds for a phase: one that can be
// locked on it is enough.
func (v *Vocabulary) phase(kinds []string, p Phase) *slip {
	if v == nil || len(v.Kinds) == 0 || p == "" || p == Random {
		return nil
	}
	if len(kinds) == 0 {
		for _, k := range v.Kinds {
			kinds = append(kinds, k.Name)
		}
	}
	var can []string
	for _, name := range kinds {
		k := v.kind(name)
		if k == nil || slices.Contains(k.Phases, string(p)) {
			return nil
		}
		can = append(can, k.Phases...)
	}
	hint := "write phase: random, or leave it out"
	if len(can) > 0 {
		hint += "; it can be " + strings.Join(can, ", ")
	}
	return slipf(rulePhase, hint, "the phase %s is not available: the heartbeat of %s cannot be locked on", p, strings.Join(kinds, ", "))
}

func (v *Vocabulary) kind(name string) *KindWord {
	for i := range v.Kinds {
		if v.Kinds[i].Name == name {
			return &v.Kinds[i]
		}
	}
	return nil
}

func (v *Vocabulary) injector(name string) *InjectorWord {
	if v == nil {
		return nil
	}
	for i := range v.Injectors {
		if v.Injectors[i].Name == name {
			return &v.Injectors[i]
		}
	}
	return nil
}

func (v *Vocabulary) kindNames() []string {
	var names []string
	for _, k := range v.Kinds {
		names = append(names, k.Name)
	}
	return names
}

func (v *Vocabulary) injectorNames() []string {
	var names []string
	for _, i := range v.Injectors {
		names = append(names, i.Name)
	}
	return names
}
