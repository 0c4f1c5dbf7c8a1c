package scenarios

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Schedule says when a drill is done by itself: which scenario, on which system,
// at which times, and when not. Its times are those of a wall clock in one time
// zone; what an expression means is package drills/schedule's business.
type Schedule struct {
	// What the schedule is called: unique among those of one scheduler.
	Name string `yaml:"name" jsonschema:"minLength=1"`
	// Why the drill is worth doing that often.
	Why string `yaml:"why,omitempty"`
	// Who answers for the drill, and is told: a person, a team, an address.
	Owner string `yaml:"owner" jsonschema:"minLength=1"`
	// The scenario: a file, seen from this one, or a name of the library.
	Scenario string `yaml:"scenario" jsonschema:"minLength=1"`
	// The system: a system file, seen from this one, or cluster:NAME.
	On string `yaml:"on" jsonschema:"minLength=1"`
	// The environment that the system must say it is in; production must be named.
	Environment Environment `yaml:"environment,omitempty"`
	// When: minute, hour, day of month, month, day of week ("30 2 * * tue"), or
	// @hourly, @daily, @weekly, @monthly, @quarterly, @yearly.
	Cron string `yaml:"cron" jsonschema:"minLength=1"`
	// The time zone of all times here, by its name: Europe/Berlin, UTC.
	TimeZone string `yaml:"time_zone" jsonschema:"minLength=1"`
	// The only times at which a drill may begin: "mon-fri 22:00-05:00". Default:
	// any.
	Windows []Window `yaml:"windows,omitempty" jsonschema:"minItems=1"`
	// Times at which none may begin, even within a window: "fri 12:00-24:00".
	Quiet []Window `yaml:"quiet,omitempty" jsonschema:"minItems=1"`
	// Days on which none may begin: "2026-12-24", "2026-12-20..2027-01-06".
	Holidays []Dates `yaml:"holidays,omitempty" jsonschema:"minItems=1"`
	// Of the firings that were missed while no scheduler ran, the last one is made
	// up for if it is not older than this. Default: none is.
	CatchUp Duration `yaml:"catch_up,omitempty"`
	// How many trials. Default: the scenario's.
	Trials int `yaml:"trials,omitempty" jsonschema:"minimum=1"`

	src *source // where it was read; nil if it was made in Go
}

// A Window is a stretch of the day on some days of the week. One that ends before
// it begins goes on past midnight: it belongs to the day on which it began.
type Window struct {
	Days     [7]bool // by time.Weekday
	From, To int     // minutes of the day, To up to 24 h and not in the window
}

// weekdays are the names in the order of time.Weekday.
var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

const windowHint = `write it as "mon-fri 22:00-05:00", "sat,sun 00:00-24:00", or "01:00-05:00" for every day`

// UnmarshalText reads what may stand in a file.
func (w *Window) UnmarshalText(data []byte) error {
	days, hours, split := strings.Cut(string(data), " ")
	if !split {
		days, hours = "sun-sat", string(data)
	}
	var got Window
	if err := got.days(days); err != nil {
		return err
	}
	from, to, split := strings.Cut(hours, "-")
	var ok1, ok2 bool
	got.From, ok1 = minuteOf(from)
	got.To, ok2 = minuteOf(to)
	switch {
	case !split || !ok1 || !ok2 || got.From == 24*60:
		return slipf(ruleWindowOf, windowHint, "%q is no stretch of the day", hours)
	case got.From == got.To:
		return slipf(ruleWindowOf, "write 00:00-24:00 for the whole day", "%q begins when it ends", hours)
	}
	*w = got
	return nil
}

// days reads mon-fri, or sat,sun.
func (w *Window) days(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, b := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if a < 0 || b < 0 {
			return slipf(ruleWindowOf, windowHint, "%q are no days of the week", part)
		}
		for d := a; ; d = (d + 1) % 7 {
			w.Days[d] = true
			if d == b {
				break
			}
		}
	}
	return nil
}

var clock = regexp.MustCompile(`^([01][0-9]|2[0-4]):([0-5][0-9])$`)

// minuteOf reads hh:mm; 24:00 is the end of the day.
func minuteOf(text string) (int, bool) {
	m := clock.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	h, _ := strconv.Atoi(m[1]) // the expression lets nothing else through
	min, _ := strconv.Atoi(m[2])
	return h*60 + min, h*60+min <= 24*60
}

// String is the window as it may stand in a file.
func (w Window) String() string {
	hours := fmt.Sprintf("%02d:%02d-%02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60)
	var days []string
	for d, on := range w.Days {
		if on {
			days = append(days, weekdays[d])
		}
	}
	if len(days) == 7 {
		return hours
	}
	return strings.Join(days, ",") + " " + hours
}

// MarshalText is String.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// Holds says whether t, by its own wall clock, is within the window.
func (w Window) Holds(t time.Time) bool {
	minute, day := t.Hour()*60+t.Minute(), int(t.Weekday())
	if w.From < w.To {
		return w.Days[day] && minute >= w.From && minute < w.To
	}
	return w.Days[day] && minute >= w.From || w.Days[(day+6)%7] && minute < w.To
}

// Dates are one day, or all days from one to another.
type Dates struct {
	From, To string // YYYY-MM-DD, which sorts as text; To is among them
}

// UnmarshalText reads 2026-12-24, or 2026-12-20..2027-01-06.
func (d *Dates) UnmarshalText(data []byte) error {
	from, to, isRange := strings.Cut(string(data), "..")
	if !isRange {
		to = from
	}
	for _, day := range []string{from, to} {
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			return slipf(ruleDates, `write it as 2026-12-24, or 2026-12-20..2027-01-06`, "%q is no day of the calendar", day)
		}
	}
	if to < from {
		return slipf(ruleDates, "write the earlier day first", "%s ends before it begins", data)
	}
	*d = Dates{from, to}
	return nil
}

// String is the dates as they may stand in a file.
func (d Dates) String() string {
	if d.From == d.To {
		return d.From
	}
	return d.From + ".." + d.To
}

// MarshalText is String.
func (d Dates) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Hold says whether t, by its own wall clock, is on one of the days.
func (d Dates) Hold(t time.Time) bool {
	day := t.Format(time.DateOnly)
	return d.From <= day && day <= d.To
}

// ParseSchedule reads a schedule file, as ParseScenario reads a scenario.
func ParseSchedule(file string, data []byte, v *Vocabulary) (*Schedule, error) {
	s := &Schedule{src: newSource(file, withoutBOM(data))}
	r := &reader{src: s.src}
	if r.fill(data, s) {
		c := scheduleChecker{r, s, v}
		c.schedule()
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return s, nil
}

// LoadSchedule reads the schedule file at path.
func LoadSchedule(path string, v *Vocabulary) (*Schedule, error) {
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read the schedule: %w", err)
	}
	return ParseSchedule(path, data, v)
}

// WithoutSource is a copy that does not hold the text of its file: for who keeps many
// of them for long.
func (s *Schedule) WithoutSource() *Schedule {
	c := *s
	c.src = nil
	return &c
}

// Format writes the schedule as a file that reads back as the same.
func (s *Schedule) Format() ([]byte, error) { return format(s) }

// Validate is the problems of a schedule that was made in Go, as for a scenario.
func (s *Schedule) Validate(v *Vocabulary) error {
	data, err := s.Format()
	if err != nil {
		return err
	}
	_, err = ParseSchedule(made(s.src, "schedule"), data, v)
	return err
}
