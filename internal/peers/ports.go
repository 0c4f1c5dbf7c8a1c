package peers

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Ports is one port, "5432", or a range of them, "8000-8100".
type Ports string

// UnmarshalText reads a port or a range.
func (p *Ports) UnmarshalText(text []byte) error {
	lo, hi, err := Ports(text).Bounds()
	if err != nil {
		return err
	}
	*p = Ports(strconv.Itoa(int(lo)))
	if hi != lo {
		*p += Ports("-" + strconv.Itoa(int(hi)))
	}
	return nil
}

// Bounds are the first and the last port.
func (p Ports) Bounds() (lo, hi uint16, err error) {
	first, last, isRange := strings.Cut(string(p), "-")
	if lo, err = port(first); err != nil {
		return 0, 0, fmt.Errorf("ports %q: %w", string(p), err)
	}
	if !isRange {
		return lo, lo, nil
	}
	if hi, err = port(last); err != nil {
		return 0, 0, fmt.Errorf("ports %q: %w", string(p), err)
	}
	if hi < lo {
		return 0, 0, fmt.Errorf("ports %q: the range is reversed: write %d-%d", string(p), hi, lo)
	}
	return lo, hi, nil
}

func port(text string) (uint16, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port: want a number from 1 to 65535", text)
	}
	return uint16(n), nil
}

// A Span is a range of ports, both ends included.
type Span struct{ Lo, Hi uint16 }

// Spans are the ranges in their order, made one where they touch. What cannot be
// read was refused before.
func Spans(ports []Ports) (merged []Span) {
	var spans []Span
	for _, p := range ports {
		if lo, hi, err := p.Bounds(); err == nil {
			spans = append(spans, Span{lo, hi})
		}
	}
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.Lo, b.Lo) })
	for _, x := range spans {
		if n := len(merged); n > 0 && int(x.Lo) <= int(merged[n-1].Hi)+1 {
			merged[n-1].Hi = max(merged[n-1].Hi, x.Hi)
			continue
		}
		merged = append(merged, x)
	}
	return merged
}

// Means says whether the port is one of them; none means all.
func Means(ports []Ports, port uint16) bool {
	return len(ports) == 0 || slices.ContainsFunc(Spans(ports), func(x Span) bool { return x.Lo <= port && port <= x.Hi })
}
