package reports

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// The record's times are milliseconds. A reader gets them in the unit and with
// the digits that their uncertainty deserves; rounding only ever widens.

const (
	minus = "\u2212" // a true minus sign: as wide as a digit, never broken at
	nbsp  = "\u00a0"
)

// unit picks milliseconds below one second and seconds from there on. Minutes
// are not used: figures that are compared must have one unit.
func unit(values ...float64) (div float64, name string) {
	for _, v := range values {
		if math.Abs(v) >= 1000 {
			return 1000, "s"
		}
	}
	return 1, "ms"
}

// digits is how many decimals a figure with that half width needs, so that the
// half width keeps one significant digit: not more, or the last ones are noise.
func digits(half float64, name string) int {
	most := 1 // of a millisecond: nothing here is measured finer
	if name == "s" {
		most = 3
	}
	if half <= 0 {
		return most
	}
	return min(most, max(0, int(math.Ceil(-math.Log10(half)-1e-9))))
}

// plusMinus writes [lo, hi] ms as "21.34 s ± 0.02 s". Both printed ends lie
// outside the interval, or on it.
func plusMinus(lo, hi float64) string {
	div, name := unit(lo, hi)
	lo, hi = lo/div, hi/div
	d := digits((hi-lo)/2, name)
	mid := round((lo+hi)/2, d, math.Round)
	half := round(max(hi-mid, mid-lo)-1e-9, d, math.Ceil)
	if half <= 0 {
		return number(mid, d) + nbsp + name
	}
	return number(mid, d) + nbsp + name + " ± " + number(half, d) + nbsp + name
}

// within writes [lo, hi] ms as "21.32 – 21.36 s", rounded outwards.
func within(lo, hi float64) string {
	div, name := unit(lo, hi)
	d := digits((hi-lo)/2/div, name)
	a := round(lo/div+1e-9, d, math.Floor)
	b := round(hi/div-1e-9, d, math.Ceil)
	if a >= b {
		return number(b, d) + nbsp + name
	}
	dash := " – "
	if a < 0 {
		dash = " to " // a dash beside a minus sign misleads
	}
	return number(a, d) + dash + number(b, d) + nbsp + name
}

// about writes the middle of [lo, hi] ms with the digits that its width deserves:
// for labels whose hover holds the error bar.
func about(lo, hi float64) string {
	div, name := unit(lo, hi)
	return number((lo+hi)/2/div, min(2, digits((hi-lo)/2/div, name))) + nbsp + name
}

// between writes a range that was computed, not measured: it is not rounded
// outwards.
func between(lo, hi float64) string {
	a, b := duration(lo), duration(hi)
	if v, u, ok := strings.Cut(a, nbsp); ok && (strings.HasSuffix(b, nbsp+u) || v == "0") {
		a = v
	}
	return a + " – " + b
}

// atLeast writes a duration of which only the lower bound is proven.
func atLeast(lo float64) string {
	div, name := unit(lo)
	d := 2
	if name == "ms" {
		d = 0
	}
	return "≥ " + number(round(lo/div+1e-9, d, math.Floor), d) + nbsp + name
}

// exact writes [lo, hi] ms to the microsecond, for hovers and for machines.
func exact(lo, hi float64) string {
	return "[" + fix(lo, 3) + ", " + fix(hi, 3) + "] ms"
}

// duration writes a declared or derived length without an error of its own.
func duration(ms float64) string {
	div, name := unit(ms)
	v := ms / div
	d := 0
	switch a := math.Abs(v); {
	case a == math.Trunc(a):
	case a < 10:
		d = 2
	case a < 100:
		d = 1
	case name == "s":
		d = 1
	}
	s := number(v, d)
	if d > 0 {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s + nbsp + name
}

// clock writes an instant of the trial in seconds, with d decimals.
func clock(t time.Duration, d int) string { return number(t.Seconds(), d) + nbsp + "s" }

// at writes an instant of the trial that is known within an interval.
func at(i timeline.Interval) string {
	if i.Width() >= 10*time.Second {
		return within(timeline.MS(i.Lo), timeline.MS(i.Hi))
	}
	d := digits(i.Width().Seconds()/2, "s")
	mid := (i.Lo + i.Hi) / 2
	if i.Width() < time.Millisecond {
		return clock(mid, 3)
	}
	half := round(i.Width().Seconds()/2, d, math.Ceil)
	return number(mid.Seconds(), d) + nbsp + "s ± " + number(half, d)
}

func round(v float64, digits int, f func(float64) float64) float64 {
	p := math.Pow(10, float64(digits))
	return f(v*p) / p
}

func number(v float64, digits int) string {
	s := strconv.FormatFloat(math.Abs(v), 'f', digits, 64)
	if v < 0 && strings.Trim(s, "0.") != "" {
		return minus + s
	}
	return s
}

func fix(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

// count writes a whole number with thousands apart.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = minus, s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// plural writes "1 trial", "3 trials".
func plural(n int64, noun string) string {
	if n == 1 {
		return "1" + nbsp + noun
	}
	return count(n) + nbsp + noun + "s"
}

// percent writes a share in whole percent.
func percent(share float64) string { return strconv.Itoa(int(math.Round(share*100))) + nbsp + "%" }
