package scenarios

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
)

// A slip is a value that was not understood: which rule it breaks, what is wrong
// with it, and how to mend it. Whoever knows the place makes a problem of it.
type slip struct{ rule, msg, hint string }

func (s *slip) Error() string { return s.msg }

// slipf makes a slip; the message is formatted, the hint is taken as it is.
func slipf(rule, hint, msg string, args ...any) *slip {
	return &slip{rule, fmt.Sprintf(msg, args...), hint}
}

// A Rate is events per second, written with its unit: 200/s, 30/m.
type Rate float64

// String writes r per second.
func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s" }

// MarshalText is String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// maxRate bounds a rate: far above what one runner can send, and far below what
// its arithmetic can hold.
const maxRate = 1e7

// UnmarshalText reads what may stand in a file.
func (r *Rate) UnmarshalText(data []byte) error {
	text := string(data)
	const hint = "write it as 200/s, 30/m or 10/h"
	if strings.HasPrefix(text, "-") {
		return slipf(ruleNegative, hint, "%q is negative", text)
	}
	if number.MatchString(text) {
		return slipf(ruleUnitMissing, fmt.Sprintf("write %s/s", text), "the unit is missing in %q", text)
	}
	value, per, _ := strings.Cut(text, "/")
	if !number.MatchString(value) {
		return slipf(ruleWrongType, hint, "%q is no rate", text)
	}
	seconds, ok := map[string]float64{"s": 1, "m": 60, "h": 3600}[per]
	if !ok {
		return slipf(ruleUnit, hint, "%q is no unit of a rate, in %q", per, text)
	}
	f, _ := strconv.ParseFloat(value, 64) // the expression lets nothing else through
	if f/seconds > maxRate {
		return slipf(ruleTooLarge, "the highest is 10000000/s", "%q is too high", text)
	}
	*r = Rate(f / seconds)
	return nil
}

// Strings is one string, or a list of them.
type Strings []string

// MarshalText writes r as it may stand in a file.
func (r RPO) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String is "0 writes" or "5s"; "" if neither is set.
func (r RPO) String() string {
	switch {
	case r.Writes != nil:
		return fmt.Sprintf("%d writes", *r.Writes)
	case r.Age != nil:
		return Duration(*r.Age).String()
	}
	return ""
}

// UnmarshalText reads what may stand in a file.
func (r *RPO) UnmarshalText(data []byte) error {
	text := string(data)
	const hint = `write a number of writes ("0 writes") or the age of the oldest lost write ("5s")`
	if number.MatchString(text) {
		return slipf(ruleUnitMissing, fmt.Sprintf(`write "%s writes" or "%ss"`, text, text), "the unit is missing in %q", text)
	}
	if count, isCount := cutWrites(text); isCount {
		n, err := strconv.ParseInt(count, 10, 64)
		switch {
		case strings.HasPrefix(count, "-"):
			return slipf(ruleNegative, hint, "%q is negative", text)
		case err != nil && strings.Trim(count, "0123456789") == "" && count != "":
			return slipf(ruleTooLarge, hint, "%q is too many", text)
		case err != nil || strings.HasPrefix(count, "+"):
			return slipf(ruleWrongType, hint, "%q is no number of writes", text)
		}
		*r = RPO{Writes: &n}
		return nil
	}
	d, err := parseDuration(text)
	if err != nil {
		if s := err.(*slip); s.rule == ruleWrongType || s.rule == ruleUnit {
			return slipf(s.rule, hint, "%s", s.msg)
		}
		return err
	}
	age := d.D()
	*r = RPO{Age: &age}
	return nil
}

func cutWrites(text string) (count string, ok bool) {
	for _, word := range []string{" writes", " write"} {
		if count, ok = strings.CutSuffix(text, word); ok {
			return count, true
		}
	}
	return "", false
}

// zeroLoss says that no acknowledged write may be missing.
func (r RPO) zeroLoss() bool {
	return r.Writes != nil && *r.Writes == 0 || r.Age != nil && *r.Age == 0
}

// RPOWrites is the objective "at most n lost writes".
func RPOWrites(n int64) *RPO { return &RPO{Writes: &n} }

// RPOAge is the objective "no lost write is older than d".
func RPOAge(d time.Duration) *RPO { return &RPO{Age: &d} }

// MarshalText is "never".
func (n Never) MarshalText() ([]byte, error) { return []byte("never"), nil }

// UnmarshalText reads "never".
func (n *Never) UnmarshalText(data []byte) error {
	if string(data) != "never" {
		return slipf(ruleWord, "the only value is never; leave the key out if it is not promised", "%q is not never", data)
	}
	*n = true
	return nil
}

// String is "yes" or "no".
func (y YesNo) String() string {
	if y {
		return "yes"
	}
	return "no"
}

// MarshalText is String.
func (y YesNo) MarshalText() ([]byte, error) { return []byte(y.String()), nil }

// UnmarshalText reads yes or no, and YAML's own true and false.
func (y *YesNo) UnmarshalText(data []byte) error {
	switch string(data) {
	case "yes", "true":
		*y = true
	case "no", "false":
		*y = false
	default:
		return slipf(ruleWord, "write yes or no", "%q is neither yes nor no", data)
	}
	return nil
}

// UnmarshalText reads random, worst or best.
func (p *Phase) UnmarshalText(data []byte) error {
	return oneOf(p, data, Random, Worst, Best)
}

// UnmarshalText reads ci, staging or production.
func (e *Environment) UnmarshalText(data []byte) error {
	return oneOf(e, data, CI, Staging, Production)
}

// oneOf reads one of a few words.
func oneOf[S ~string](into *S, data []byte, words ...S) error {
	var names []string
	for _, w := range words {
		if string(w) == string(data) {
			*into = w
			return nil
		}
		names = append(names, string(w))
	}
	return slipf(ruleWord, meant(string(data), names), "%q is not one of %s", data, strings.Join(names, ", "))
}

// meant is the hint for a word that is not among the known ones.
func meant(word string, known []string) string {
	if near := diag.Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return ""
	}
	return "known are: " + strings.Join(known, ", ")
}

// whole reads a whole number of a file.
func whole(text string, bits int) (int64, error) {
	n, err := strconv.ParseInt(text, 10, bits)
	if err == nil {
		return n, nil
	}
	if f, ferr := strconv.ParseFloat(text, 64); ferr == nil && f == math.Trunc(f) && math.Abs(f) >= 1<<31 {
		return 0, slipf(ruleTooLarge, "write a smaller number", "%s is too large", text)
	}
	return 0, slipf(ruleWrongType, "write it in digits: 4", "want a whole number, found %q", text)
}

// A Pos is a place in a file; Line and Col count from 1.
type Pos struct {
	File      string
	Line, Col int
}

// String is "file:line:col", or what is known of it.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.File == "":
		return fmt.Sprintf("%d:%d", p.Line, p.Col)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}
