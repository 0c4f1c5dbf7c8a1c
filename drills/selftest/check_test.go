package selftest

import (
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A reading that is a hair outside of the interval, or wider than its bound, is
// found wrong; one at the very edge is not.
func TestAReadingIsWrongExactlyIfTheTruthIsOutsideOrItIsTooWide(t *testing.T) {
	for _, x := range []struct {
		truth, got [2]float64
		bound      time.Duration
		want       string
	}{
		{[2]float64{50, 50}, [2]float64{50, 60}, 10 * time.Millisecond, ""},
		{[2]float64{60, 60}, [2]float64{50, 60}, 10 * time.Millisecond, ""},
		{[2]float64{49.9, 49.9}, [2]float64{50, 60}, 10 * time.Millisecond, outside},
		{[2]float64{60.1, 60.1}, [2]float64{50, 60}, 10 * time.Millisecond, outside},
		{[2]float64{55, 55}, [2]float64{50, 60}, 9 * time.Millisecond, tooWide},
		{[2]float64{55, 55}, [2]float64{50, 600}, 0, ""}, // it has no bound
		{[2]float64{45, 52}, [2]float64{50, 60}, 0, ""},  // the truth itself is known that well
		{[2]float64{3, 3}, [2]float64{4, 4}, 0, outside}, // a count
	} {
		var c checker
		c.read(Reading{Metric: "outage", Truth: x.truth, Got: x.got}, x.bound)
		if got := c.out[0].Wrong; got != x.want {
			t.Errorf("truth %v, measured %v, bound %v: %q, want %q", x.truth, x.got, x.bound, got, x.want)
		}
	}
}

func TestAMetricThatHappenedMustHaveBeenMeasuredAndOneThatDidNotMustNot(t *testing.T) {
	var c checker
	c.truth.lasted = map[string]timeline.Interval{"detection": exact(time.Second)}
	c.t.Metrics.Reasons = map[string]string{"detection": "nobody looked"}
	c.duration("detection", nil, 0)
	c.duration("election", nil, 0)
	if len(c.out) != 1 || c.out[0].Wrong != "not measured: nobody looked" {
		t.Errorf("%+v", c.out)
	}
}
