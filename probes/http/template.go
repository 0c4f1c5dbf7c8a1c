package http

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/dapple-drills/dapple/internal/diag"
)

// values is what templates see.
type values struct {
	Run    string
	Client int
	Seq    uint64
	ID     string // unique: run, client and seq in one
	Node   string // "" at the client endpoint
}

// Which of them a request knows.
var (
	ofWrite = []string{"Run", "Client", "Seq", "ID", "Node"}
	ofIDs   = []string{"Run", "Client", "Node"}
	ofClean = []string{"Run", "Client"}
	ofNode  = []string{"Node"}
)

// A text is a template that was read, or a constant.
type text struct {
	t     *template.Template // nil: constant
	whole string
	uses  []string // names of values, each once
}

// newText reads a template in which the given names may stand. It may choose
// (if) and print; what could go on for ever (range) or calls other templates has
// no use here and is refused.
func newText(source string, names []string) (text, error) {
	x := text{whole: source}
	if !strings.Contains(source, "{{") {
		return x, nil
	}
	t, err := template.New("").Parse(source)
	if err != nil {
		return x, fmt.Errorf("a bad template: %s", strings.TrimPrefix(err.Error(), "template: :"))
	}
	if t.Tree == nil || t.Tree.Root == nil {
		return x, fmt.Errorf("a bad template: it is empty")
	}
	r := templateReader{names: names}
	r.node(t.Tree.Root)
	if r.err != nil {
		return x, r.err
	}
	x.t, x.uses = t, r.uses
	return x, nil
}

// templateReader finds what a template uses.
type templateReader struct {
	names, uses []string
	err         error
}

func (r *templateReader) node(n parse.Node) {
	if r.err != nil {
		return
	}
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, x := range n.Nodes {
				r.node(x)
			}
		}
	case *parse.TextNode, *parse.CommentNode:
	case *parse.ActionNode:
		r.pipe(n.Pipe)
	case *parse.IfNode:
		r.pipe(n.Pipe)
		r.node(n.List)
		r.node(n.ElseList)
	default:
		r.refuse("only values, functions and if may stand in a template", "%s", n)
	}
}

func (r *templateReader) pipe(p *parse.PipeNode) {
	for _, c := range p.Cmds {
		for _, a := range c.Args {
			r.arg(a)
		}
	}
}

func (r *templateReader) arg(n parse.Node) {
	switch n := n.(type) {
	case *parse.FieldNode:
		r.field(n.Ident)
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			r.field(n.Ident[1:])
		} else if len(n.Ident) > 1 {
			r.field(n.Ident[1:])
		}
	case *parse.PipeNode:
		r.pipe(n)
	case *parse.IdentifierNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.NilNode:
	default:
		r.refuse(r.known(), "%s says no value", n)
	}
}

func (r *templateReader) field(path []string) {
	if len(path) == 1 && slices.Contains(r.names, path[0]) {
		if !slices.Contains(r.uses, path[0]) {
			r.uses = append(r.uses, path[0])
		}
		return
	}
	name := strings.Join(path, ".")
	hint := r.known()
	if near := diag.Nearest(name, r.names); near != "" {
		hint = fmt.Sprintf("did you mean .%s?", near)
	}
	r.refuse(hint, "there is no .%s here", name)
}

func (r *templateReader) known() string {
	return "templates see ." + strings.Join(r.names, " .") + " here"
}

func (r *templateReader) refuse(hint, msg string, args ...any) {
	if r.err == nil {
		r.err = diag.Hint(fmt.Errorf("a bad template: "+msg, args...), hint)
	}
}

// render writes the text out for v.
func (x text) render(v values) (string, error) {
	if x.t == nil {
		return x.whole, nil
	}
	var b bytes.Buffer
	if err := x.t.Execute(&b, v); err != nil {
		return "", fmt.Errorf("a bad template: %s", strings.TrimPrefix(err.Error(), "template: :"))
	}
	return b.String(), nil
}
