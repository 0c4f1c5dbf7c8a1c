// Package diag carries what an error is to tell a person besides what went
// wrong: how to mend it (Hint), where in a file it stands (Problem), and with
// which exit code the program is to end (Code). Each is a small wrapper that
// errors.Is and errors.As look through.
//
// It decides nothing: it holds no texts of its own, it does not print by itself,
// and it never ends the program. That is cmd/dapple's business.
package diag

import (
	"cmp"
	"errors"
	"slices"
)

type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// Hint returns err with a sentence that says how to mend it. The text of err
// stays as it is; Hints finds the sentence again. Hint(nil, …) is nil.
func Hint(err error, hint string) error {
	if err == nil || hint == "" {
		return err
	}
	return &hinted{err, hint}
}

// Hints lists the hints of err and of all that it wraps, outermost first, each
// once. The hints of a Problem are not among them: they stand beside their
// problem.
func Hints(err error) []string {
	var found []string
	walk(err, func(e error) {
		if h, ok := e.(*hinted); ok && !slices.Contains(found, h.hint) {
			found = append(found, h.hint)
		}
	})
	return found
}

type coded struct {
	err  error
	code int
}

func (c *coded) Error() string { return c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

// Code returns err with the exit code that the program is to end with because
// of it. Code(nil, …) is nil.
func Code(err error, code int) error {
	if err == nil {
		return nil
	}
	return &coded{err, code}
}

// CodeOf is the exit code of err. Where an error wraps another, the outer code
// counts, since whoever wrapped it knew more; where errors are joined, the
// gravest counts, by Graver. ok is false if no code was given.
func CodeOf(err error) (code int, ok bool) {
	if err == nil {
		return 0, false
	}
	if c, is := err.(*coded); is {
		return c.code, true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return CodeOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, branch := range e.Unwrap() {
			c, has := CodeOf(branch)
			if has && (!ok || Graver(c, code) < 0) {
				code, ok = c, true
			}
		}
	}
	return code, ok
}

// Graver compares two exit codes by the order in which they win (the contract
// of the commands: 6, 2, 3, 1, 4, 5, 0): negative if a wins over b. A code that
// is not in that order loses against all that are.
func Graver(a, b int) int {
	const order = "6231450"
	rank := func(code int) int {
		for i, c := range order {
			if int(c-'0') == code {
				return i
			}
		}
		return len(order)
	}
	return cmp.Compare(rank(a), rank(b))
}

// walk visits err and everything that it wraps, outermost first.
func walk(err error, visit func(error)) {
	if err == nil {
		return
	}
	visit(err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		walk(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, branch := range e.Unwrap() {
			walk(branch, visit)
		}
	}
}

// ProblemsOf gathers the positioned problems of err and of all that it wraps,
// sorted and without repetitions. It is empty if err has none.
func ProblemsOf(err error) Problems {
	var found Problems
	walk(err, func(e error) {
		switch e := e.(type) {
		case Problem:
			found = append(found, e)
		case Problems:
			found = append(found, e...)
		}
	})
	return found.sorted()
}

// Append adds the problems of err to those of list, for a caller that reads
// several files and wants to tell all of it at once. An error without problems
// is kept beside them.
func Append(list, err error) error {
	a, b := ProblemsOf(list), ProblemsOf(err)
	switch {
	case list == nil:
		return err
	case err == nil:
		return list
	case len(a) == 0 || len(b) == 0:
		return errors.Join(list, err)
	}
	return append(a, b...).sorted()
}

// A Field is what is wrong with one value of a section of a file, told by who
// knows what the section means, and not where it stands.
type Field struct {
	Path   string // within the section: "write.refused[1]"
	Msg    string
	Hint   string
	Secret bool // the value must not be shown
}

// Error is the path and what is wrong there.
func (f *Field) Error() string { return f.Path + ": " + f.Msg }

// FieldsOf gathers the fields of err and of all that it wraps.
func FieldsOf(err error) (found []*Field) {
	walk(err, func(e error) {
		if f, ok := e.(*Field); ok {
			found = append(found, f)
		}
	})
	return found
}
