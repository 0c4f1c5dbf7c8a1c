package tc

import (
	"fmt"
	"math"
)

// tableSize and scale are tc-netem's: a table holds the quantiles of a
// distribution with mean 0 and standard deviation 1, times 8192, as int16.
const (
	tableSize = 4096
	scale     = 8192
)

// table is the distribution's; the kernel needs none for a uniform one.
func table(distribution string) ([]int16, error) {
	var at func(p float64) float64
	switch distribution {
	case "", "uniform":
		return nil, nil
	case "normal":
		at = normal
	case "pareto":
		at = pareto
	case "paretonormal":
		at = func(p float64) float64 { return 0.25*normal(p) + 0.75*pareto(p) }
	default:
		return nil, fmt.Errorf("no distribution is called %q: want uniform, normal, pareto or paretonormal", distribution)
	}
	t := make([]int16, tableSize)
	for i := range t {
		x := at((float64(i)+0.5)/tableSize) * scale
		t[i] = int16(max(-math.MaxInt16, min(math.MaxInt16, math.Round(x))))
	}
	return t, nil
}

// normal is the quantile of the normal distribution.
func normal(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

// pareto is the quantile of the Pareto distribution with shape 3 from 1 on, which
// has mean 3/2 and variance 3/4: mostly a little early, rarely very late.
func pareto(p float64) float64 {
	return (math.Pow(1-p, -1.0/3) - 1.5) / math.Sqrt(0.75)
}
