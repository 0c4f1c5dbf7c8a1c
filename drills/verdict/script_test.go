package verdict_test

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A script is a timeline as people write it: see testdata/README.md. Results of
// streams go through timeline.Stream as they do in a drill.
type script struct {
	steps []step
}

// A step is one event, or one result of a stream.
type step struct {
	lo, hi time.Duration
	e      timeline.Event
	stream bool
}

func (s *script) add(lo, hi time.Duration, e timeline.Event) {
	s.steps = append(s.steps, step{lo, hi, e, false})
}

func (s *script) result(lo, hi time.Duration, e timeline.Event) {
	s.steps = append(s.steps, step{lo, hi, e, true})
}

// timeline records the steps in the order in which they came to be known.
func (s *script) timeline() timeline.Timeline {
	rec, flush := s.record()
	flush()
	return rec.Timeline()
}

// unflushed is the timeline of a trial that still goes on.
func (s *script) unflushed() timeline.Timeline {
	rec, _ := s.record()
	return rec.Timeline()
}

func (s *script) record() (rec *timeline.Recorder, flush func()) {
	base := time.Unix(1_700_000_000, 0)
	rec = timeline.NewRecorder(base, 1, 0, nil)
	slices.SortStableFunc(s.steps, func(a, b step) int { return cmp.Compare(a.hi, b.hi) })
	streams := map[string]*timeline.Stream{}
	var names []string
	for _, x := range s.steps {
		if !x.stream {
			rec.Emit(base.Add(x.lo), base.Add(x.hi), x.e)
			continue
		}
		name := string(x.e.Kind) + x.e.By
		if streams[name] == nil {
			streams[name] = timeline.NewStream(rec.Emit)
			names = append(names, name)
		}
		streams[name].Add(base.Add(x.lo), base.Add(x.hi), x.e)
	}
	return rec, func() {
		for _, n := range names {
			streams[n].Flush()
		}
	}
}

// buckets counts the clients' writes so far over [lo, hi).
func (s *script) buckets(lo, hi, width time.Duration) {
	for at := lo; at < hi; at += width {
		var c timeline.Counts
		var took []time.Duration
		for _, x := range s.steps {
			if x.e.Kind != timeline.Write || x.lo < at || x.lo >= at+width || x.e.By != "fresh" && !strings.HasPrefix(x.e.By, "app/") {
				continue
			}
			switch x.e.Value {
			case "acked":
				c.Acked++
				took = append(took, x.hi-x.lo)
			case "acked-degraded":
				c.Degraded++
			case "failed":
				c.Failed++
			default:
				c.Unknown++
			}
		}
		if slices.Sort(took); len(took) > 0 {
			c.P50ms, c.P99ms = timeline.MS(took[len(took)/2]), timeline.MS(took[len(took)*99/100])
		}
		s.add(at, at+width, timeline.Event{Kind: timeline.Bucket, By: "ledger", Data: data(c)})
	}
}

func data(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
