// Package stats is the little statistics that verdicts need: what a few trials
// allow to be said about all trials, without assuming how they are distributed.
//
// It holds order statistics and exact binomial sums, and nothing that fits a
// curve. It knows no unit: whoever calls says what is counted.
package stats

import (
	"math"
	"slices"
)

// BinomialCDF is P(X ≤ k) for X binomial with n trials of probability p. It sums
// the terms in logarithms, so that it does not underflow for the thousands of
// trials that a series may have.
func BinomialCDF(k, n int, p float64) float64 {
	switch {
	case k < 0:
		return 0
	case k >= n, p <= 0:
		return 1
	case p >= 1:
		return 0
	}
	logP, logQ := math.Log(p), math.Log1p(-p)
	sum := 0.0
	for i := 0; i <= k; i++ {
		sum += math.Exp(logChoose(n, i) + float64(i)*logP + float64(n-i)*logQ)
	}
	return min(sum, 1)
}

func logChoose(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// UpperRank returns the smallest k such that the k-th smallest of n independent
// trials is at or above the q-quantile with the given confidence, whatever the
// distribution: the distribution-free one-sided bound (David and Nagaraja, Order
// Statistics, §7.1). ok is false if not even the largest is.
//
// The k-th smallest is below the quantile only if k or more trials are, and how
// many are is binomial (n, q): so the bound holds with P(X ≤ k−1).
func UpperRank(n int, q, confidence float64) (k int, ok bool) {
	for k = 1; k <= n; k++ {
		if BinomialCDF(k-1, n, q) >= confidence {
			return k, true
		}
	}
	return 0, false
}

// ZeroBound is the upper bound, with the given confidence, of the probability of
// something that happened in none of n independent trials: 1 − (1 − c)^(1/n).
func ZeroBound(n int, confidence float64) float64 {
	if n <= 0 {
		return 1
	}
	return 1 - math.Pow(1-confidence, 1/float64(n))
}

// Median is the middle of xs, or the mean of the two in the middle. It does not
// change xs; the median of nothing is NaN.
func Median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(xs))
	m := len(s) / 2
	if len(s)%2 == 1 {
		return s[m]
	}
	return s[m-1] + (s[m]-s[m-1])/2
}

// A Weighted is a value that counts Weight times.
type Weighted struct{ Value, Weight float64 }

// WeightedMedian is the smallest value at or below which half of the weight is.
// Without weight it is NaN.
func WeightedMedian(xs []Weighted) float64 {
	s := slices.Clone(xs)
	slices.SortFunc(s, func(a, b Weighted) int {
		switch {
		case a.Value < b.Value:
			return -1
		case a.Value > b.Value:
			return 1
		}
		return 0
	})
	total := 0.0
	for _, x := range s {
		total += x.Weight
	}
	sum := 0.0
	for _, x := range s {
		if sum += x.Weight; sum > 0 && sum >= total/2 {
			return x.Value
		}
	}
	return math.NaN()
}

// Modes groups xs where they leave wide gaps: a new group begins where the step
// to the next larger value is more than factor times the median step and more
// than least. Failover times are multimodal: what fell between two heartbeats
// and what lost an election are not one population. It returns the indexes of xs
// by group, both in ascending order of value. Fewer than five values are one
// group: no step is then unusual.
func Modes(xs []float64, factor, least float64) [][]int {
	if len(xs) == 0 {
		return nil
	}
	order := make([]int, len(xs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case xs[a] < xs[b]:
			return -1
		case xs[a] > xs[b]:
			return 1
		}
		return 0
	})
	if len(xs) < 5 {
		return [][]int{order}
	}
	steps := make([]float64, len(order)-1)
	for i := range steps {
		steps[i] = xs[order[i+1]] - xs[order[i]]
	}
	wide := max(least, factor*Median(steps))
	groups, from := [][]int{}, 0
	for i, step := range steps {
		if step > wide {
			groups = append(groups, order[from:i+1])
			from = i + 1
		}
	}
	return append(groups, order[from:])
}
