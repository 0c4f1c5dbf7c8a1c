package tc

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestADistributionHasMeanZeroAndDeviationOne(t *testing.T) {
	for _, name := range []string{"normal", "pareto", "paretonormal"} {
		list, err := table(name)
		if err != nil || len(list) != tableSize {
			t.Fatalf("%s: %d values, %v", name, len(list), err)
		}
		sum, squares := 0.0, 0.0
		for i, v := range list {
			x := float64(v) / scale
			sum, squares = sum+x, squares+x*x
			if i > 0 && v < list[i-1] {
				t.Fatalf("%s: value %d is smaller than the one before", name, i)
			}
		}
		// The tables end at four deviations, which takes from the long tail of the
		// Pareto distribution.
		mean, sd := sum/tableSize, math.Sqrt(squares/tableSize)
		if math.Abs(mean) > 0.05 || sd < 0.72 || sd > 1.01 {
			t.Errorf("%s: mean %.3f, deviation %.3f", name, mean, sd)
		}
	}
	if list, err := table("uniform"); err != nil || list != nil {
		t.Errorf("uniform: %v, %v", list, err)
	}
	if _, err := table("gauss"); err == nil || !strings.Contains(err.Error(), "normal") {
		t.Errorf("an unknown one: %v", err)
	}
}

func TestWhatNoKernelDoesIsRefused(t *testing.T) {
	for says, i := range map[string]Impairment{
		"percent":              {Loss: 101},
		"duplicate is NaN":     {Duplicate: math.NaN()},
		"jitter needs a delay": {Jitter: time.Second},
		"reorder needs":        {Reorder: 1},
		"in bursts":            {Loss: 1, Burst: &GilbertElliott{ToBad: 1, ToGood: 1}},
		"never good again":     {Burst: &GilbertElliott{ToBad: 1}},
		"distribution":         {Delay: 1, Distribution: "gauss"},
		"want 0 to":            {Delay: 2 * time.Hour},
	} {
		if err := i.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %q", i, err, says)
		}
	}
	if err := (Impairment{Delay: time.Second, Jitter: time.Millisecond, Distribution: "pareto", Reorder: 1}).Check(); err != nil {
		t.Error(err)
	}
}

func TestTheLimitHoldsWhatRateAndDelayNeed(t *testing.T) {
	for _, i := range []Impairment{{Delay: time.Second}, {Delay: time.Second, Rate: 1_000_000}, {Delay: 100 * time.Millisecond, Jitter: 50 * time.Millisecond, Rate: 1_000_000_000}} {
		rate := float64(i.Rate)
		if rate == 0 {
			rate = wireRate
		}
		if need := rate / 8 / 1500 * (i.Delay + i.Jitter).Seconds(); float64(i.limit()) < need {
			t.Errorf("%+v: limit %d, %f packets are on their way", i, i.limit(), need)
		}
	}
	if got := (Impairment{Limit: 7}).limit(); got != 7 {
		t.Errorf("a limit that was given: %d", got)
	}
}
