package verdict

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// words is a number of milliseconds for people, with three significant digits or
// more: "850 ms", "23.1 s", "2 min 3 s".
func words(ms float64) string {
	switch a := math.Abs(ms); {
	case a < 10:
		return trim(fmt.Sprintf("%.2f", ms)) + " ms"
	case a < 1000:
		return trim(fmt.Sprintf("%.1f", ms)) + " ms"
	case a < 10_000:
		return trim(fmt.Sprintf("%.2f", ms/1000)) + " s"
	case a < 120_000:
		return trim(fmt.Sprintf("%.1f", ms/1000)) + " s"
	}
	s := int64(math.Round(ms / 1000))
	if s%60 == 0 {
		return fmt.Sprintf("%d min", s/60)
	}
	return fmt.Sprintf("%d min %d s", s/60, max(s%60, -(s%60)))
}

func trim(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// span is an interval for people: "20.1 s to 22.5 s", or, where that would not
// tell its ends apart, "20.1 s ± 6 ms".
func span(lo, hi float64) string {
	a, b := words(lo), words(hi)
	switch {
	case lo == hi:
		return a
	case a == b:
		return words(lo+(hi-lo)/2) + " ± " + words((hi-lo)/2)
	}
	return a + " to " + b
}

func wordsOf(d time.Duration) string { return words(timeline.MS(d)) }
