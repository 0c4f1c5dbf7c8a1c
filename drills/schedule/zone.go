package schedule

import (
	"fmt"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
)

// zones are read once: a thousand schedules are in three of them.
var zones sync.Map // name → *time.Location

// zone finds a time zone. The machine's own is refused: the file would mean
// another time elsewhere.
func zone(name string) (*time.Location, error) {
	if z, ok := zones.Load(name); ok {
		return z.(*time.Location), nil
	}
	const hint = "write a name of the tz database, such as Europe/Berlin or UTC"
	if name == "" || name == "Local" {
		return nil, &diag.Field{Path: "time_zone", Msg: fmt.Sprintf("%q is another one on every machine", name), Hint: hint}
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return nil, &diag.Field{Path: "time_zone", Msg: fmt.Sprintf("there is no time zone %q", name), Hint: hint}
	}
	zones.Store(name, z)
	return z, nil
}

// wallOf is what a clock of the zone shows at t, written as a time of UTC.
func wallOf(t time.Time, z *time.Location) time.Time {
	l := t.In(z)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), time.UTC)
}

// instant is when a clock of the zone shows wall: the first time if it does so
// twice, and if it never does, because the clocks go forward over it, the moment
// at which they do.
func instant(wall time.Time, z *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), z)
	begin, end := t.ZoneBounds()
	switch shown := wallOf(t, z); {
	case shown.After(wall): // reckoned with the offset before the change
		return begin
	case shown.Before(wall): // reckoned with the one after it
		return end
	}
	if begin.IsZero() {
		return t
	}
	_, now := t.Zone()
	_, before := begin.Add(-time.Nanosecond).Zone()
	earlier := t.Add(time.Duration(now-before) * time.Second)
	if earlier.Before(begin) && wallOf(earlier, z).Equal(wall) {
		return earlier
	}
	return t
}
