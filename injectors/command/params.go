package command

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Params is what may stand under "with".
type Params struct {
	Inject  []string      `yaml:"inject" json:"inject,omitempty" jsonschema:"minItems=1,description=The command that makes the fault: a program and its arguments; no shell. {node} and {address} are replaced."`
	Revert  []string      `yaml:"revert" json:"revert,omitempty" jsonschema:"minItems=1,description=The command that takes it back: from any state; also if nothing was made; also twice."`
	Check   []string      `yaml:"check" json:"check,omitempty" jsonschema:"minItems=1,description=The command that looks: exit code 0 says that the effect holds; absent that it does not; any other that it cannot be told. It changes nothing and takes less than 4 s."`
	Absent  int           `yaml:"absent" json:"absent,omitempty" jsonschema:"default=1,minimum=1,maximum=125,description=The exit code of check that says that the effect does not hold."`
	Timeout time.Duration `yaml:"timeout" json:"timeout,omitempty" jsonschema:"default=10s,description=How long inject or revert may take (at most 20s); then it is killed with all that it started."`
	Every   time.Duration `yaml:"every" json:"every,omitempty" jsonschema:"default=500ms,description=How far two looks are apart (at most 2s); the effect is dated no more exactly than that."`
	Env     []string      `yaml:"env" json:"env,omitempty" jsonschema:"description=Names of environment variables that the commands need besides PATH and HOME. Their values are not recorded."`
}

const (
	// maxTimeout leaves room within the 30 s in which a fault has to be taken back
	// (drills, agent) for the look that proves it.
	maxTimeout = 20 * time.Second
	maxEvery   = 2 * time.Second
	// maxWords and maxWord keep a record small: it is written before each fault.
	maxWords = 256
	maxWord  = 4096
)

func defaults() Params {
	return Params{Absent: 1, Timeout: 10 * time.Second, Every: 500 * time.Millisecond}
}

func (p Params) check() error {
	var errs []error
	for _, c := range []struct {
		name, why string
		argv      []string
	}{
		{"inject", "the command that makes the fault", p.Inject},
		{"revert", "the command that takes it back: a fault that nobody can end is not made", p.Revert},
		{"check", "the command that looks whether it holds: an effect that nobody can see proves nothing", p.Check},
	} {
		if len(c.argv) == 0 {
			errs = append(errs, fmt.Errorf("%s is missing: %s", c.name, c.why))
			continue
		}
		errs = append(errs, checkArgv(c.name, c.argv))
	}
	switch {
	case p.Absent < 1 || p.Absent > 125:
		errs = append(errs, fmt.Errorf("absent: %d: an exit code from 1 to 125 (126 and up say that a command could not be run)", p.Absent))
	case p.Timeout <= 0 || p.Timeout > maxTimeout:
		errs = append(errs, fmt.Errorf("timeout: %v: more than 0 and at most %v; a device that takes longer is asked by inject, and check waits for it", p.Timeout, maxTimeout))
	case p.Every < 0 || p.Every > maxEvery:
		errs = append(errs, fmt.Errorf("every: %v: from 0 to %v, or a fault that ended would not be noticed in time", p.Every, maxEvery))
	}
	for _, name := range p.Env {
		if !variable.MatchString(name) || strings.HasPrefix(name, "DAPPLE_") {
			errs = append(errs, fmt.Errorf("env: %q is no name of a variable that can be passed on: give names alone, their values come from your environment", name))
		}
	}
	return errors.Join(errs...)
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// literal finds a secret that is written out: token=…, --password=…,
// https://user:secret@….
var literal = regexp.MustCompile(`(?i)(passw(or)?d|passphrase|secret|token|api[-_]?key)[a-z_-]*[=:].|://[^/@:\s]+:[^/@\s]+@`)

// option finds an option whose next word is a secret.
var option = regexp.MustCompile(`(?i)^--?(passw(or)?d|passphrase|secret|token|api[-_]?key)$`)

func checkArgv(name string, argv []string) error {
	total := 0
	for i, w := range argv {
		total += len(w)
		switch {
		case strings.ContainsRune(w, 0):
			return fmt.Errorf("%s: word %d has a NUL in it", name, i+1)
		case literal.MatchString(w), option.MatchString(w) && i+1 < len(argv):
			return fmt.Errorf("%s: word %d looks like a secret that is written out, and would be recorded: have the command read it from its environment, and name the variable under env", name, i+1)
		}
	}
	switch {
	case argv[0] == "":
		return fmt.Errorf("%s: the program's name is empty", name)
	case strings.ContainsAny(argv[0], "{}"):
		return fmt.Errorf("%s: the program's name %q must be written out", name, argv[0])
	case len(argv) == 1 && strings.ContainsAny(argv[0], " \t"):
		return fmt.Errorf("%s: %q is one word: there is no shell, write a list: [%s]", name, argv[0], strings.Join(strings.Fields(argv[0]), ", "))
	case len(argv) > maxWords || total > maxWord:
		return fmt.Errorf("%s: a command of %d words and %d bytes: at most %d and %d; put it into a script", name, len(argv), total, maxWords, maxWord)
	}
	return nil
}

// quoted is argv as a person would type it.
func quoted(argv []string) string {
	words := slices.Clone(argv)
	for i, w := range words {
		if w == "" || strings.IndexFunc(w, special) >= 0 {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// special says whether a shell might see more in the character than itself.
func special(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("-_./:=@%+,", r)
}
