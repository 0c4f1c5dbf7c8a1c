package diag

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Problem is one thing that is wrong with a file, at one place in it.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"` // from 1; 0: the place is not known
	Col  int    `json:"col"`  // from 1, in characters
	Rule string `json:"rule,omitempty"`
	Msg  string `json:"message"`
	Hint string `json:"hint,omitempty"`
	// Text is the line of the file as it may be shown; "" if there is none, or
	// if it must not be shown because it holds a secret.
	Text string `json:"-"`
	// Caret is the column in Text under which the caret stands; 0 means Col. The
	// two differ where something was cut out of Text.
	Caret int `json:"-"`
}

// Error is the problem in one line: "file:line:col: message".
func (p Problem) Error() string {
	switch {
	case p.File == "" && p.Line == 0:
		return p.Msg
	case p.Line == 0:
		return fmt.Sprintf("%s: %s", p.File, p.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Col, p.Msg)
}

// Problems are several problems at once.
type Problems []Problem

// Error is one line per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err is nil if there is no problem, and otherwise the problems in the order in
// which they stand in the files, each once.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps.sorted()
}

func (ps Problems) sorted() Problems {
	s := slices.Clone(ps)
	slices.SortStableFunc(s, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return slices.Compact(s)
}

// Write prints err for a person: each Problem with its excerpt and its hint, or
// the text of err where it has none, then the other hints. It ends with a line
// break, and writes nothing for nil.
func Write(w io.Writer, err error) error {
	if err == nil {
		return nil
	}
	var b strings.Builder
	problems := ProblemsOf(err)
	for _, p := range problems {
		p.write(&b)
	}
	if len(problems) == 0 {
		fmt.Fprintln(&b, err)
	} else if rest := withoutProblems(err); rest != "" {
		fmt.Fprintln(&b, rest)
	}
	for _, h := range Hints(err) {
		fmt.Fprintf(&b, "  hint: %s\n", h)
	}
	_, werr := io.WriteString(w, b.String())
	return werr
}

// withoutProblems is the text of the branches of a joined error that are no
// problems: they must not get lost beside the others.
func withoutProblems(err error) string {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return ""
	}
	var lines []string
	for _, e := range joined.Unwrap() {
		if e != nil && len(ProblemsOf(e)) == 0 {
			lines = append(lines, e.Error())
		}
	}
	return strings.Join(lines, "\n")
}

// width is how much of a line an excerpt shows.
const width = 100

func (p Problem) write(b *strings.Builder) {
	fmt.Fprintln(b, p.Error())
	if p.Text != "" {
		text, col := excerpt(p.Text, cmp.Or(p.Caret, p.Col))
		number := fmt.Sprintf("%5d", p.Line)
		fmt.Fprintf(b, "%s | %s\n", number, text)
		fmt.Fprintf(b, "%s | %s^\n", strings.Repeat(" ", len(number)), indent(text, col))
	}
	if p.Hint != "" {
		fmt.Fprintf(b, "  hint: %s\n", p.Hint)
	}
}

// excerpt cuts a long line to the part around col, and makes what a terminal
// would act upon harmless. It returns the part and the column in it.
func excerpt(line string, col int) (string, int) {
	runes := []rune(strings.ToValidUTF8(line, "\uFFFD"))
	for i, r := range runes {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			runes[i] = utf8.RuneError
		}
	}
	col = min(max(col, 1), len(runes)+1)
	if len(runes) <= width {
		return string(runes), col
	}
	from := min(max(0, col-1-width/2), len(runes)-width)
	part, shift := string(runes[from:from+width]), from
	if from > 0 {
		part, shift = "…"+part, from-1
	}
	if from+width < len(runes) {
		part += "…"
	}
	return part, col - shift
}

// indent is the blank before the caret: tabs stay tabs, so that it stands below
// its character whatever the width of a tab is.
func indent(text string, col int) string {
	var b strings.Builder
	n := 1
	for _, r := range text {
		if n >= col {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		n++
	}
	return b.String()
}
