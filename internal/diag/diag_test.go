package diag_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/internal/diag"
)

func TestHintLeavesTheErrorAsItIsAndIsFoundAgainFromOutside(t *testing.T) {
	base := fs.ErrNotExist
	err := diag.Hint(fmt.Errorf("open x: %w", diag.Hint(base, "make it")), "or name another")
	err = fmt.Errorf("load: %w", errors.Join(err, diag.Hint(errors.New("b"), "make it")))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the wrapped error is not found any more")
	}
	if got, want := err.Error(), "load: open x: file does not exist\nb"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	if d := cmp.Diff([]string{"or name another", "make it"}, diag.Hints(err)); d != "" {
		t.Error(d)
	}
	if diag.Hint(nil, "x") != nil || diag.Code(nil, 3) != nil {
		t.Error("no error became one")
	}
}

func TestTheOuterExitCodeCountsAndOfJoinedErrorsTheGravest(t *testing.T) {
	e := errors.New("e")
	for _, c := range []struct {
		err  error
		want int
		ok   bool
	}{
		{nil, 0, false},
		{e, 0, false},
		{fmt.Errorf("x: %w", diag.Code(e, 3)), 3, true},
		{diag.Code(fmt.Errorf("x: %w", diag.Code(e, 3)), 2), 2, true},
		{errors.Join(e, diag.Code(e, 4), diag.Code(e, 6), diag.Code(e, 1)), 6, true},
		{errors.Join(diag.Code(e, 5), diag.Code(e, 0), diag.Code(e, 4)), 4, true},
		{errors.Join(diag.Code(e, 9), diag.Code(e, 5)), 5, true},
		{diag.Code(e, 0), 0, true},
	} {
		code, ok := diag.CodeOf(c.err)
		if code != c.want || ok != c.ok {
			t.Errorf("CodeOf(%v) = %d, %v; want %d, %v", c.err, code, ok, c.want, c.ok)
		}
	}
}

func TestProblemsArePrintedInTheOrderOfTheFileWithExcerptCaretAndHint(t *testing.T) {
	ps := diag.Problems{
		{File: "b.yaml", Line: 1, Col: 1, Msg: "second file"},
		{File: "a.yaml", Line: 12, Col: 4, Msg: `unknown key "ünd"`, Hint: `did you mean "und"?`, Text: "\té ünd: 1"},
		{File: "a.yaml", Line: 2, Col: 3, Msg: "first", Text: "  x"},
		{File: "a.yaml", Line: 2, Col: 3, Msg: "first", Text: "  x"},
	}
	want := `a.yaml:2:3: first
    2 |   x
      |   ^
a.yaml:12:4: unknown key "ünd"
   12 | 	é ünd: 1
      | 	  ^
  hint: did you mean "und"?
b.yaml:1:1: second file
other
  hint: do so
`
	var b strings.Builder
	if err := diag.Write(&b, errors.Join(ps.Err(), diag.Hint(errors.New("other"), "do so"))); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestALongLineIsCutAroundTheCaret(t *testing.T) {
	line := strings.Repeat("a", 300) + "X" + strings.Repeat("b", 300)
	var b strings.Builder
	if err := diag.Write(&b, diag.Problem{File: "f", Line: 1, Col: 301, Msg: "m", Text: line}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	shown, caret := []rune(lines[1]), []rune(lines[2])
	if len(shown) > 120 || caret[len(caret)-1] != '^' || shown[len(caret)-1] != 'X' {
		t.Errorf("caret not below X:\n%s", b.String())
	}
}

func TestWhatATerminalWouldActUponIsNotPrinted(t *testing.T) {
	var b strings.Builder
	if err := diag.Write(&b, diag.Problem{File: "f", Line: 1, Col: 1, Msg: "m", Text: "\x1b[2Jx\xff\u009b"}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\x1b", "\xff", "\u009b"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("%q holds %q", b.String(), bad)
		}
	}
}

func TestAnErrorWithoutProblemsIsPrintedWithItsHints(t *testing.T) {
	var b strings.Builder
	if err := diag.Write(&b, diag.Hint(errors.New("no node matches label app=pg"), "start one")); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "no node matches label app=pg\n  hint: start one\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Reset()
	if err := diag.Write(&b, nil); err != nil || b.Len() != 0 {
		t.Errorf("nil printed %q, %v", b.String(), err)
	}
}

func TestAppendKeepsEveryErrorOfBoth(t *testing.T) {
	p, q, plain := diag.Problem{File: "b", Line: 1, Col: 1, Msg: "p"}, diag.Problem{File: "a", Line: 1, Col: 1, Msg: "q"}, errors.New("plain")
	for _, c := range []struct {
		a, b error
		want string
	}{
		{nil, nil, "<nil>"},
		{p, nil, "b:1:1: p"},
		{nil, plain, "plain"},
		{p, q, "a:1:1: q\nb:1:1: p"},
		{p, plain, "b:1:1: p\nplain"},
	} {
		if got := fmt.Sprint(diag.Append(c.a, c.b)); got != c.want {
			t.Errorf("Append(%v, %v) = %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

func TestNearestFindsSlipsOfTheKeyboardAndNothingElse(t *testing.T) {
	known := []string{"steady", "steps", "settle", "stable_for", "objectives", "on", "at"}
	for word, want := range map[string]string{
		"stedy": "steady", "stepz": "steps", "stpes": "steps", "Stable-For": "stable_for",
		"objective": "objectives", "obj": "objectives", "ste": "", "settle-time": "settle", "ojbectives": "objectives", "in": "on", "whatever": "", "": "",
		"nn": "on", "xy": "", strings.Repeat("x", 5000): "",
	} {
		if got := diag.Nearest(word, known); got != want {
			t.Errorf("Nearest(%.20q) = %q, want %q", word, got, want)
		}
	}
}
