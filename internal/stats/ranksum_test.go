package stats_test

import (
	"math"
	"testing"

	"github.com/dapple-drills/dapple/internal/stats"
)

// count is the same by looking at every way to mix the two samples.
func count(n, m, u int) float64 {
	hit, all := 0, 0
	for mask := range 1 << (n + m) {
		first, pairs := 0, 0
		for i := range n + m {
			if mask>>i&1 == 1 {
				first++
				pairs += i - (first - 1) // values of the second sample below it
			}
		}
		if first != n {
			continue
		}
		all++
		if pairs >= u || n*m-pairs >= u {
			hit++
		}
	}
	return float64(hit) / float64(all)
}

func TestTheRankSumIsWhatCountingEveryMixtureGives(t *testing.T) {
	for n := 1; n <= 6; n++ {
		for m := 1; m <= 6; m++ {
			for u := n*m/2 + 1; u <= n*m; u++ {
				if got, want := stats.RankSum(n, m, u), count(n, m, u); math.Abs(got-want) > 1e-12 {
					t.Errorf("RankSum(%d, %d, %d) = %v, want %v", n, m, u, got, want)
				}
			}
		}
	}
}

func TestTheRankSumOfOneTrialEachProvesNothing(t *testing.T) {
	if p := stats.RankSum(1, 1, 1); p != 1 {
		t.Errorf("%v", p)
	}
	if p := stats.RankSum(4, 4, 16); math.Abs(p-2.0/70) > 1e-12 {
		t.Errorf("four below four: %v, want 2/70", p)
	}
	if stats.RankSum(3, 0, 0) != 1 || stats.RankSum(2, 2, 5) != 0 {
		t.Error("what cannot be")
	}
}

func TestTheApproximationMeetsTheExactValues(t *testing.T) {
	exact, near := stats.RankSum(50, 50, 1600), stats.RankSum(51, 50, 1632)
	if math.Abs(exact-near) > 0.003 {
		t.Errorf("exact %v, approximated %v", exact, near)
	}
}
