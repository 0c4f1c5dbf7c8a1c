package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A page is a document of this repository.
type page struct {
	path   string // seen from the repository
	blocks []block
	spans  []command // what is quoted in a line, in backticks
}

// A block is an example in a page: fenced, or indented by four.
type block struct {
	page  string
	line  int // of its first line within
	info  string
	lines []string
	notes []string // what comments directly before it say of it
}

// A command is a line of a block that is typed.
type command struct {
	at   string // file:line
	text string // as it is typed, its continuation lines joined
}

func (b block) at() string     { return fmt.Sprintf("%s:%d", b.page, b.line) }
func (b block) text() string   { return strings.Join(b.lines, "\n") + "\n" }
func (b block) noted() string  { return strings.Join(b.notes, "; ") }
func (b block) prompted() bool { return slices.ContainsFunc(b.lines, isPrompt) }

func isPrompt(line string) bool { return strings.HasPrefix(line, "$ ") }

// note is what follows a word in the comments before the block.
func (b block) note(word string) (string, bool) {
	for _, n := range b.notes {
		if rest, ok := strings.CutPrefix(n, word); ok {
			return strings.TrimSpace(strings.TrimPrefix(rest, ":")), true
		}
	}
	return "", false
}

// typed are the programs by whose names an unmarked block is known for commands.
var typed = regexp.MustCompile(`^(\$ )?(\./)?(dapple|go|make|docker|dpkg|export|openssl) `)

// isCommands says whether the block is typed into a shell.
func (b block) isCommands() bool {
	switch b.info {
	case "sh", "console", "bash":
		return true
	case "":
		return len(b.lines) > 0 && typed.MatchString(b.lines[0])
	}
	return false
}

// commands are the block's lines, each with those that continue it. After a prompt
// comes a command, and what has none is what the program answers.
func (b block) commands() (list []command) {
	for i := 0; i < len(b.lines); i++ {
		text := b.lines[i]
		if b.prompted() && !isPrompt(text) || strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#") {
			continue
		}
		c := command{at: fmt.Sprintf("%s:%d", b.page, b.line+i), text: strings.TrimPrefix(text, "$ ")}
		for strings.HasSuffix(c.text, `\`) && i+1 < len(b.lines) {
			i++
			c.text = strings.TrimSuffix(c.text, `\`) + strings.TrimSpace(b.lines[i])
		}
		list = append(list, c)
	}
	return list
}

var (
	comment = regexp.MustCompile(`^<!-- (.*) -->$`)
	span    = regexp.MustCompile("`(dapple [^`]+)`")
)

// readPage takes a page apart.
func readPage(path, text string) page {
	p := page{path: path}
	var open *block
	var notes []string
	fenced, before := false, ""
	begin := func(line int, info string) {
		open = &block{page: path, line: line, info: info, notes: notes}
		notes = nil
	}
	end := func() {
		if open != nil {
			p.blocks = append(p.blocks, *open)
		}
		open, fenced = nil, false
	}
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		code, indented := strings.CutPrefix(line, "    ")
		switch {
		case fenced && trimmed == "```":
			end()
		case fenced:
			open.lines = append(open.lines, line)
		case strings.HasPrefix(trimmed, "```"):
			end()
			begin(i+2, strings.TrimPrefix(trimmed, "```"))
			fenced = true
		case indented && (open != nil || before == ""):
			if open == nil {
				begin(i+1, "")
			}
			open.lines = append(open.lines, code)
		default:
			end()
			if m := comment.FindStringSubmatch(trimmed); m != nil {
				notes = append(notes, m[1])
			} else if trimmed != "" {
				notes = nil
			}
			for _, m := range span.FindAllStringSubmatch(line, -1) {
				p.spans = append(p.spans, command{at: fmt.Sprintf("%s:%d", path, i+1), text: m[1]})
			}
		}
		before = trimmed
	}
	end()
	return p
}

// pages are all documents, besides decisions, which tell of their day.
func pages(t *testing.T) (list []page) {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "*/README.md", "*/*/README.md", "*/*/*/README.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	slices.Sort(paths)
	for _, path := range slices.Compact(paths) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "docs/adr/") {
			list = append(list, readPage(filepath.ToSlash(name), string(data)))
		}
	}
	return list
}

// root is the repository, seen from this package.
const root = "../.."

func TestAPageIsTakenApart(t *testing.T) {
	text := strings.Join([]string{"Say `dapple list --json`:", "", "<!-- slow -->", "<!-- exit 1 -->", "```sh", "dapple run a \\", "  --on b # why", "", "dapple list", "```", "",
		"    $ dapple show x", "    an answer", "", "```yaml", "a: 1", "```"}, "\n")
	p := readPage("p.md", text)
	if len(p.spans) != 1 || p.spans[0] != (command{"p.md:1", "dapple list --json"}) {
		t.Errorf("%+v", p.spans)
	}
	if len(p.blocks) != 3 || p.blocks[0].noted() != "slow; exit 1" || p.blocks[1].noted() != "" || p.blocks[2].info != "yaml" || p.blocks[2].at() != "p.md:16" {
		t.Fatalf("%+v", p.blocks)
	}
	got := fmt.Sprint(p.blocks[0].commands(), p.blocks[1].commands())
	if want := "[{p.md:6 dapple run a --on b # why} {p.md:9 dapple list}] [{p.md:12 dapple show x}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !p.blocks[0].isCommands() || !p.blocks[1].isCommands() || p.blocks[2].isCommands() {
		t.Error("commands are not known as such")
	}
}
