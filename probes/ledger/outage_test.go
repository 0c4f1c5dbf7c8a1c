package ledger

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// bounds are those of the one outage in a stream's events, as the measurement
// rules define them ("Metrics").
func bounds(t *testing.T, all timeline.Timeline, stream string) timeline.Interval {
	t.Helper()
	var lo, hi, firstBad, lastBad time.Duration
	bad := events(all, func(e timeline.Event) bool { return by(timeline.Write, stream)(e) && e.Value != "acked" })
	if len(bad) == 0 {
		return timeline.Interval{}
	}
	firstBad, lastBad = bad[0].At.Lo, bad[0].At.Lo
	for _, e := range bad {
		firstBad, lastBad = min(firstBad, e.At.Lo), max(lastBad, e.At.Lo)
	}
	lo, hi = -1, 1<<62
	for _, e := range events(all, func(e timeline.Event) bool { return by(timeline.Write, stream)(e) && e.Value == "acked" }) {
		if e.At.Lo < firstBad {
			lo = max(lo, e.At.Lo)
		}
		if e.At.Lo > lastBad {
			hi = min(hi, e.At.Hi)
		}
	}
	if lo < 0 || hi == 1<<62 {
		t.Fatalf("the outage of %s is open: %v", stream, lines(bad))
	}
	return timeline.Interval{Lo: lastBad - firstBad, Hi: hi - lo}
}

func TestAnOutageIsBoundedByPeriodsAndNeverByATimeout(t *testing.T) {
	for _, how := range []struct {
		name   string
		manner manner
		kill   bool
		// app is what an application loses on top: its own waits for a new
		// connection, which are part of its outage.
		app time.Duration
	}{
		{"sessions reset, connections refused", refusing, true, 500 * time.Millisecond},
		{"connections refused at the next write", refusing, false, 500 * time.Millisecond},
		{"sessions reset, connections hang", hanging, true, time.Second},
		{"everything hangs", hanging, false, time.Second},
		{"writes refused", readonly, false, 0},
	} {
		t.Run(how.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sys := newSystem()
				b := start(t, sys, Config{Rate: 200})
				pass(1003 * time.Millisecond)
				sys.set(how.manner, "")
				if how.kill {
					sys.kill("")
				}
				truth := 7777 * time.Millisecond
				pass(truth)
				sys.set(serving, "")
				pass(5 * time.Second)
				b.stop()
				all := b.rec.Timeline()
				width := func(stream string, period, more time.Duration) {
					u := bounds(t, all, stream)
					if u.Lo > truth+more || u.Hi < truth || u.Width() > 2*period+5*time.Millisecond || u.Hi > truth+more+2*period+5*time.Millisecond {
						t.Errorf("%s: outage %v (width %v), the truth is %v, or up to %v more for this client", stream, u, u.Width(), truth, more)
					}
				}
				// A fresh connection that hangs is answered when the hanging ends:
				// what was sent up to a deadline before was served after all.
				slack := time.Duration(0)
				if how.manner == hanging {
					slack = DefaultConnect
				}
				if u := bounds(t, all, "fresh"); u.Hi < truth || u.Hi > truth+50*time.Millisecond || u.Lo > truth || u.Width() > slack+50*time.Millisecond {
					t.Errorf("fresh: outage %v, the truth is %v", u, truth)
				}
				for i := range DefaultApps {
					width(fmt.Sprintf("app/%d", i), 20*time.Millisecond, how.app)
				}
			})
		})
	}
}

func TestAHiccupFailsNoWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 200})
		pass(time.Second)
		sys.set(hanging, "")
		pass(DefaultPatience - 10*time.Millisecond)
		sys.set(serving, "")
		pass(time.Second)
		b.stop()
		if bad := events(b.rec.Timeline(), func(e timeline.Event) bool { return e.Kind == timeline.Write && e.Value != "acked" }); len(bad) > 0 {
			t.Errorf("writes failed although none waited for longer than the patience: %v", lines(bad))
		}
	})
}

func TestAStallIsNotFollowedByAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 200, FreshPeriod: Off})
		pass(time.Second)
		sys.set(hanging, "")
		pass(1900 * time.Millisecond)
		sys.set(serving, "")
		resumed := time.Now()
		pass(time.Second)
		b.stop()
		n := 0
		for _, at := range sys.sent {
			if d := at.Sub(resumed); d >= 0 && d < DefaultPatience {
				n++
			}
		}
		// What waited no longer than the patience, and what was due since.
		if most := int(2*DefaultPatience.Seconds()*200) + 2*DefaultApps; n > most {
			t.Errorf("%d writes were sent within %v after the stall; at most %d were due", n, DefaultPatience, most)
		}
		u := bounds(t, b.rec.Timeline(), "app/0")
		if u.Hi < 1900*time.Millisecond || u.Lo > 1900*time.Millisecond || u.Lo < 1900*time.Millisecond-DefaultPatience-50*time.Millisecond {
			t.Errorf("the stall of 1.9s was measured as %v", u)
		}
	})
}

func TestWhatIsGivenUpSaysWhyAndWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 100, Apps: 1, FreshPeriod: Off})
		pass(time.Second)
		sys.set(hanging, "") // the write of 1.001s breaks the session at its deadline
		pass(2500 * time.Millisecond)
		sys.set(refusing, "")
		sys.kill("")
		pass(time.Second)
		b.stop()
		got := map[string]timeline.Interval{} // when what was given up for a reason was due
		for _, e := range events(b.rec.Timeline(), by(timeline.Write, "app/0")) {
			if e.Value != "failed" {
				continue
			}
			at, seen := got[e.Evidence]
			if !seen {
				at = timeline.Interval{Lo: e.At.Lo, Hi: e.At.Lo}
			}
			got[e.Evidence] = timeline.Interval{Lo: min(at.Lo, e.At.Lo), Hi: max(at.Hi, e.At.Lo)}
			wait := e.At.Width()
			if e.Evidence == "not sent: the session was busy until it broke" && wait != DefaultPatience && e.At.Hi != 3001*time.Millisecond ||
				strings.HasPrefix(e.Evidence, "not sent: no connection") && wait != 0 {
				t.Errorf("%s: given up after %v, at %v", e.Evidence, wait, e.At.Hi)
			}
			if !strings.Contains(string(e.Data), `"unsent":true`) {
				t.Errorf("%s: nothing says that the system was not asked: %s", e.Evidence, e.Data)
			}
		}
		want := map[string]timeline.Interval{
			"not sent: the session was busy until it broke":         {Lo: 1011 * time.Millisecond, Hi: 3001 * time.Millisecond},
			"not sent: no connection":                               {Lo: 3011 * time.Millisecond, Hi: 3501 * time.Millisecond},
			"not sent: no connection (connect: connection refused)": {Lo: 3511 * time.Millisecond, Hi: 4501 * time.Millisecond},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

func TestAWriteThatTheRunnerSentLateSaysByHowMuch(t *testing.T) {
	for late, want := range map[time.Duration]string{
		0: "", leastLate - 1: "", -time.Second: "", leastLate: `{"late_ms":1.000}`, 12345678: `{"late_ms":12.346}`,
	} {
		if got := string(lateness(late)); got != want {
			t.Errorf("%v late: %s, want %s", late, got, want)
		}
	}
}
