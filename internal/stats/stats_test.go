package stats_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/dapple-drills/dapple/internal/stats"
)

func TestBinomialSumsAgreeWithAnIndependentLibrary(t *testing.T) {
	for _, n := range []int{1, 2, 5, 10, 29, 59, 299, 3000} {
		for _, p := range []float64{0.001, 0.05, 0.5, 0.9, 0.95, 0.99} {
			ref := distuv.Binomial{N: float64(n), P: p}
			for _, k := range []int{-1, 0, 1, n / 3, n / 2, n - 2, n - 1, n} {
				want := ref.CDF(float64(k))
				if got := stats.BinomialCDF(k, n, p); math.Abs(got-want) > 1e-9 {
					t.Errorf("P(X ≤ %d) for n = %d, p = %v: got %v, want %v", k, n, p, got, want)
				}
			}
		}
	}
}

// The claims of the measurement rules, section 9, by name.
func TestEachNumberOfTrialsAllowsTheClaimThatTheRulesName(t *testing.T) {
	type claim struct {
		N    int
		Q    float64
		Rank int // 0: none
	}
	want := []claim{
		{4, 0.5, 0}, {5, 0.5, 5}, {10, 0.5, 9},
		{28, 0.9, 0}, {29, 0.9, 29}, {58, 0.95, 0}, {59, 0.95, 59}, {298, 0.99, 0}, {299, 0.99, 299},
	}
	var got []claim
	for _, c := range want {
		k, _ := stats.UpperRank(c.N, c.Q, 0.95)
		got = append(got, claim{c.N, c.Q, k})
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("smallest rank that bounds the quantile (-want +got):\n%s", d)
	}
}

func TestTheRankIsTheSmallestThatAnIndependentLibraryAllows(t *testing.T) {
	for n := 1; n <= 400; n += 7 {
		for _, q := range []float64{0.5, 0.9, 0.95, 0.99} {
			k, ok := stats.UpperRank(n, q, 0.95)
			ref := distuv.Binomial{N: float64(n), P: q}
			if !ok {
				if ref.CDF(float64(n-1)) >= 0.95 {
					t.Errorf("n = %d, q = %v: the largest would do", n, q)
				}
				continue
			}
			if ref.CDF(float64(k-1)) < 0.95 || k > 1 && ref.CDF(float64(k-2)) >= 0.95 {
				t.Errorf("n = %d, q = %v: rank %d is not the smallest", n, q, k)
			}
		}
	}
}

func TestNoLossInManyTrialsBoundsItsProbability(t *testing.T) {
	for n, want := range map[int]float64{0: 1, 1: 0.95, 10: 0.2589, 59: 0.0495, 299: 0.00997} {
		if got := stats.ZeroBound(n, 0.95); math.Abs(got-want) > 0.0001 {
			t.Errorf("n = %d: got %v, want %v", n, got, want)
		}
	}
}

func TestMediansAreInTheMiddle(t *testing.T) {
	xs := []float64{9, 1, 5}
	if got := stats.Median(xs); got != 5 || xs[0] != 9 {
		t.Errorf("got %v from %v", got, xs)
	}
	if got := stats.Median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("got %v", got)
	}
	if got := stats.Median(nil); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
	if got := stats.WeightedMedian([]stats.Weighted{{10, 1}, {1, 1}, {5, 8}}); got != 5 {
		t.Errorf("weighted: got %v", got)
	}
	if got := stats.WeightedMedian(nil); !math.IsNaN(got) {
		t.Errorf("weighted: the median of nothing is %v", got)
	}
}

func TestTwoPopulationsAreTwoModes(t *testing.T) {
	xs := []float64{20, 360, 21, 22, 361, 20.5, 21.5}
	want := [][]int{{0, 5, 2, 6, 3}, {1, 4}}
	if d := cmp.Diff(want, stats.Modes(xs, 5, 1)); d != "" {
		t.Errorf("modes (-want +got):\n%s", d)
	}
	if got := stats.Modes([]float64{1, 100, 1000}, 5, 1); len(got) != 1 {
		t.Errorf("three values are %d modes", len(got))
	}
}
