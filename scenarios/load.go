package scenarios

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/dapple-drills/dapple/internal/diag"
)

// ParseScenario reads a scenario. The error holds every problem of the file as
// diag.Problems. What the file leaves out is zero: see WithDefaults.
func ParseScenario(file string, data []byte, v *Vocabulary) (*Scenario, error) {
	sc := &Scenario{src: newSource(file, withoutBOM(data))}
	r := &reader{src: sc.src}
	if r.fill(data, sc) {
		c := checker{r, sc, sc.WithDefaults(), v}
		c.scenario()
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return sc, nil
}

// ParseSystem reads a system file, as ParseScenario reads a scenario.
func ParseSystem(file string, data []byte, v *Vocabulary) (*System, error) {
	sys := &System{src: newSource(file, withoutBOM(data))}
	r := &reader{src: sys.src}
	if r.fill(data, sys) {
		c := systemChecker{r, sys, v}
		c.system()
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return sys, nil
}

// fill decodes data into a struct, and says whether there is anything to check.
func (r *reader) fill(data []byte, into any) bool {
	root := r.parse(withoutBOM(data))
	if root == nil {
		return false
	}
	r.src.places[""] = place{val: r.src.node(root)}
	d := decoder{reader: r}
	v := reflect.ValueOf(into).Elem()
	if !d.is("", root, yaml.MappingNode, v.Type()) {
		return false
	}
	d.structure("", root, v)
	return true
}

// LoadScenario reads the scenario file at path.
func LoadScenario(path string, v *Vocabulary) (*Scenario, error) {
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read the scenario: %w", err)
	}
	return ParseScenario(path, data, v)
}

// LoadSystem reads the system file at path.
func LoadSystem(path string, v *Vocabulary) (*System, error) {
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read the system file: %w", err)
	}
	return ParseSystem(path, data, v)
}

// read reads a little more than the largest file that is accepted, so that a
// device or a pipe named by mistake does not fill the memory.
func read(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// A FileKind says which of the four files a file is.
type FileKind string

// The kinds of file; Unclear is none of them.
const (
	IsScenario FileKind = "scenario"
	IsSystem   FileKind = "system"
	IsSchedule FileKind = "schedule"
	IsRoster   FileKind = "roster"
	Unclear    FileKind = ""
)

// topKey finds what looks like a key at the left margin.
var topKey = regexp.MustCompile(`(?m)^["']?([a-z_]+)["']?\s*:`)

// only are the keys that one kind of file alone has, and how much they say.
var only = map[FileKind]map[string]int{
	IsScenario: {
		"steps": 3, "workload": 1, "steady": 1, "settle": 1, "stable_for": 1, "full_for": 1, "blast_radius": 1, "abort": 1,
		"expect": 1, "requires": 1, "inject": 1, "maintenance": 1,
	},
	IsSystem:   {"kind": 2, "nodes": 2, "clients": 1, "environment": 1, "health": 1, "design": 1, "settings": 1, "http": 1, "guardrails": 1, "monitoring": 1},
	IsSchedule: {"cron": 3, "time_zone": 2, "windows": 1, "quiet": 1, "holidays": 1, "catch_up": 1, "scenario": 1, "on": 1},
	IsRoster:   {"people": 3},
}

// Sniff tells the kinds of file by the keys that only one of them has. It works on
// files with mistakes in them too, so that these can be reported for what the file
// is meant to be.
func Sniff(data []byte) FileKind {
	score := map[FileKind]int{}
	for _, key := range topKeys(withoutBOM(data[:min(len(data), maxFile)])) {
		for kind, keys := range only {
			score[kind] += keys[key]
		}
		if key == "why" || key == "trials" { // of a schedule too, but that has more to say
			score[IsScenario]++
		}
	}
	best, tied := Unclear, false
	for _, kind := range []FileKind{IsScenario, IsSystem, IsSchedule, IsRoster} {
		switch n := score[kind]; {
		case n > score[best]:
			best, tied = kind, false
		case n > 0 && n == score[best]:
			tied = true
		}
	}
	if tied {
		return Unclear
	}
	return best
}

func topKeys(data []byte) (keys []string) {
	r := &reader{src: newSource("", data)}
	if root := r.parse(data); root != nil && root.Kind == yaml.MappingNode {
		for i := 0; i < len(root.Content); i += 2 {
			keys = append(keys, root.Content[i].Value)
		}
		return keys
	}
	for _, m := range topKey.FindAllSubmatch(data, -1) {
		keys = append(keys, string(m[1]))
	}
	return keys
}

// Check reads a file of any kind, and says which it is; see Sniff.
func Check(file string, data []byte, v *Vocabulary) (FileKind, error) {
	kind := Sniff(data)
	var err error
	switch kind {
	case IsScenario:
		_, err = ParseScenario(file, data, v)
	case IsSystem:
		_, err = ParseSystem(file, data, v)
	case IsSchedule:
		_, err = ParseSchedule(file, data, v)
	case IsRoster:
		_, err = ParseRoster(file, data)
	default:
		// What is no YAML at all is told as such; the rest of a file that could
		// be anything would only confuse.
		r := &reader{src: newSource(file, withoutBOM(data))}
		if r.parse(withoutBOM(data)) != nil && len(r.problems) == 0 {
			r.report(r.src.at(1, 1), slipf(ruleMissingKey, "a scenario has steps, a system file has kind and nodes, a schedule has cron; see: dapple schema",
				"this is neither a scenario nor a system file nor a schedule"))
		}
		err = r.err()
	}
	return kind, err
}

// Format writes a scenario or a system as a file that reads back as the same.
func (s *Scenario) Format() ([]byte, error) { return format(s) }

// Format writes the system as a file that reads back as the same.
func (s *System) Format() ([]byte, error) { return format(s) }

func format(v any) ([]byte, error) {
	data, err := yaml.Dump(v)
	if err != nil {
		return nil, fmt.Errorf("write as YAML: %w", err)
	}
	return data, nil
}

// Validate is the problems of a scenario that was made in Go: the same that a
// file would have. Its places are those in the file that Format writes.
func (s *Scenario) Validate(v *Vocabulary) error {
	data, err := s.Format()
	if err != nil {
		return err
	}
	_, err = ParseScenario(made(s.src, "scenario"), data, v)
	return err
}

// Validate is the problems of a system that was made in Go, as for a scenario.
func (s *System) Validate(v *Vocabulary) error {
	data, err := s.Format()
	if err != nil {
		return err
	}
	_, err = ParseSystem(made(s.src, "system"), data, v)
	return err
}

func made(src *source, what string) string {
	if src != nil && src.file != "" {
		return strings.TrimSuffix(src.file, ".yaml") + " (as read)"
	}
	return what + " made in Go"
}

// add takes a problem that somebody else found.
func (r *reader) add(p diag.Problem) {
	if len(r.problems) >= maxProblems {
		r.more++
		return
	}
	r.problems = append(r.problems, p)
}
