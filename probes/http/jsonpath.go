package http

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
)

// A path leads to values in JSON. It is the part of JSONPath (RFC 9535) that a
// reader can follow while the answer comes in, without keeping it: child names,
// indexes from the front, and the wildcard.
//
//	$.items[*].id    $['odd name'][0]    $.*
type path []step

// A step goes one level down.
type step struct {
	name  string // of an object's member
	index int    // of an array's element; -1: not an index
	any   bool   // every member or element
}

const pathHint = `write it as $.items[*].id: names, indexes and [*]`

// parsePath reads a path.
func parsePath(s string) (path, error) {
	rest, ok := strings.CutPrefix(s, "$")
	if !ok {
		return nil, diag.Hint(fmt.Errorf("%q is no JSONPath: it begins with $", s), pathHint)
	}
	p := path{}
	for rest != "" {
		x, left, err := nextStep(rest)
		if err != nil {
			return nil, diag.Hint(fmt.Errorf("%q is no JSONPath that can be read here: %w", s, err), pathHint)
		}
		p, rest = append(p, x), left
	}
	return p, nil
}

func nextStep(s string) (x step, rest string, err error) {
	switch {
	case strings.HasPrefix(s, ".."):
		return x, "", errors.New(".. (descendants) would need the whole answer at once")
	case strings.HasPrefix(s, "."):
		return dotted(s[1:])
	case strings.HasPrefix(s, "["):
		return bracketed(s[1:])
	}
	return x, "", fmt.Errorf("%q follows nothing", s)
}

// dotted reads .name or .*.
func dotted(s string) (step, string, error) {
	if rest, ok := strings.CutPrefix(s, "*"); ok {
		return step{index: -1, any: true}, rest, nil
	}
	end := strings.IndexAny(s, ".[")
	if end < 0 {
		end = len(s)
	}
	name := s[:end]
	for i, c := range name {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
		if !letter && (i == 0 || c < '0' || c > '9') {
			return step{}, "", fmt.Errorf("%q is no name: write ['%s']", name, name)
		}
	}
	if name == "" {
		return step{}, "", errors.New("a name is missing after a dot")
	}
	return step{name: name, index: -1}, s[end:], nil
}

// bracketed reads what follows a bracket: 'name'], "name"], 3] or *].
func bracketed(s string) (step, string, error) {
	if s != "" && (s[0] == '\'' || s[0] == '"') {
		name, rest, err := quoted(s)
		if err != nil {
			return step{}, "", err
		}
		rest, ok := strings.CutPrefix(rest, "]")
		if !ok {
			return step{}, "", fmt.Errorf("no bracket closes after %q", name)
		}
		return step{name: name, index: -1}, rest, nil
	}
	inner, rest, ok := strings.Cut(s, "]")
	switch {
	case !ok:
		return step{}, "", errors.New("a bracket is not closed")
	case inner == "*":
		return step{index: -1, any: true}, rest, nil
	case strings.HasPrefix(inner, "?"):
		return step{}, "", errors.New("filters are not read")
	case strings.ContainsAny(inner, ":,"):
		return step{}, "", errors.New("slices and lists are not read")
	}
	i, err := strconv.Atoi(inner)
	if err != nil || i < 0 || strconv.Itoa(i) != inner {
		return step{}, "", fmt.Errorf("[%s] is no index from 0 on", inner)
	}
	return step{index: i}, rest, nil
}

// quoted reads a name between quotes; \ makes the next character one of it.
func quoted(s string) (name, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), s[i+1:], nil
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '\\' || s[i+1] == s[0]):
			i++
			b.WriteByte(s[i])
		case s[i] == '\\':
			return "", "", errors.New(`of the escapes only \\ and the quote are read`)
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", errors.New("a quote is not closed")
}

// each calls see for every text, number and truth value at the path, in the order
// of the answer. It keeps no more of it than one value. An answer that is not
// whole is an error, also if what is missing lies elsewhere.
func (p path) each(r io.Reader, see func(string)) error {
	d := json.NewDecoder(r)
	d.UseNumber()
	if err := p.value(d, see); err != nil {
		return whole(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("something follows the value")
		}
		return whole(err)
	}
	return nil
}

// whole words what the decoder says of an answer that ends too soon.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading JSON: %w", err)
}

// value reads one value: it is at the end of the path, or on the way.
func (p path) value(d *json.Decoder, see func(string)) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, isOpen := t.(json.Delim)
	switch {
	case !isOpen && len(p) == 0:
		if s, ok := scalar(t); ok {
			see(s)
		}
		return nil
	case !isOpen:
		return nil
	case len(p) == 0:
		return skip(d)
	}
	for i := 0; d.More(); i++ {
		on := p[0].any || open == '[' && p[0].index == i
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			on = p[0].any || p[0].index < 0 && key == p[0].name
		}
		if err := p.next(d, on, see); err != nil {
			return err
		}
	}
	_, err = d.Token() // the bracket that closes
	return err
}

// next reads a value below: along the path, or past it.
func (p path) next(d *json.Decoder, on bool, see func(string)) error {
	if on {
		return p[1:].value(d, see)
	}
	t, err := d.Token()
	if _, open := t.(json.Delim); err != nil || !open {
		return err
	}
	return skip(d)
}

// skip reads up to the bracket that closes the one that was just read.
func skip(d *json.Decoder) error {
	for depth := 1; depth > 0; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

func scalar(t json.Token) (string, bool) {
	switch v := t.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// first is the first value at the path, or "".
func (p path) first(body string) (value string) {
	found := false
	_ = p.each(strings.NewReader(body), func(s string) { // what is no JSON tells nothing
		if !found {
			value, found = strings.TrimSpace(s), true
		}
	})
	return value
}
