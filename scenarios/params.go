package scenarios

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/dapple-drills/dapple/internal/diag"
)

// Params is a mapping whose meaning belongs to whoever is named beside it (an
// injector, a kind of system). It keeps its positions, so that problems found
// later still have their place in the file; see Decode.
type Params struct {
	node *yaml.Node // a tidy mapping; nil is an empty one
	src  *source
	path string // where it stands: "steps[0].with"
}

// NewParams makes Params of a Go value: a map with string keys, or a struct with
// yaml tags.
func NewParams(v any) (Params, error) {
	data, err := yaml.Dump(v)
	if err != nil {
		return Params{}, fmt.Errorf("write parameters as YAML: %w", err)
	}
	r := &reader{src: newSource("", data)}
	node := r.parse(data)
	if err := r.err(); err != nil {
		return Params{}, fmt.Errorf("read parameters made in Go: %w", err)
	}
	if node.Kind != yaml.MappingNode {
		return Params{}, fmt.Errorf("parameters made in Go: want a map or a struct, found %T", v)
	}
	forget(node)
	return Params{node: node}, nil
}

// Text is the parameters as they may stand in a file, for another process of this
// program: see ParseParams.
func (p Params) Text() (string, error) {
	data, err := yaml.Dump(p)
	if err != nil {
		return "", fmt.Errorf("write parameters as YAML: %w", err)
	}
	return string(data), nil
}

// ParseParams reads what Text wrote.
func ParseParams(text string) (Params, error) {
	r := &reader{src: newSource("", []byte(text))}
	node := r.parse([]byte(text))
	if err := r.err(); err != nil {
		return Params{}, fmt.Errorf("read parameters: %w", err)
	}
	if node.Kind != yaml.MappingNode {
		return Params{}, errors.New("read parameters: want a map")
	}
	forget(node)
	return Params{node: node}, nil
}

// forget removes the places from a tree that is in no file.
func forget(n *yaml.Node) {
	n.Line, n.Column = 0, 0
	for _, c := range n.Content {
		forget(c)
	}
}

// Decode fills the struct to which into points, strictly: an unknown key, or a
// value that does not fit, is a problem with its place in the file, and all of
// them are reported at once. Keys that are absent leave what is there, so
// defaults are set beforehand. Fields may be texts, numbers, yes/no,
// time.Duration, anything with UnmarshalText, and lists, maps and structs of
// these, by their yaml tags.
func (p Params) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("decode parameters: want a pointer to a struct, found %T", into)
	}
	if p.node == nil {
		return nil
	}
	d := decoder{reader: &reader{src: p.src}, optional: true}
	d.structure(p.path, p.node, v.Elem())
	return d.err()
}

// place is where the value at a path of the section stands ("write.acked[1]"), or
// what it would stand in if it is not there; otherwise is for a section that is not.
func (p Params) place(path string, otherwise Pos) Pos {
	if p.node == nil {
		return otherwise
	}
	n := p.node
	for _, part := range strings.FieldsFunc(path, func(c rune) bool { return c == '.' || c == '[' || c == ']' }) {
		next := below(n, part)
		if next == nil {
			break
		}
		n = next
	}
	return p.src.node(n)
}

// below is the element of a list, or the value of a mapping, or nil.
func below(n *yaml.Node, part string) *yaml.Node {
	if i, err := strconv.Atoi(part); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
		return n.Content[i]
	}
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == part {
			return n.Content[i+1]
		}
	}
	return nil
}

// IsZero says that there is no parameter.
func (p Params) IsZero() bool { return p.node == nil || len(p.node.Content) == 0 }

// Map is the parameters as texts, for a record and for probes.Binding.Extra: a
// list of texts is joined by commas, and what is nested is named by its path
// ("a.b", "list[0].c"). It is nil if there are none.
func (p Params) Map() map[string]string {
	if p.IsZero() {
		return nil
	}
	m := map[string]string{}
	flatten(m, "", p.node)
	return m
}

func flatten(m map[string]string, path string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			flatten(m, join(path, n.Content[i].Value), n.Content[i+1])
		}
	case yaml.SequenceNode:
		if texts, flat := scalars(n); flat {
			m[path] = strings.Join(texts, ",")
			return
		}
		for i, c := range n.Content {
			flatten(m, fmt.Sprintf("%s[%d]", path, i), c)
		}
	default:
		m[path] = n.Value
	}
}

// scalars are the elements of a list that holds nothing but texts and numbers.
func scalars(n *yaml.Node) (texts []string, flat bool) {
	for _, c := range n.Content {
		if c.Kind != yaml.ScalarNode {
			return nil, false
		}
		texts = append(texts, c.Value)
	}
	return texts, true
}

// Equal says whether both hold the same parameters, wherever they stand and
// however they are written.
func (p Params) Equal(q Params) bool {
	if p.IsZero() || q.IsZero() {
		return p.IsZero() && q.IsZero()
	}
	return equal(p.node, q.node)
}

func equal(a, b *yaml.Node) bool {
	if a.Kind != yaml.MappingNode || b.Kind != yaml.MappingNode {
		return a.Kind == b.Kind && a.Value == b.Value && slices.EqualFunc(a.Content, b.Content, equal)
	}
	values := map[string]*yaml.Node{}
	for i := 0; i+1 < len(b.Content); i += 2 {
		values[b.Content[i].Value] = b.Content[i+1]
	}
	for i := 0; i+1 < len(a.Content); i += 2 {
		other, ok := values[a.Content[i].Value]
		if !ok || !equal(a.Content[i+1], other) {
			return false
		}
	}
	return len(a.Content) == len(b.Content)
}

// MarshalYAML writes the parameters as they may stand in a file.
func (p Params) MarshalYAML() (any, error) {
	if p.node == nil {
		return map[string]string{}, nil
	}
	return p.node, nil
}

// MarshalJSON writes the parameters as texts, as Map does.
func (p Params) MarshalJSON() ([]byte, error) { return json.Marshal(p.Map()) }

// Resolve reads the secret from where it is. The error names the place, never
// the secret.
func (s Secret) Resolve() (string, error) {
	switch {
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", diag.Hint(fmt.Errorf("read the secret: the environment variable %s is not set", s.Env), "export "+s.Env+"=… before the run")
		}
		return v, nil
	case s.File != "":
		data, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("read the secret: %w", err)
		}
		return strings.TrimRight(string(data), "\r\n"), nil
	}
	return "", errors.New("read the secret: the system file names neither a variable nor a file")
}

// Declared says whether there is a secret at all.
func (s Secret) Declared() bool { return s != Secret{} }

// String says where the secret is.
func (s Secret) String() string {
	switch {
	case s.Env != "":
		return "environment variable " + s.Env
	case s.File != "":
		return "file " + s.File
	}
	return "none"
}
