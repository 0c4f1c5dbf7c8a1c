// Package library is the ready scenarios: one folder per kind of system, embedded
// in the program, so that they are there without a checkout.
//
// It only hands out their text; package scenarios reads it. README.md beside this
// file says what each is for.
package library

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
)

// FS holds the scenarios as "kind/name.yaml".
//
//go:embed */*.yaml
var FS embed.FS

// Root is where the scenarios are in the repository: the path by which the
// documentation names them.
const Root = "scenarios/library/"

// Names lists the scenarios as "kind/name.yaml", sorted.
func Names() []string {
	var names []string
	// Walking an embedded folder cannot go wrong.
	_ = fs.WalkDir(FS, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	})
	slices.Sort(names)
	return names
}

// Find returns a scenario by any of its names: its path in the repository
// ("scenarios/library/etcd/leader-kill.yaml", also with "./" before it), its name
// here ("etcd/leader-kill.yaml"), or that without the ending. The returned path is
// the one in the repository. An error wraps fs.ErrNotExist and has a hint.
func Find(name string) (repoPath string, data []byte, err error) {
	short := strings.TrimPrefix(path.Clean(strings.ReplaceAll(name, `\`, "/")), Root)
	if path.Ext(short) == "" {
		short += ".yaml"
	}
	data, err = FS.ReadFile(short)
	if err != nil {
		hint := "ready scenarios: " + strings.Join(Names(), ", ")
		if near := diag.Nearest(short, Names()); near != "" {
			hint = fmt.Sprintf("did you mean %s%s?", Root, near)
		}
		return "", nil, diag.Hint(fmt.Errorf("find the scenario %q in the library: %w", name, fs.ErrNotExist), hint)
	}
	return Root + short, data, nil
}
