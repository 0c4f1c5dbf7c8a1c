// Package starter writes a first system file and a first scenario for a system
// that was found running, with comments that say what is known, what is guessed,
// and what only its owners can say.
//
// It looks at nothing by itself, and promises nothing in the owners' name: the
// objectives that it writes are comments.
package starter

import (
	"bytes"
	_ "embed" // the two texts
	"fmt"
	"strconv"
	"strings"
	"text/template"
)

// A System is one that was found running.
type System struct {
	Name string // of the system, and of its files
	Kind string // etcd, patroni or postgres
	// Docker selects its containers; nil if it runs on this machine itself.
	Docker *Docker
	Nodes  []Node
	DSN    string
	Health string // a URL with {node}; "" if there is none
	// Settings are what the kind needs besides.
	Settings []Setting
	// Found says in a line how it was found, Guesses what to look at first.
	Found   string
	Guesses []string
}

// Docker is one way to select containers; see scenarios.DockerNodes.
type Docker struct {
	Label   string
	Compose string
	Names   []string
}

// A Node is a member of the system.
type Node struct{ Name, URL string }

// A Setting is a line under "settings", its value as YAML.
type Setting struct{ Name, Value, Comment string }

//go:embed system.tmpl
var systemText string

//go:embed scenario.tmpl
var scenarioText string

// SystemFile is the text of the system file.
func (s System) SystemFile() ([]byte, error) { return s.render("system", systemText) }

// ScenarioFile is the text of a first scenario: the loss of the primary.
func (s System) ScenarioFile() ([]byte, error) { return s.render("scenario", scenarioText) }

func (s System) render(name, text string) ([]byte, error) {
	t, err := template.New(name).Funcs(template.FuncMap{
		"quote":   quote,
		"comment": comment,
		"list":    list,
	}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse the text of the %s file: %w", name, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, s); err != nil {
		return nil, fmt.Errorf("write the %s file: %w", name, err)
	}
	return b.Bytes(), nil
}

// quote writes a string so that YAML takes it for nothing else: the escapes of
// JSON are those of YAML's double quotes.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "?") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// comment is text in one line that cannot end a comment.
func comment(s string) string {
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}

func list(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
