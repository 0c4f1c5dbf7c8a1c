package scenarios

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// A decoder fills Go values from a tidy tree, strictly: every key must be known
// and every value must fit. It goes on after a problem, so that one reading
// finds all of them.
type decoder struct {
	*reader
	// optional says that no key must be there: the struct is not ours, and its
	// zero values are its author's defaults.
	optional bool
}

// value puts n into v, and says whether it fitted.
func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) bool {
	return d.fit(path, n, v) && !d.partial[n]
}

func (d *decoder) fit(path string, n *yaml.Node, v reflect.Value) bool {
	if n.ShortTag() == "!!null" {
		d.wrong(path, n, slipf(ruleNoValue, "write "+describe(v.Type())+", or leave the key out", "there is no value"))
		return false
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(path, n, v.Elem())
	}
	switch into := v.Addr().Interface().(type) {
	case *Params:
		into.src, into.path = d.src, path
		into.node = n
		return d.is(path, n, yaml.MappingNode, v.Type())
	case *Secret:
		return d.secret(path, n, v)
	case *Strings:
		return d.strings(path, n, into)
	case *time.Duration:
		return d.text(path, n, (*Duration)(into), v.Type())
	case encoding.TextUnmarshaler:
		return d.text(path, n, into, v.Type())
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.is(path, n, yaml.MappingNode, v.Type()) && d.structure(path, n, v)
	case reflect.Map:
		return d.is(path, n, yaml.MappingNode, v.Type()) && d.mapping(path, n, v)
	case reflect.Slice:
		return d.is(path, n, yaml.SequenceNode, v.Type()) && d.list(path, n, v)
	}
	return d.is(path, n, yaml.ScalarNode, v.Type()) && d.scalar(path, n, v)
}

// wrong reports what is the matter with the value at path.
func (d *decoder) wrong(path string, n *yaml.Node, what *slip) {
	msg := what.msg
	if path != "" {
		msg = path + ": " + msg
	}
	d.report(d.src.node(n), &slip{what.rule, msg, what.hint})
}

// is says whether n is of the shape that a t needs.
func (d *decoder) is(path string, n *yaml.Node, want yaml.Kind, t reflect.Type) bool {
	if n.Kind == want {
		return true
	}
	hint := ""
	switch names := keys(t); {
	case want == yaml.MappingNode && len(names) > 0:
		hint = "its keys are: " + strings.Join(names, ", ")
	case want == yaml.SequenceNode:
		hint = `begin every element with "- "`
	}
	d.wrong(path, n, slipf(ruleWrongType, hint, "want %s, found %s", describe(t), found(n)))
	return false
}

// keys are the names of the fields of a struct.
func keys(t reflect.Type) []string {
	var names []string
	if t.Kind() == reflect.Struct {
		for _, f := range fieldsOf(t, nil) {
			names = append(names, f.name)
		}
	}
	return names
}

func (d *decoder) text(path string, n *yaml.Node, into encoding.TextUnmarshaler, t reflect.Type) bool {
	if !d.is(path, n, yaml.ScalarNode, t) {
		return false
	}
	err := into.UnmarshalText([]byte(n.Value))
	if err == nil {
		return true
	}
	var s *slip
	if !errors.As(err, &s) {
		s = slipf(ruleWrongType, "", "%s", err.Error())
	}
	d.wrong(path, n, s)
	return false
}

func (d *decoder) strings(path string, n *yaml.Node, into *Strings) bool {
	if n.Kind == yaml.ScalarNode {
		var one string
		ok := d.scalar(path, n, reflect.ValueOf(&one).Elem())
		*into = Strings{one}
		return ok
	}
	return d.is(path, n, yaml.SequenceNode, reflect.TypeFor[Strings]()) && d.list(path, n, reflect.ValueOf(into).Elem())
}

// secret refuses a secret that stands in the file, without repeating it.
func (d *decoder) secret(path string, n *yaml.Node, v reflect.Value) bool {
	if n.Kind == yaml.MappingNode {
		return d.structure(path, n, v)
	}
	d.wrong(path, n, slipf(ruleSecret, "say where it is: {env: NAME_OF_A_VARIABLE} or {file: PATH}; and change the one that stood here", "a secret does not stand in the file"))
	return false
}

func (d *decoder) structure(path string, n *yaml.Node, v reflect.Value) bool {
	fields := fieldsOf(v.Type(), nil)
	ok := true
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(fields, func(f field) bool { return f.name == key.Value })
		if at < 0 {
			d.unknown(path, key, keys(v.Type()))
			ok = false
			continue
		}
		seen[key.Value] = true
		p := join(path, key.Value)
		d.place(p, place{key: d.src.node(key), val: d.src.node(val)})
		if !d.value(p, val, v.FieldByIndex(fields[at].index)) {
			d.place(p, place{})
			ok = false
		}
	}
	for _, f := range fields {
		if f.required && !d.optional && !seen[f.name] && !d.partial[n] {
			d.report(d.src.node(n), slipf(ruleMissingKey, "add "+f.name+": …", "%s is missing", join(path, f.name)))
			ok = false
		}
	}
	return ok
}

// place remembers where the value at path stands; an empty place forgets it.
func (d *decoder) place(path string, at place) {
	switch {
	case d.src == nil || d.optional:
	case at == place{}:
		delete(d.src.places, path)
	default:
		d.src.places[path] = at
	}
}

func (d *decoder) unknown(path string, key *yaml.Node, known []string) {
	where := ""
	if path != "" {
		where = " in " + path
	}
	d.report(d.src.node(key), slipf(ruleUnknownKey, meant(key.Value, known), "unknown key %q%s", key.Value, where))
}

func (d *decoder) mapping(path string, n *yaml.Node, v reflect.Value) bool {
	ok := true
	m := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		x := reflect.New(v.Type().Elem()).Elem()
		if d.value(join(path, key.Value), val, x) {
			m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), x)
		} else {
			ok = false
		}
	}
	v.Set(m)
	return ok
}

func (d *decoder) list(path string, n *yaml.Node, v reflect.Value) bool {
	ok := true
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, x := range n.Content {
		p := path + "[" + strconv.Itoa(i) + "]"
		at := d.src.node(x)
		d.place(p, place{val: at})
		ok = d.value(p, x, s.Index(i)) && ok
		if step, isStep := s.Index(i).Addr().Interface().(*Step); isStep {
			step.Pos = at
		}
	}
	v.Set(s)
	return ok
}

func (d *decoder) scalar(path string, n *yaml.Node, v reflect.Value) bool {
	if err := setScalar(n, v); err != nil {
		var s *slip
		if !errors.As(err, &s) {
			s = slipf(ruleWrongType, "", "want %s, found %s", describe(v.Type()), found(n))
		}
		d.wrong(path, n, s)
		return false
	}
	return true
}

func setScalar(n *yaml.Node, v reflect.Value) error {
	quoted := n.ShortTag() == "!!str"
	switch v.Kind() {
	case reflect.String:
		if err := isText(n); err != nil {
			return err
		}
		v.SetString(n.Value)
		return nil
	case reflect.Bool:
		var y YesNo
		err := y.UnmarshalText([]byte(n.Value))
		v.SetBool(bool(y))
		return err
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if quoted {
			break
		}
		i, err := whole(n.Value, v.Type().Bits())
		v.SetInt(i)
		return err
	case reflect.Float32, reflect.Float64:
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil && !quoted {
			v.SetFloat(f)
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if u, err := strconv.ParseUint(n.Value, 10, v.Type().Bits()); err == nil && !quoted {
			v.SetUint(u)
			return nil
		}
	}
	return errors.New("another type")
}

// isText refuses what other readers of YAML would take for a number or a yes: the
// file must mean the same to all of them.
func isText(n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!int", "!!float":
		return slipf(ruleWrongType, fmt.Sprintf("put it between quotes: %q", n.Value), "want a text, found the number %s", n.Value)
	case "!!bool":
		return slipf(ruleWrongType, fmt.Sprintf("put it between quotes: %q", n.Value), "want a text, found %s", n.Value)
	}
	return nil
}

// A field is a key that a struct knows.
type field struct {
	name     string
	index    []int
	required bool // it must be there: its yaml tag has no omitempty
}

func fieldsOf(t reflect.Type, above []int) []field {
	var fields []field
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		index := append(slices.Clone(above), f.Index...)
		switch {
		case !f.IsExported() || name == "-":
		case strings.Contains(options, "inline"):
			fields = append(fields, fieldsOf(f.Type, index)...)
		case name == "":
			fields = append(fields, field{strings.ToLower(f.Name), index, false})
		default:
			fields = append(fields, field{name, index, !strings.Contains(options, "omitempty")})
		}
	}
	return fields
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// describe says in words what a value of type t looks like in a file.
func describe(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		return describe(t.Elem())
	}
	switch t {
	case reflect.TypeFor[Duration](), reflect.TypeFor[time.Duration]():
		return "a duration such as 30s"
	case reflect.TypeFor[Rate]():
		return "a rate such as 200/s"
	case reflect.TypeFor[RPO]():
		return `"0 writes" or a duration such as 5s`
	case reflect.TypeFor[Never]():
		return "never"
	case reflect.TypeFor[YesNo]():
		return "yes or no"
	case reflect.TypeFor[Window]():
		return "a stretch of the day such as mon-fri 22:00-05:00"
	case reflect.TypeFor[Dates]():
		return "a day such as 2026-12-24"
	case reflect.TypeFor[Strings]():
		return "a text or a list of them"
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "a mapping (key: value)"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "yes or no"
	case reflect.String:
		return "a text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// found says in words what n is.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping (key: value)"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", n.Value)
}
