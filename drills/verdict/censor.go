package verdict

import (
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// restoredBy returns our own revert that may have ended the outage, if there is
// one: service restored by it is not recovery (measurement rules, "Metrics").
//
// A revert within the outage is innocent only if the node that then served is
// not the one that was given back, and had either begun to take over before the
// revert, or took over with the reverted nodes being too few to have mattered:
// members that hold data, and fewer than half. Whatever else cannot be told
// apart from our own doing.
//
// An outage that began after the revert did was not ended by it.
func (j *judge) restoredBy(o outage, began time.Duration) (timeline.Event, bool) {
	var first *timeline.Event
	for _, r := range j.reverts {
		if r.At.Lo > o.after.ret || r.At.Lo <= began || j.innocent(r, o.after.e.Node) {
			continue
		}
		if first == nil || r.At.Lo < first.At.Lo {
			first = &r
		}
	}
	if first == nil {
		return timeline.Event{}, false
	}
	return *first, true
}

func (j *judge) innocent(r timeline.Event, server string) bool {
	if server == "" || server == r.Node || server == j.oldNode {
		return false
	}
	if j.faulty(server) {
		return false // it was given back as well
	}
	if j.tookOverBefore(server, r) {
		return true
	}
	return slices.Contains(j.nodes, r.Node) && 2*j.faultyNodes() < len(j.nodes)
}

func (j *judge) faulty(node string) bool {
	return slices.ContainsFunc(j.faults, func(f *fault) bool { return f.node == node })
}

func (j *judge) faultyNodes() int {
	seen := map[string]bool{}
	for _, f := range j.faults {
		seen[f.node] = true
	}
	return len(seen)
}

// tookOverBefore says whether the node claimed the primary role, or was named by
// the control plane, after the effect and before the revert began.
func (j *judge) tookOverBefore(node string, r timeline.Event) bool {
	between := func(e timeline.Event) bool { return e.At.Hi >= j.from.at.Lo && e.At.Hi <= r.At.Lo }
	for _, e := range j.kinds[timeline.Leader] {
		if e.Node == node && between(e) {
			return true
		}
	}
	for _, s := range segments(j.streams[string(timeline.Role)+" role/"+node]) {
		if s.value == "primary" && between(s.first) {
			return true
		}
	}
	return false
}

// said names an event for people.
func said(e timeline.Event) string {
	switch e.Kind {
	case timeline.Restarted:
		return fmt.Sprintf("restart of %s", e.Node)
	case timeline.FaultReverted:
		return fmt.Sprintf("revert of %s on %s", e.By, e.Node)
	}
	return string(e.Kind)
}
