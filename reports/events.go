package reports

import (
	"cmp"
	"slices"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// maxRows bounds the event rows of a page, over all trials: a browser lays out
// so many at once, and nobody reads more. The rest is in timeline.jsonl.
const maxRows = 2000

// cited lists what each event of a trial is evidence of, in the order of the
// report.
func cited(t *verdict.Trial) map[int][]string {
	out := map[int][]string{}
	add := func(name string, events []int) {
		for _, i := range events {
			if !slices.Contains(out[i], name) {
				out[i] = append(out[i], name)
			}
		}
	}
	for _, m := range metrics() {
		add(lowerLabel(m.Label), m.of(t).Events)
	}
	for _, f := range t.Faults {
		add("fault", f.Events)
	}
	for _, r := range t.Restarts {
		add("restart", r.Events)
	}
	for _, o := range t.Metrics.Outages {
		add("outage", o.Events)
	}
	add("split-brain", t.Metrics.SplitBrain.Events)
	for _, f := range t.Findings {
		add(lowerLabel(label(f.Objective)), f.Events)
	}
	if l := t.Metrics.Loss; l != nil {
		add("loss", l.Events)
	}
	return out
}

// importance orders events for the table when not all fit: evidence first, then
// what changes seldom, then what the probes repeat.
func importance(e *timeline.Event, evidence bool) int {
	switch {
	case evidence:
		return 0
	case e.Kind == timeline.Write, e.Kind == timeline.Health, e.Kind == timeline.SessionEnd, e.Kind == timeline.Stall,
		e.Kind == timeline.Lost, e.Kind == timeline.Late, e.Kind == timeline.Duplicate, e.Kind == timeline.Phantom:
		return 3
	case e.Kind == timeline.Bucket:
		return 4
	case e.Kind == timeline.Role, e.Kind == timeline.Member, e.Kind == timeline.Redundancy:
		return 2
	}
	return 1
}

// A chosen is the events of a trial that the page prints.
type chosen struct {
	rows []timeline.Event
	uses map[int][]string
	all  int
}

func (c *chosen) left() int { return c.all - len(c.rows) }

// choose picks at most n events of a trial, in the order of time. Of the probes'
// repetitions and of the buckets it takes only what is evidence, and of the
// rest what fits.
func choose(v *trialView, n int) chosen {
	c := chosen{uses: cited(v.T), all: len(v.Events)}
	var picked [3][]int
	for i := range v.Events {
		e := &v.Events[i]
		if k := importance(e, len(c.uses[e.I]) > 0); k < len(picked) {
			picked[k] = append(picked[k], i)
		}
	}
	for _, level := range picked {
		for _, i := range level[:min(len(level), n-len(c.rows))] {
			c.rows = append(c.rows, v.Events[i])
		}
	}
	slices.SortStableFunc(c.rows, func(a, b timeline.Event) int {
		return cmp.Or(cmp.Compare(a.At.Lo, b.At.Lo), cmp.Compare(a.I, b.I))
	})
	return c
}
