package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/scenarios/library"
)

// TestEveryCommandOfTheDocumentsIsOne finds commands, flags, clusters, scenarios and
// targets of make that are not there, in blocks and in lines of text, also where the
// block is not run.
func TestEveryCommandOfTheDocumentsIsOne(t *testing.T) {
	n := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			for _, c := range b.commands() {
				if !b.isTyped(c) {
					continue
				}
				n++
				if err := isCommand(shellWords(c.text), true); err != nil {
					t.Errorf("%s: %s: %v", c.at, c.text, err)
				}
			}
		}
		for _, c := range p.spans {
			n++
			if err := isCommand(shellWords(c.text), false); err != nil {
				t.Errorf("%s: %s: %v", c.at, c.text, err)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d commands were found: the test would hold for nothing", n)
	}
}

// isTyped says whether the line of a block is a command. In the reference, which is
// made from help texts, examples are indented, and usage lines are not.
func (b block) isTyped(c command) bool {
	if strings.HasPrefix(b.page, "docs/reference/") {
		return strings.HasPrefix(c.text, "  ") && typed.MatchString(strings.TrimSpace(c.text))
	}
	return b.isCommands()
}

// shellWords are the words of one simple command, as far as documents use the shell:
// quotes, and what ends a command.
func shellWords(text string) (words []string) {
	var w strings.Builder
	quote, any := rune(0), false
	flush := func() {
		if any {
			words = append(words, w.String())
		}
		w.Reset()
		any = false
	}
	for _, r := range text {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			w.WriteRune(r)
		case r == '\'' || r == '"':
			quote, any = r, true
		case r == ' ' || r == '\t' || r == '\n':
			flush()
		case r == '#' && !any, r == '>' || r == '<' || r == '|' || r == ';' || r == '&':
			flush()
			return words
		default:
			w.WriteRune(r)
			any = true
		}
	}
	flush()
	return words
}

// isCommand says what is wrong with a command. whole: it is one that can be typed as
// it stands; else arguments may be left out, as in the middle of a sentence.
func isCommand(words []string, whole bool) error {
	for len(words) > 0 && strings.Contains(words[0], "=") && !strings.HasPrefix(words[0], "-") {
		words = words[1:] // variables before the command
	}
	if len(words) == 0 {
		return nil
	}
	rest := words[1:]
	switch filepath.Base(words[0]) {
	case "make":
		return isTarget(rest)
	case "go":
		if len(rest) > 1 && rest[0] == "run" && rest[1] == "./cmd/dapple" {
			return parses(rest[2:], whole)
		}
		return isPackage(rest)
	case "docker":
		if i := slices.Index(rest, "dapple"); i >= 0 {
			return parses(rest[i+1:], whole)
		}
	case "dapple":
		return parses(rest, whole)
	case "release-check", "release", "run", "setup", "fuzz":
		if _, err := os.Stat(filepath.Join(root, words[0])); err != nil {
			return err
		}
	}
	return nil
}

// isTarget says whether make has these targets.
func isTarget(targets []string) error {
	data, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return err
	}
	for _, name := range targets {
		if !strings.Contains(name, "=") && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`:`).Match(data) {
			return fmt.Errorf("make has no target %s", name)
		}
	}
	return nil
}

// isPackage says whether packages of this module are there.
func isPackage(words []string) error {
	for _, w := range words {
		path, ours := strings.CutPrefix(w, "github.com/dapple-drills/dapple")
		if !ours {
			if path, ours = strings.CutPrefix(w, "./"); !ours || strings.HasSuffix(w, "...") {
				continue
			}
		}
		path, _, _ = strings.Cut(path, "@")
		if info, err := os.Stat(filepath.Join(root, path)); err != nil || !info.IsDir() {
			return fmt.Errorf("there is no package %s", w)
		}
	}
	return nil
}

// parses says whether dapple knows the command, its flags, how many arguments it
// takes, and what is built in and named.
func parses(args []string, whole bool) error {
	if i := slices.IndexFunc(args, func(a string) bool { return a == "…" || a == "..." }); i >= 0 {
		args, whole = args[:i], false
	}
	top := newRoot(stdio{nil, &bytes.Buffer{}, &bytes.Buffer{}})
	top.InitDefaultHelpCmd()
	top.InitDefaultCompletionCmd()
	top.InitDefaultHelpFlag()
	c, rest, err := top.Find(args)
	if err != nil {
		return err
	}
	c.InitDefaultHelpFlag()
	if err := c.ParseFlags(rest); err != nil {
		if whole || !strings.Contains(err.Error(), "needs an argument") {
			return err
		}
	}
	given := c.Flags().Args()
	if c == top && len(given) > 0 {
		return top.RunE(top, given)
	}
	if whole && c.Args != nil && c != top {
		if err := c.Args(c, given); err != nil {
			return err
		}
	}
	if flag := c.Flags().Lookup("on"); flag != nil {
		given = append(slices.Clone(given), strings.Split(strings.Trim(flag.Value.String(), "[]"), ",")...)
	}
	return builtIn(given)
}

// builtIn says which names of built-in things are none. Other files are the reader's.
func builtIn(names []string) error {
	kinds := map[string]bool{}
	for _, name := range library.Names() {
		kind, _, _ := strings.Cut(name, "/")
		kinds[kind] = true
	}
	for _, name := range names {
		if cluster, ok := strings.CutPrefix(name, clusterPrefix); ok && cluster != strings.ToUpper(cluster) {
			if err := vocabulary().CheckCluster(cluster); err != nil {
				return err
			}
		}
		kind, _, deep := strings.Cut(strings.TrimPrefix(name, library.Root), "/")
		if strings.HasSuffix(name, "/") {
			continue // a folder of the reader's
		}
		if deep && kinds[kind] || strings.HasPrefix(name, library.Root) {
			if _, _, err := library.Find(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestWhatIsWrongWithACommandIsFound(t *testing.T) {
	for text, want := range map[string]string{
		"dapple runn x.yaml":                                           `unknown command "runn"`,
		"dapple run x.yaml --onn y":                                    "unknown flag: --onn",
		"dapple run etcd/leader-kil.yaml --on cluster:etcd":            "in the library",
		"dapple run etcd/leader-kill.yaml --on cluster:etdc":           "etdc",
		"dapple diff before":                                           "accepts 2 arg(s)",
		"./dapple schedule next --every x":                             "unknown flag: --every",
		"make nothing":                                                 "no target nothing",
		"go install github.com/dapple-drills/dapple/cmd/dabble@latest": "no package",
		"A=1 docker run --rm dapple demo --slow":                       "unknown flag: --slow",
		"dapple stop --why 'pager storm' # all of them":                "",
		"dapple cluster up etcd > etcd.yaml":                           "",
		"make selftest SELFTEST=x":                                     "",
	} {
		if err := isCommand(shellWords(text), true); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
