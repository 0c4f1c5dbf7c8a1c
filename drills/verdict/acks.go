package verdict

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// An ack is the first success of a stream on the new lineage, with what was sent
// last before it and was not yet served so.
type ack struct {
	by, node string
	at       timeline.Interval
	refused  time.Duration // the latest that was sent before it and was not served so
	events   []int
}

// newAcks are the first acknowledgements on a newer lineage, per stream of
// writes, earliest first.
func (j *judge) newAcks() []ack {
	var out []ack
	for _, by := range j.writers() {
		if a, ok := j.newAck(by); ok {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b ack) int { return cmp.Compare(a.at.Hi, b.at.Hi) })
	return out
}

func (j *judge) newAck(by string) (ack, bool) {
	var first *timeline.Event
	var row run
	for _, r := range j.writes(by) {
		if success(r.value()) && j.isNew(r.first) && r.first.At.Hi >= j.since() && (first == nil || r.first.At.Hi < first.At.Hi) {
			first, row = &r.first, r
		}
	}
	if first == nil {
		return ack{}, false
	}
	a := ack{by: by, node: nodeOf(*first), events: of(*first)}
	a.at = timeline.Interval{Lo: j.since(), Hi: first.At.Hi}
	var before *timeline.Event
	for _, r := range j.writes(by) {
		if success(r.value()) && j.isNew(r.first) {
			continue
		}
		for _, e := range r.events() {
			if !unsent(e) && e.At.Lo <= first.At.Lo && (before == nil || e.At.Lo > before.At.Lo) {
				before = &e
			}
		}
	}
	if before != nil {
		a.at.Lo = max(a.at.Lo, before.At.Lo)
		a.events = append(a.events, before.I)
	}
	a.refused = a.at.Lo
	// One that waited far longer than usual was not served until its answer, nor was
	// any other before the first answer of its run.
	if usual := j.usualLatency(by); slices.ContainsFunc(row.events(), func(e timeline.Event) bool {
		return e.At.Lo <= first.At.Lo && j.waited(e, usual)
	}) {
		a.at.Lo = max(a.at.Lo, first.At.Hi-usual.most)
	}
	a.at.Lo = min(a.at.Lo, a.at.Hi)
	return a, true
}

// A sending is what the Data of a write says of how it was sent.
type sending struct {
	Unsent bool    `json:"unsent"`
	LateMS float64 `json:"late_ms"`
}

func sendingOf(e timeline.Event) (s sending) {
	if len(e.Data) == 0 || json.Unmarshal(e.Data, &s) != nil {
		return sending{} // Data of another kind
	}
	return s
}

// unsent says whether a write was given up by its client, at the time for which it
// was intended: the system was not asked then.
func unsent(e timeline.Event) bool { return sendingOf(e).Unsent }

// late is how much later than intended the runner sent a write.
func late(e timeline.Event) time.Duration {
	return min(max(0, timeline.FromMS(sendingOf(e).LateMS)), e.At.Width())
}

// isNew says whether a success is on a newer lineage than the one before the
// fault.
func (j *judge) isNew(e timeline.Event) bool {
	newEpoch := e.Epoch != "" && j.oldEpoch != "" && newer(e.Epoch, j.oldEpoch)
	if j.in.AnyNodeTakesWrites || j.in.MultiPrimary {
		return newEpoch
	}
	n := nodeOf(e)
	return newEpoch || n != "" && j.oldNode != "" && n != j.oldNode
}

// newer says whether epoch a is newer than b: where both are numbers by number,
// else by being another.
func newer(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	if errX == nil && errY == nil {
		return x > y
	}
	return a != b
}

// nodeOf is who took a write, also where only its stream tells.
func nodeOf(e timeline.Event) string {
	if e.Node != "" {
		return e.Node
	}
	for _, p := range []string{"direct/", "old/"} {
		if n, ok := strings.CutPrefix(e.By, p); ok {
			return n
		}
	}
	return ""
}
