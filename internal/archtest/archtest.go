// Package archtest keeps the shape of the program: who may import whom, who owns
// which dependency, what is never called, what is documented, how long things may
// be. Each rule is a function from the source tree to a list of violations, and a
// table that says why; the tests apply them to this repository.
//
// It reads source text only: nothing is compiled or run, so the rules also hold
// for files of other operating systems, and while something does not build.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of this module.
const Module = "github.com/dapple-drills/dapple"

// A Tree is the parsed source of a module.
type Tree struct {
	Files []File
	fset  *token.FileSet
}

// A File is one parsed Go file.
type File struct {
	Path      string // from the root of the module
	Dir       string // the package, as the tables name it: "drills/verdict"
	Test      bool   // *_test.go
	Generated bool
	Lines     int
	AST       *ast.File
}

// Load parses every Go file of a module: not testdata, not what begins with a
// dot or an underscore, not the modules within it.
func Load(root fs.FS) (*Tree, error) {
	t := &Tree{fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skip(root, p)
		case path.Ext(p) != ".go":
			return nil
		}
		return t.add(root, p)
	})
	if err != nil {
		return nil, fmt.Errorf("read the source tree: %w", err)
	}
	return t, nil
}

func skip(root fs.FS, p string) error {
	if p == "." {
		return nil
	}
	if base := path.Base(p); base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(p, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func (t *Tree) add(root fs.FS, p string) error {
	data, err := fs.ReadFile(root, p)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(t.fset, p, data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.Files = append(t.Files, File{
		Path:      p,
		Dir:       path.Dir(p),
		Test:      strings.HasSuffix(p, "_test.go"),
		Generated: ast.IsGenerated(f),
		Lines:     strings.Count(string(data), "\n"),
		AST:       f,
	})
	return nil
}

// at is the place of a node, for a violation.
func (t *Tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// lines is how many lines a node takes.
func (t *Tree) lines(n ast.Node) int {
	return t.fset.Position(n.End()).Line - t.fset.Position(n.Pos()).Line + 1
}

// imports calls visit for every import of a file, with the name by which it is
// used in it.
func imports(f File, visit func(name, path string, spec *ast.ImportSpec)) {
	for _, spec := range f.AST.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser let it through, so it is one
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		visit(name, p, spec)
	}
}

// ours is the import path as the tables name it, if it is of this module.
func ours(importPath string) (dir string, ok bool) {
	if importPath == Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, Module+"/")
}

// testSupport says whether a package is there for tests alone, or below one that
// is, so that what only tests may do, it may do too.
func testSupport(dir string) bool {
	return slices.ContainsFunc(strings.Split(dir, "/"), func(name string) bool { return name == "testenv" || strings.HasSuffix(name, "test") })
}

// matches says whether a package is meant by a pattern: itself, "x/*" for those
// right below x, or "x/..." for x and all below it.
func matches(pattern, dir string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return dir == below || strings.HasPrefix(dir, below+"/")
	}
	if below, ok := strings.CutSuffix(pattern, "/*"); ok {
		return path.Dir(dir) == below
	}
	return pattern == dir
}
