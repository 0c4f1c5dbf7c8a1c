package scenarios

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Duration is written with its unit: 200ms, 1.5s, 2m, 1m30s, 1d.
type Duration time.Duration

// D is d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String writes d in the largest unit that divides it: 2m, 90s, 1500ms.
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	for _, u := range durationUnits {
		if u.name != "w" && u.name != "us" && int64(d)%u.ns == 0 {
			return strconv.FormatInt(int64(d)/u.ns, 10) + u.name
		}
	}
	return time.Duration(d).String()
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what may stand in a file.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := parseDuration(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// ParseDuration reads what may stand in a file.
func ParseDuration(text string) (Duration, error) {
	var d Duration
	return d, d.UnmarshalText([]byte(text))
}

type unit struct {
	name string
	ns   int64
}

// durationUnits are the units of time, longest first. A day has 24 hours and a
// week 7 days: these are spans, not dates.
var durationUnits = [...]unit{
	{"w", 7 * 24 * int64(time.Hour)}, {"d", 24 * int64(time.Hour)}, {"h", int64(time.Hour)}, {"m", int64(time.Minute)},
	{"s", int64(time.Second)}, {"ms", int64(time.Millisecond)}, {"us", int64(time.Microsecond)}, {"ns", 1},
}

const durationHint = "units are ms, s, m, h, d and w; write it as 200ms, 1.5s or 2m"

var (
	number       = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	durationPart = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([^0-9.]*)`)
)

func parseDuration(text string) (Duration, error) {
	if strings.HasPrefix(text, "-") {
		return 0, slipf(ruleNegative, "leave the sign out", "%q is negative", text)
	}
	if number.MatchString(text) {
		return 0, slipf(ruleUnitMissing, fmt.Sprintf("write %ss for seconds, %sms for milliseconds or %sm for minutes", text, text, text), "the unit is missing in %q", text)
	}
	var sum float64
	rest := text
	for rest != "" {
		part := durationPart.FindStringSubmatch(rest)
		if part == nil {
			return 0, slipf(ruleWrongType, durationHint, "%q is no duration", text)
		}
		ns, err := durationUnit(part[2], text)
		if err != nil {
			return 0, err
		}
		value, _ := strconv.ParseFloat(part[1], 64) // the expression lets nothing else through
		sum += value * float64(ns)
		rest = rest[len(part[0]):]
	}
	if text == "" {
		return 0, slipf(ruleWrongType, durationHint, "%q is no duration", text)
	}
	if sum >= math.MaxInt64 {
		return 0, slipf(ruleTooLarge, "the longest is 292 years", "%q is too long", text)
	}
	return Duration(math.Round(sum)), nil
}

func durationUnit(name, text string) (int64, error) {
	for _, u := range durationUnits {
		if u.name == name || name == "µs" && u.name == "us" {
			return u.ns, nil
		}
	}
	if name == "" {
		return 0, slipf(ruleUnitMissing, "every part needs its unit: 1m30s", "the unit is missing at the end of %q", text)
	}
	hint := durationHint
	meant := strings.TrimSpace(strings.ToLower(name))
	for prefix, u := range map[string]string{"mil": "ms", "sec": "s", "min": "m", "ho": "h", "da": "d", "we": "w", "mic": "us"} {
		if strings.HasPrefix(meant, prefix) {
			hint = fmt.Sprintf("write %s for %s: %s", u, meant, strings.TrimSpace(strings.TrimSuffix(text, name))+u)
		}
	}
	for _, u := range durationUnits {
		if meant == u.name {
			hint = fmt.Sprintf("write it without a space and in small letters: %s", strings.ReplaceAll(strings.ToLower(text), " ", ""))
		}
	}
	return 0, slipf(ruleUnit, hint, "%q is no unit of time, in %q", name, text)
}
