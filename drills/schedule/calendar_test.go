package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/scenarios"
)

func calendar(t testing.TB, cron, zone string, change func(*scenarios.Schedule)) *Calendar {
	t.Helper()
	s := &scenarios.Schedule{Cron: cron, TimeZone: zone}
	if change != nil {
		change(s)
	}
	c, err := NewCalendar(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// firings are the next n after t, as "key at instant".
func firings(c *Calendar, t time.Time, n int) (got []string) {
	for range n {
		f, ok := c.Next(t)
		if !ok {
			return append(got, "never")
		}
		got = append(got, f.Local+" at "+f.At.UTC().Format("15:04Z"))
		t = f.At
	}
	return got
}

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04Z", text)
	if err != nil {
		panic(err)
	}
	return t
}

// The clocks of Berlin go from 02:00 to 03:00 on 2026-03-29 at 01:00 UTC, and from
// 03:00 to 02:00 on 2026-10-25 at 01:00 UTC.
func TestATimeThatTheClocksSkipFiresWhenTheyHave(t *testing.T) {
	c := calendar(t, "30 2 * * *", "Europe/Berlin", nil)
	want := []string{"2026-03-28T02:30 at 01:30Z", "2026-03-29T02:30 at 01:00Z", "2026-03-30T02:30 at 00:30Z"}
	if d := cmp.Diff(want, firings(c, at("2026-03-27 12:00Z"), 3)); d != "" {
		t.Error(d)
	}
}

func TestATimeThatIsThereTwiceFiresOnceAndTheFirstTime(t *testing.T) {
	c := calendar(t, "30 2 * * *", "Europe/Berlin", nil)
	want := []string{"2026-10-25T02:30 at 00:30Z", "2026-10-26T02:30 at 01:30Z"}
	if d := cmp.Diff(want, firings(c, at("2026-10-24 12:00Z"), 2)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want[1:], firings(c, at("2026-10-25 01:10Z"), 1)); d != "" {
		t.Errorf("asked in the second of the two hours: %s", d)
	}
}

func TestOfManyTimesThatTheClocksSkipOneFires(t *testing.T) {
	c := calendar(t, "*/15 * * * *", "Europe/Berlin", nil)
	want := []string{"2026-03-29T01:45 at 00:45Z", "2026-03-29T03:00 at 01:00Z", "2026-03-29T03:15 at 01:15Z"}
	if d := cmp.Diff(want, firings(c, at("2026-03-29 00:30Z"), 3)); d != "" {
		t.Error(d)
	}
}

func TestADayThatIsSkippedFiresAtItsEnd(t *testing.T) {
	c := calendar(t, "0 12 30 12 *", "Pacific/Apia", nil) // which had no 2011-12-30
	got := firings(c, at("2011-12-01 00:00Z"), 1)
	if d := cmp.Diff([]string{"2011-12-30T12:00 at 10:00Z"}, got); d != "" {
		t.Error(d)
	}
}

// Whatever the expression and the zone: firings are in order, never two at one
// instant, no key twice, and each wall-clock time of the expression has at most
// one.
func TestEveryFiringHasItsOwnKeyAndItsOwnInstant(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"} {
		for _, cron := range []string{"* * * * *", "*/7 * * * *", "30 1-3 * * *", "0 0 * * *", "15 2 * * sun", "@hourly", "@quarterly"} {
			c := calendar(t, cron, zone, nil)
			for _, begin := range []string{"2026-03-08 05:00Z", "2026-03-28 23:00Z", "2026-04-04 13:00Z", "2026-10-03 13:00Z", "2026-10-24 23:00Z", "2026-11-01 04:00Z"} {
				keys := map[string]bool{}
				last := at(begin)
				for range 250 {
					f, ok := c.Next(last)
					if !ok || !f.At.After(last) || keys[f.Local] {
						t.Fatalf("%s in %s: %+v (%v) after %v", cron, zone, f, ok, last)
					}
					keys[f.Local], last = true, f.At
				}
			}
		}
	}
}

// The parser alone would skip and double; asked for the days between, ours and it
// agree.
func TestOnDaysWithoutAChangeOfTheClocksTheParserIsRight(t *testing.T) {
	x, err := parse("17 4,16 * * mon-fri")
	if err != nil {
		t.Fatal(err)
	}
	c := calendar(t, "17 4,16 * * mon-fri", "Europe/Berlin", nil)
	z, _ := zone("Europe/Berlin")
	ours, theirs := at("2026-05-01 00:00Z"), at("2026-05-01 00:00Z").In(z)
	for range 100 {
		f, ok := c.Next(ours)
		theirs = x.cron.Next(theirs)
		if !ok || !f.At.Equal(theirs) {
			t.Fatalf("%v, and the parser says %v", f.At, theirs)
		}
		ours = f.At
	}
}

func TestWindowsQuietHoursAndHolidaysSayWhyNothingBegins(t *testing.T) {
	c := calendar(t, "0 * * * *", "Europe/Berlin", func(s *scenarios.Schedule) {
		s.Windows = []scenarios.Window{window("mon-thu 22:00-05:00")}
		s.Quiet = []scenarios.Window{window("23:00-24:00")}
		s.Holidays = []scenarios.Dates{{From: "2026-12-24", To: "2026-12-26"}}
	})
	for local, want := range map[string]string{
		"2026-11-23 22:00": "", // a Monday
		"2026-11-23 21:00": "outside of all windows",
		"2026-11-23 23:00": "quiet hours: 23:00-24:00",
		"2026-11-24 04:59": "",
		"2026-11-24 05:00": "outside of all windows",
		"2026-11-27 04:00": "", // Friday, in Thursday's window
		"2026-11-28 04:00": "outside of all windows",
		"2026-12-24 22:30": "a holiday: 2026-12-24..2026-12-26",
	} {
		z, _ := zone("Europe/Berlin")
		when, err := time.ParseInLocation("2006-01-02 15:04", local, z)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Held(when); got != want {
			t.Errorf("%s: %q, want %q", local, got, want)
		}
	}
}

func window(text string) (w scenarios.Window) {
	if err := w.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return w
}

func TestWhatNeverFiresIsRefused(t *testing.T) {
	for _, c := range []struct{ cron, zone, window, want string }{
		{"0 2 30 2 *", "UTC", "", "never fires"},
		{"TZ=UTC", "UTC", "", "does not stand in the expression"},
		{"CRON_TZ=Europe/Berlin", "UTC", "", "does not stand in the expression"},
		{"@every 5m", "UTC", "", "counts from the start"},
		{"61 * * * *", "UTC", "", "cannot be read"},
		{"* * * *", "UTC", "", "cannot be read"},
		{"0 3 * * *", "Mars/Olympus", "", "no time zone"},
		{"0 3 * * *", "Local", "", "another one on every machine"},
		{"0 3 * * *", "UTC", "04:00-05:00", "never fires when a drill may begin"},
	} {
		s := &scenarios.Schedule{Cron: c.cron, TimeZone: c.zone}
		if c.window != "" {
			s.Windows = []scenarios.Window{window(c.window)}
		}
		if err := Check(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q in %q: %v, want %q", c.cron, c.zone, err, c.want)
		}
	}
	s := &scenarios.Schedule{Cron: "@quarterly", TimeZone: "UTC", Holidays: []scenarios.Dates{{From: "2026-01-01", To: "2026-01-01"}}}
	if err := Check(s); err != nil {
		t.Errorf("only some of its firings are held: %v", err)
	}
}

// FuzzExpression holds for any text: reading never panics, and what is read fires.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"* * * * *", "@quarterly", "TZ=UTC", "CRON_TZ=", "0 2 30 2 *", "1-5/2,7 */3 1,2 jan-mar sun", "@every 1s", "? ? ? ? ?"} {
		f.Add(s)
	}
	z, err := zone("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x, err := parse(text)
		if err != nil {
			return
		}
		c := &Calendar{cron: x, zone: z}
		last := dawn
		for range 50 {
			next, ok := c.Next(last)
			if !ok {
				return // the parser does not look further than five years
			}
			if !next.At.After(last) {
				t.Fatalf("%q: %v is not after %v", text, next.At, last)
			}
			last = next.At
		}
		if last.Equal(dawn) {
			t.Errorf("%q was accepted and never fires", text)
		}
	})
}

func ExampleCalendar_Next() {
	s := &scenarios.Schedule{Cron: "30 2 * * tue", TimeZone: "Europe/Berlin"}
	c, _ := NewCalendar(s)
	f, _ := c.Next(at("2026-11-26 00:00Z"))
	fmt.Println(f.Local, f.At.UTC().Format(time.RFC3339))
	// Output: 2026-12-01T02:30 2026-12-01T01:30:00Z
}
