package scenarios

import (
	"fmt"
	"strings"
	"time"
)

// A Roster says who answers for which systems, and how they are reached.
type Roster struct {
	// The engineers, each once.
	People []Engineer `yaml:"people" jsonschema:"minItems=1"`

	src *source // where it was read; nil if it was made in Go
}

// An Engineer is a person who is on call.
type Engineer struct {
	// As reports name the person; unique in the roster.
	Name string `yaml:"name" jsonschema:"minLength=1"`
	// How the person is reached: an address, a number, a channel.
	Contact string `yaml:"contact" jsonschema:"minLength=1"`
	// The systems, by the names in their files, for which the person is on call.
	OnCall []string `yaml:"on_call,omitempty"`
	// The user names under which the person runs dapple: the operator of a record.
	Logins []string `yaml:"logins,omitempty"`
	// The first day on call, if it is not long ago: 2026-11-02.
	Since Day `yaml:"since,omitempty"`
}

// A Day is a date, such as 2026-11-02; zero is none.
type Day struct{ t time.Time }

// Time is its first moment, in UTC.
func (d Day) Time() time.Time { return d.t }

// String is the day as it may stand in a file.
func (d Day) String() string {
	if d.t.IsZero() {
		return ""
	}
	return d.t.Format(time.DateOnly)
}

// MarshalText is String.
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what may stand in a file.
func (d *Day) UnmarshalText(data []byte) error {
	t, err := time.Parse(time.DateOnly, string(data))
	if err != nil {
		return slipf(ruleWrongType, "write it as 2026-11-02", "%q is no day", data)
	}
	d.t = t
	return nil
}

// Person returns the engineer of that name.
func (r *Roster) Person(name string) (*Engineer, bool) {
	for i := range r.People {
		if r.People[i].Name == name {
			return &r.People[i], true
		}
	}
	return nil, false
}

// OnCall returns who is on call for a system.
func (r *Roster) OnCall(system string) (out []Engineer) {
	for _, p := range r.People {
		for _, s := range p.OnCall {
			if s == system {
				out = append(out, p)
			}
		}
	}
	return out
}

// LoadRoster reads the roster file at path.
func LoadRoster(path string) (*Roster, error) {
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read the roster: %w", err)
	}
	return ParseRoster(path, data)
}

// ParseRoster reads a roster, as ParseScenario reads a scenario.
func ParseRoster(file string, data []byte) (*Roster, error) {
	ros := &Roster{src: newSource(file, withoutBOM(data))}
	r := &reader{src: ros.src}
	if r.fill(data, ros) {
		c := rosterChecker{r, ros}
		c.roster()
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return ros, nil
}

type rosterChecker struct {
	*reader
	ros *Roster
}

func (c *rosterChecker) roster() {
	if len(c.ros.People) == 0 && c.src.has("people") {
		c.report(c.src.value("people"), slipf(ruleZero, "name at least one person", "people: the list is empty"))
	}
	names, logins := map[string]string{}, map[string]string{}
	for i, p := range c.ros.People {
		at := fmt.Sprintf("people[%d]", i)
		c.text(at+".name", p.Name)
		c.text(at+".contact", p.Contact)
		// What differs in case or blanks alone is one person to whoever reads it.
		c.once(names, strings.ToLower(strings.Join(strings.Fields(p.Name), " ")), at+".name", p.Name, "a person")
		for j, login := range p.Logins {
			c.once(logins, login, fmt.Sprintf("%s.logins[%d]", at, j), login, "a login")
		}
		systems := map[string]string{}
		for j, s := range p.OnCall {
			c.once(systems, s, fmt.Sprintf("%s.on_call[%d]", at, j), s, "a system")
		}
	}
}

// once reports a value that stood somewhere before.
func (c *rosterChecker) once(seen map[string]string, key, path, value, what string) {
	if strings.TrimSpace(key) == "" || !c.src.has(path) {
		return
	}
	if first := seen[key]; first != "" {
		c.report(c.src.value(path), slipf(ruleTwice, "keep one of them", "%s: %s %q stands twice: first in line %d", path, what, value, c.src.value(first).Line))
		return
	}
	seen[key] = path
}
