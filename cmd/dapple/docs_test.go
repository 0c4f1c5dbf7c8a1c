package main

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
)

// TestEveryCommandOfTheDocumentsIsOne finds commands and flags in the documents
// that the program has not got. Whether they do what is said is for the scripts.
func TestEveryCommandOfTheDocumentsIsOne(t *testing.T) {
	n := 0
	err := fs.WalkDir(os.DirFS("../.."), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (p == ".git" || strings.HasPrefix(p, "docs/adr") || strings.HasPrefix(p, "docs/reference")) {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		if d.IsDir() || path.Ext(p) != ".md" {
			return nil
		}
		data, err := os.ReadFile("../../" + p)
		if err != nil {
			return err
		}
		for _, line := range commandLines(string(data)) {
			n++
			if err := parses(line); err != nil {
				t.Errorf("%s: %s: %v", p, line, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 15 {
		t.Errorf("only %d commands were found: the test would hold for nothing", n)
	}
}

// commandLines are the lines of fenced blocks that call dapple.
func commandLines(text string) (lines []string) {
	fenced := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		line = strings.TrimPrefix(line, "$ ")
		for _, program := range []string{"dapple ", "./dapple ", "go run ./cmd/dapple "} {
			if rest, ok := strings.CutPrefix(line, program); ok && fenced {
				rest, _, _ = strings.Cut(rest, " #")
				rest, _, _ = strings.Cut(rest, " > ")
				lines = append(lines, rest)
			}
		}
	}
	return lines
}

func parses(line string) error {
	root := newRoot(stdio{nil, &bytes.Buffer{}, &bytes.Buffer{}})
	args := strings.Fields(strings.NewReplacer(`"`, "", "'", "").Replace(line))
	c, rest, err := root.Find(args)
	if err == nil && c == root {
		err = root.RunE(root, args)
	}
	if err == nil && c != root {
		err = c.ParseFlags(rest)
	}
	if err == nil && c.Args != nil && c != root {
		err = c.Args(c, c.Flags().Args())
	}
	return err
}
