package scenarios

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/dapple-drills/dapple/internal/diag"
)

// maxProblems bounds what one reading reports: a file with more is broken in one
// way a hundred times, or is no file of ours.
const maxProblems = 100

// A source is the text of a file, and where in it everything stands. Things are
// named by their path: "steps[0].for"; the path of the whole file is "".
type source struct {
	file   string
	lines  []string
	places map[string]place
}

// A place is where a key and its value stand; a list's element has no key.
type place struct{ key, val Pos }

func newSource(file string, data []byte) *source {
	return &source{file: file, lines: splitLines(data), places: map[string]place{}}
}

// breaks are what YAML counts as the end of a line (YAML 1.1, 4.2).
var breaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

func splitLines(data []byte) []string {
	text := strings.ToValidUTF8(string(data), "\uFFFD")
	lines := strings.Split(breaks.Replace(text), "\n")
	if n := len(lines); n > 1 && lines[n-1] == "" {
		lines = lines[:n-1]
	}
	return lines
}

// at makes a Pos that is inside the file, whatever the parser said.
func (s *source) at(line, col int) Pos {
	if line > len(s.lines) { // a parser that wants more points behind the end
		line, col = len(s.lines), utf8.RuneCountInString(s.lines[len(s.lines)-1])+1
	}
	line = max(line, 1)
	col = min(max(col, 1), utf8.RuneCountInString(s.lines[line-1])+1)
	return Pos{s.file, line, col}
}

func (s *source) node(n *yaml.Node) Pos {
	if s == nil || n.Line == 0 {
		return Pos{} // made in Go
	}
	return s.at(n.Line, n.Column)
}

// has says whether something stands at path, and was understood.
func (s *source) has(path string) bool {
	if s == nil {
		return false // made in Go
	}
	_, ok := s.places[path]
	return ok
}

// value is where the value at path stands, or what holds it, if it is not there.
func (s *source) value(path string) Pos {
	if s == nil {
		return Pos{}
	}
	for {
		if p, ok := s.places[path]; ok {
			return p.val
		}
		if path == "" {
			return s.at(1, 1)
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

// key is where the key of path stands, or its value, if it has no key.
func (s *source) key(path string) Pos {
	if s != nil {
		if p, ok := s.places[path]; ok && p.key.Line > 0 {
			return p.key
		}
	}
	return s.value(path)
}

// problem is a slip at its place.
func (s *source) problem(at Pos, what *slip) diag.Problem {
	p := diag.Problem{File: at.File, Line: at.Line, Col: at.Col, Rule: what.rule, Msg: what.msg, Hint: what.hint}
	if s != nil && at.Line > 0 && what.rule != ruleSecret {
		p.Text, p.Caret = masked(s.lines[at.Line-1], at.Col)
	}
	return p
}

// Secrets do not belong into the file, but when they are there an excerpt must
// not carry them into a terminal or the log of a CI job: a password in a URL,
// and what follows a key that sounds like one.
var (
	urlSecret = regexp.MustCompile(`://[^/\s"']*:`)
	keySecret = regexp.MustCompile(`(?i)(?:password|passwd|pwd|secret|token)["']?\s*[:=]\s*["']?`)
)

// masked is the line as it may be shown, and where the caret stands in it.
func masked(line string, col int) (string, int) {
	cut := len(line)
	for _, at := range urlSecret.FindAllStringIndex(line, -1) {
		if strings.Contains(line[at[1]:], "@") {
			cut = min(cut, at[1])
		}
	}
	for _, at := range keySecret.FindAllStringIndex(line, -1) {
		if rest := line[at[1]:]; rest != "" && !strings.HasPrefix(rest, "{") {
			cut = min(cut, at[1])
		}
	}
	if cut == len(line) {
		return line, col
	}
	return line[:cut] + "***", min(col, utf8.RuneCountInString(line[:cut])+1)
}

// A reader gathers the problems of one reading.
type reader struct {
	src      *source
	problems diag.Problems
	more     int // problems beyond maxProblems
	// partial holds the parts of the tree from which something was left out
	// because it broke a rule: that it is missing is no second problem.
	partial map[*yaml.Node]bool
}

func (r *reader) report(at Pos, what *slip) {
	if len(r.problems) >= maxProblems {
		r.more++
		return
	}
	r.problems = append(r.problems, r.src.problem(at, what))
}

// err is all that was reported, as one error.
func (r *reader) err() error {
	if r.more > 0 {
		last := Pos{}
		if r.src != nil {
			last = r.src.at(len(r.src.lines), 1)
		}
		r.problems = append(r.problems, r.src.problem(last, &slip{
			rule: ruleTooMany,
			msg:  fmt.Sprintf("and %d problems more", r.more),
			hint: "mend the ones above first; or this is not the file that you mean",
		}))
	}
	return r.problems.Err()
}

// control finds the first character that may not stand in a file: anything that
// is not UTF-8, and control characters but tab and line breaks (YAML 1.2, 5.1).
func control(data []byte) (offset int, what string) {
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			return i, fmt.Sprintf("byte 0x%02x is not UTF-8", data[i])
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c >= 0x7f && c < 0xa0 && c != 0x85, c == 0xfffe, c == 0xffff:
			return i, fmt.Sprintf("control character %U", c)
		case c == '\uFEFF':
			return i, "a byte order mark in the middle of the file"
		}
		i += size
	}
	return -1, ""
}

// offset is the place of a byte of the file.
func (s *source) offset(data []byte, i int) Pos {
	before := breaks.Replace(strings.ToValidUTF8(string(data[:i]), "\uFFFD"))
	line := 1 + strings.Count(before, "\n")
	return s.at(line, 1+utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]))
}

// tabbed finds the first line that is indented with a tab.
func tabbed(lines []string) (line, col int) {
	for i, l := range lines {
		indent := l[:len(l)-len(strings.TrimLeft(l, " \t"))]
		if t := strings.IndexByte(indent, '\t'); t >= 0 && len(indent) < len(l) {
			return i + 1, t + 1
		}
	}
	return 0, 0
}

// withoutBOM is data without the byte order mark that some editors write.
func withoutBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) }

// earlier is the one of two places that stands first.
func earlier(a, b Pos) Pos {
	if cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col)) <= 0 {
		return a
	}
	return b
}
