package reports

import "github.com/dapple-drills/dapple/drills/verdict"

// A reading is a metric as reports use it: this file is the only one that knows
// how the record holds its metrics.
type reading struct {
	Lo, Hi float64 // ms
	Events []int
	Known  bool
	Reason string // why it is not known
	// Censored: our own revert or the window's end ended it, so that only Lo is
	// proven.
	Censored bool
}

func (r reading) text() string {
	if !r.Known {
		return orText(r.Reason, "not measured")
	}
	if r.Censored {
		return atLeast(r.Lo)
	}
	return plusMinus(r.Lo, r.Hi)
}

// within is text as an interval.
func (r reading) within() string {
	if !r.Known || r.Censored {
		return r.text()
	}
	return within(r.Lo, r.Hi)
}

// exact is for hovers.
func (r reading) exact() string {
	switch {
	case !r.Known:
		return ""
	case r.Censored:
		return exact(r.Lo, r.Hi) + ", right-censored: ended by our own revert, or by the end of the window"
	}
	return exact(r.Lo, r.Hi)
}

func (r reading) mid() float64 { return (r.Lo + r.Hi) / 2 }

// A metric is one of the record's durations, with the words for it.
type metric struct {
	Name  string // in the record
	Label string
	Says  string // what it is, from one thing to another (measurement rules, "Metrics")
	get   func(*verdict.Metrics) *verdict.Metric
}

func (m metric) of(t *verdict.Trial) reading {
	v := m.get(&t.Metrics)
	if v == nil {
		return reading{Reason: t.Metrics.Reasons[m.Name]}
	}
	return reading{Lo: v.LoMS, Hi: v.HiMS, Events: v.Events, Known: true, Censored: v.Censored}
}

// metrics lists the durations in the order in which they are told.
func metrics() []metric {
	return []metric{
		{"detection", "Detection", "effect to the first sign that the system knows", func(m *verdict.Metrics) *verdict.Metric { return m.Detection }},
		{"election", "Election", "detection to the new claim being committed", func(m *verdict.Metrics) *verdict.Metric { return m.Election }},
		{"promotion", "Promotion", "election to the new primary acknowledging a direct write", func(m *verdict.Metrics) *verdict.Metric { return m.Promotion }},
		{"routing", "Routing", "promotion to the first write through the client endpoint", func(m *verdict.Metrics) *verdict.Metric { return m.Routing }},
		{"rto", "RTO", "last success before to first success after, of the worse client class", func(m *verdict.Metrics) *verdict.Metric { return m.RTO }},
		{"outage", "Longest outage", "the longest single time without service", func(m *verdict.Metrics) *verdict.Metric { return m.Outage }},
		{"first_ack", "First write again", "effect to the first acknowledged client write", func(m *verdict.Metrics) *verdict.Metric { return m.FirstAck }},
		{"stable", "Stable", "effect to lasting success of at least 99 %", func(m *verdict.Metrics) *verdict.Metric { return m.Stable }},
		{"full", "Full speed", "effect to lasting baseline throughput and latency", func(m *verdict.Metrics) *verdict.Metric { return m.Full }},
		{"fence_lag", "Fence lag", "how long the old primary could still acknowledge after the new one did", func(m *verdict.Metrics) *verdict.Metric { return m.FenceLag }},
		{"rejoin", "Rejoin", "until the faulted node follows the new lineage with lag 0", func(m *verdict.Metrics) *verdict.Metric { return m.Rejoin }},
		{"redundancy", "Redundancy", "effect to redundancy as before", func(m *verdict.Metrics) *verdict.Metric { return m.Redundancy }},
		{"false_green", "False green", "the health check said healthy while clients failed", func(m *verdict.Metrics) *verdict.Metric { return m.FalseGreen }},
		{"false_red", "False red", "the health check said broken while clients succeeded", func(m *verdict.Metrics) *verdict.Metric { return m.FalseRed }},
	}
}

// read returns the metric of that name of a trial.
func read(t *verdict.Trial, name string) reading {
	for _, m := range metrics() {
		if m.Name == name {
			return m.of(t)
		}
	}
	return reading{Reason: "there is no metric " + name}
}

// chain names the parts of a failover in the order in which they follow.
func chain() []string { return []string{"detection", "election", "promotion", "routing"} }
