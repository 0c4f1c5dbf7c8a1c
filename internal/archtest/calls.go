package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// A call is a use of a name of another package: os.Exit.
type call struct {
	pkg, name string // pkg is the import path
	node      ast.Node
}

// calls lists the uses of names of other packages in a file, by the names under
// which they are imported there.
func calls(f File) []call {
	names := map[string]string{}
	imports(f, func(name, p string, _ *ast.ImportSpec) { names[name] = p })
	var found []call
	ast.Inspect(f.AST, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && names[id.Name] != "" {
			found = append(found, call{names[id.Name], sel.Sel.Name, sel})
		}
		return true
	})
	return found
}

// Forbidden reports what no package may use: outside of cmd and of tests what
// takes a decision that is cmd's (ending the program, printing, a context that
// nobody can cancel), and time.Sleep everywhere, since it ignores cancellation
// and makes tests slow or flaky.
func Forbidden(t *Tree) []string {
	var bad []string
	for _, f := range t.Files {
		for _, c := range calls(f) {
			why := forbidden(c)
			free := f.Test || testSupport(f.Dir) || strings.HasPrefix(f.Dir, "cmd/")
			if why != "" && (!free || c.pkg == "time") {
				bad = append(bad, fmt.Sprintf("%s: %s.%s: %s", t.at(c.node), c.pkg, c.name, why))
			}
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Name.Name == "init" && fn.Recv == nil {
				bad = append(bad, fmt.Sprintf("%s: func init: what a program does must not depend on what it imports", t.at(fn)))
			}
		}
	}
	return bad
}

// forbidden is why a name must not be used, or "".
func forbidden(c call) string {
	switch c.pkg {
	case "os":
		if c.name == "Exit" {
			return "only cmd ends the program; return an error"
		}
	case "fmt":
		if slices.Contains([]string{"Print", "Printf", "Println"}, c.name) {
			return "only cmd prints; take an io.Writer"
		}
	case "log":
		return "there is no global logger"
	case "context":
		if c.name == "Background" || c.name == "TODO" {
			return "take the caller's context; clean-up uses context.WithoutCancel"
		}
	case "time":
		if c.name == "Sleep" {
			return "it cannot be cancelled; wait for what you wait for, or use a timer beside ctx.Done"
		}
	}
	return ""
}

// Names reports packages whose name says nothing about what is in them.
func Names(t *Tree) []string {
	var bad []string
	seen := map[string]bool{}
	for _, f := range t.Files {
		for _, name := range []string{path.Base(f.Dir), strings.TrimSuffix(f.AST.Name.Name, "_test")} {
			if seen[f.Dir] || !slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "core", "misc", "base", "lib"}, name) {
				continue
			}
			seen[f.Dir] = true
			bad = append(bad, fmt.Sprintf("%s: a package named %s says nothing about what is in it", f.Path, name))
		}
	}
	return bad
}
