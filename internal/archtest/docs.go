package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
)

// Documented reports packages without a package comment, and exported names
// without a doc comment. Fields need none, nor do the methods whose meaning the
// language fixes: String, Error, Unwrap.
func Documented(t *Tree) []string {
	var bad []string
	first, has := map[string]string{}, map[string]bool{}
	var dirs []string
	for _, f := range t.Files {
		if f.Test || f.Generated {
			continue
		}
		if first[f.Dir] == "" {
			first[f.Dir] = f.Path
			dirs = append(dirs, f.Dir)
		}
		if f.AST.Doc != nil {
			has[f.Dir] = true
		}
		for _, d := range f.AST.Decls {
			bad = append(bad, undocumented(t, d)...)
		}
	}
	for _, dir := range dirs {
		if !has[dir] {
			bad = append(bad, fmt.Sprintf("%s: the package %s has no package comment: what it is for, and what it does not do", first[dir], dir))
		}
	}
	return bad
}

func undocumented(t *Tree, d ast.Decl) []string {
	var bad []string
	report := func(n ast.Node, name string) {
		bad = append(bad, fmt.Sprintf("%s: %s has no doc comment", t.at(n), name))
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if name, public := publicFunc(d); public && d.Doc == nil {
			report(d, name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					report(s, s.Name.Name)
				}
			case *ast.ValueSpec:
				if i := slices.IndexFunc(s.Names, (*ast.Ident).IsExported); i >= 0 && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					report(s, s.Names[i].Name)
				}
			}
		}
	}
	return bad
}

// publicFunc says whether a function, or a method of a type, can be called from
// outside, and its meaning is not fixed by the language.
func publicFunc(d *ast.FuncDecl) (name string, public bool) {
	name = d.Name.Name
	if !d.Name.IsExported() {
		return name, false
	}
	if d.Recv == nil {
		return name, true
	}
	recv := d.Recv.List[0].Type
	for {
		switch r := recv.(type) {
		case *ast.StarExpr:
			recv = r.X
			continue
		case *ast.IndexExpr:
			recv = r.X
			continue
		case *ast.IndexListExpr:
			recv = r.X
			continue
		case *ast.Ident:
			fixed := slices.Contains([]string{"String", "Error", "Unwrap"}, name)
			return r.Name + "." + name, r.IsExported() && !fixed
		}
		return name, false
	}
}

// The hard limits of a file and of a function, in lines (style, house guide).
const (
	MaxFile = 400
	MaxFunc = 80
)

// Sizes reports files and functions that are longer than a person reads at once.
func Sizes(t *Tree) []string {
	var bad []string
	for _, f := range t.Files {
		if f.Generated {
			continue
		}
		if f.Lines > MaxFile {
			bad = append(bad, fmt.Sprintf("%s: %d lines, at most %d", f.Path, f.Lines, MaxFile))
		}
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && t.lines(fn) > MaxFunc {
				bad = append(bad, fmt.Sprintf("%s: func %s has %d lines, at most %d", t.at(fn), fn.Name.Name, t.lines(fn), MaxFunc))
			}
		}
		bad = append(bad, literals(t, f)...)
	}
	return bad
}

// literals reports function values that are too long where they do not stand in
// a function that was reported already.
func literals(t *Tree, f File) []string {
	var bad []string
	for _, d := range f.AST.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		ast.Inspect(gen, func(n ast.Node) bool {
			if fn, ok := n.(*ast.FuncLit); ok && t.lines(fn) > MaxFunc {
				bad = append(bad, fmt.Sprintf("%s: a function of %d lines, at most %d", t.at(fn), t.lines(fn), MaxFunc))
			}
			return true
		})
	}
	return bad
}
