package stats

import "math"

// RankSum is how probable it is that of two samples of n and m values, drawn from
// one and the same distribution, at least u of the n·m pairs are ordered one way,
// or at least u the other way (the two-sided test of Wilcoxon, Mann and Whitney,
// without ties). A u that counts only the pairs whose order is certain gives an
// upper bound.
//
// It is exact up to 2,500 pairs; beyond, the normal approximation with a
// correction for continuity.
func RankSum(n, m, u int) float64 {
	switch {
	case n <= 0 || m <= 0 || u <= 0:
		return 1
	case u > n*m:
		return 0
	case n*m > 2500:
		return min(1, 2*normalTail(n, m, u))
	}
	p := 0.0
	for _, w := range exact(n, m)[u:] {
		p += w
	}
	return min(1, 2*p)
}

// exact is the distribution of the number of ordered pairs: the largest of all
// values is of the first sample with probability n/(n+m), and then orders m pairs;
// otherwise it orders none.
func exact(n, m int) []float64 {
	row := make([][]float64, m+1) // row[j] is the distribution of i and j values
	for j := range row {
		row[j] = []float64{1}
	}
	for i := 1; i <= n; i++ {
		next := make([][]float64, m+1)
		next[0] = []float64{1}
		for j := 1; j <= m; j++ {
			d := make([]float64, i*j+1)
			first := float64(i) / float64(i+j)
			for u, p := range row[j] {
				d[u+j] += first * p
			}
			for u, p := range next[j-1] {
				d[u] += (1 - first) * p
			}
			next[j] = d
		}
		row = next
	}
	return row[m]
}

func normalTail(n, m, u int) float64 {
	pairs := float64(n * m)
	sd := math.Sqrt(pairs * float64(n+m+1) / 12)
	return math.Erfc((float64(u)-0.5-pairs/2)/sd/math.Sqrt2) / 2
}
