package scenarios

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	// maxFile bounds a file, in bytes: a scenario has a few kilobytes.
	maxFile = 1 << 20
	// maxNodes bounds the values of a file once its aliases are written out.
	maxNodes = 50_000
	// maxDepth bounds how deep mappings and lists may lie in each other.
	maxDepth = 64
)

// parse makes a tree of the file in which every alias is written out, and which
// breaks none of the rules that hold for both files. It returns nil if there is
// no tree.
func (r *reader) parse(data []byte) *yaml.Node {
	if len(data) > maxFile {
		r.report(r.src.at(1, 1), slipf(ruleTooBig, "is this the right file?", "the file has %d bytes; at most %d are read", len(data), maxFile))
		return nil
	}
	if i, what := control(data); i >= 0 {
		r.report(r.src.offset(data, i), slipf(ruleEncoding, "save the file as UTF-8 text", "%s", what))
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		r.syntax(err)
		return nil
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		r.report(r.src.at(1, 1), slipf(ruleEmpty, "see: dapple schema", "the file is empty"))
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	if err := loader.Load(&next); err == nil {
		r.report(r.src.node(&next), slipf(ruleDocuments, "put each into a file of its own", "a second document begins here"))
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	if len(doc.Content) != 1 || doc.Content[0].ShortTag() == "!!null" {
		r.report(r.src.at(1, 1), slipf(ruleEmpty, "see: dapple schema", "the file is empty"))
		return nil
	}
	r.partial = map[*yaml.Node]bool{}
	t := tidier{reader: r, open: map[*yaml.Node]bool{}}
	return t.tidy(doc.Content[0], 0)
}

// syntax reports why the parser gave up.
func (r *reader) syntax(err error) {
	var le *yaml.LoadError
	at, msg := r.src.at(1, 1), "this is not YAML"
	if errors.As(err, &le) {
		msg = le.Message
		if le.Mark.Line > 0 {
			at = r.src.at(le.Mark.Line, le.Mark.Column)
		}
		if le.ContextMark.Line > 0 && le.ContextMsg != "" {
			msg = le.ContextMsg + ": " + msg
			at = earlier(at, r.src.at(le.ContextMark.Line, le.ContextMark.Column))
		}
	}
	if line, col := tabbed(r.src.lines); line > 0 && line <= at.Line {
		r.report(r.src.at(line, col), slipf(ruleTab, "indent with spaces", "a tab in the indentation"))
		return
	}
	hint := ""
	switch {
	case strings.Contains(msg, "unknown anchor"): // its name may be a secret that begins with *
		r.report(at, slipf(ruleAlias, "put a text that begins with * between quotes", "an alias (*) to something that is not there"))
		return
	case strings.Contains(msg, "max depth"):
		r.report(at, slipf(ruleTooBig, "is this the right file?", "the values lie deeper than %d levels in each other", maxDepth))
		return
	case strings.Contains(msg, "mapping values are not allowed"):
		hint = `is the line above complete, and the indentation right? A text with ": " in it needs quotes`
	case strings.Contains(msg, "cannot start any token"), strings.Contains(msg, "alphabetic or numeric"):
		hint = "put the text between quotes"
	case strings.Contains(msg, "expected"):
		hint = "is a bracket or a quote not closed, or a line not indented as its neighbours?"
	}
	r.report(at, slipf(ruleSyntax, hint, "%s", msg))
}

// A tidier copies a tree, writes its aliases out, and leaves out what may not be
// there.
type tidier struct {
	*reader
	open  map[*yaml.Node]bool // the nodes above: an alias to one of them would not end
	nodes int
	full  bool       // maxNodes or maxDepth was reached, and reported
	using *yaml.Node // the outermost alias that is being written out
}

// tidy returns nil for what cannot be read.
func (t *tidier) tidy(n *yaml.Node, depth int) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return t.alias(n, depth)
	}
	if t.nodes++; t.nodes > maxNodes || depth > maxDepth {
		t.overflow(n)
		return nil
	}
	if n.Style&yaml.TaggedStyle != 0 {
		t.report(t.src.node(n), slipf(ruleTag, "leave the tag out", "tags (%s) are not used here", n.Tag))
	}
	c := &yaml.Node{Kind: n.Kind, Style: n.Style &^ yaml.TaggedStyle, Tag: n.Tag, Value: n.Value, Line: n.Line, Column: n.Column}
	t.open[n] = true
	defer delete(t.open, n)
	if n.Kind == yaml.MappingNode {
		t.pairs(n, c, depth)
		return c
	}
	for _, child := range n.Content {
		if x := t.tidy(child, depth+1); x != nil {
			c.Content = append(c.Content, x)
		} else {
			t.partial[c] = true
		}
	}
	return c
}

func (t *tidier) alias(n *yaml.Node, depth int) *yaml.Node {
	if n.Alias == nil || t.open[n.Alias] {
		t.report(t.src.node(n), slipf(ruleAlias, "write the value out", "the alias stands in what it names"))
		return nil
	}
	if t.using == nil {
		t.using = n
		defer func() { t.using = nil }()
	}
	return t.tidy(n.Alias, depth)
}

// overflow reports that the tree is too big, once.
func (t *tidier) overflow(n *yaml.Node) {
	switch {
	case t.full:
		return
	case t.using != nil:
		t.report(t.src.node(t.using), slipf(ruleAlias, "write the values out", "this alias makes the file larger than %d values, or deeper than %d levels", maxNodes, maxDepth))
	default:
		t.report(t.src.node(n), slipf(ruleTooBig, "is this the right file?", "more than %d values, or more than %d levels", maxNodes, maxDepth))
	}
	t.full = true
}

// pairs copies the pairs of a mapping from n to c.
func (t *tidier) pairs(n, c *yaml.Node, depth int) {
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		var v *yaml.Node
		if t.key(key, seen) {
			v = t.tidy(val, depth+1)
		}
		if v == nil {
			t.partial[c] = true
			continue
		}
		c.Content = append(c.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: key.Tag, Value: key.Value, Line: key.Line, Column: key.Column}, v)
	}
}

// key says whether the key is one that can be used.
func (t *tidier) key(key *yaml.Node, seen map[string]*yaml.Node) bool {
	switch first := seen[key.Value]; {
	case key.ShortTag() == "!!merge":
		t.report(t.src.node(key), slipf(ruleMergeKey, "write the keys out", "merge keys (<<) are not used here"))
		return false
	case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null":
		t.report(t.src.node(key), slipf(ruleKey, "a key is a word: name: value", "this cannot be a key"))
		return false
	case first != nil:
		t.report(t.src.node(key), slipf(ruleDuplicateKey, "keep one of them", "the key %q stands twice: first in line %d", key.Value, t.src.node(first).Line))
		return false
	}
	seen[key.Value] = key
	return true
}
