package live

import (
	"fmt"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// A teller turns events into sentences, and leaves out what changes nothing. It
// is used by one goroutine.
type teller struct {
	facts   Facts
	trial   int
	roles   map[string]string          // node → what it says of itself
	leaders map[string]string          // observer → leader
	states  map[string]string          // node → how it takes part; "" → redundancy
	inject  map[string]timeline.Event  // fault key → the call
	plans   map[string]string          // fault key → what is done
	failing map[string]map[string]bool // client class → its streams that fail
	since   map[string]time.Duration   // client class → when the first one began to
	taking  map[string]bool            // node → it took a direct write
	served  map[string]time.Duration   // stream → when its latest-sent success was sent
	lost    int
	latest  time.Duration // the latest instant that was told of
}

func newTeller(f Facts) *teller {
	t := &teller{facts: f}
	t.begin(0)
	return t
}

// begin forgets what was told of the trial before.
func (t *teller) begin(trial int) {
	t.trial, t.lost, t.latest = trial, 0, 0
	t.roles, t.leaders, t.states, t.plans = map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	t.inject, t.taking = map[string]timeline.Event{}, map[string]bool{}
	t.served = map[string]time.Duration{}
	t.failing, t.since = map[string]map[string]bool{}, map[string]time.Duration{}
}

// tell returns the sentence for e, or "" if it needs none.
func (t *teller) tell(e timeline.Event) string {
	if e.Trial != t.trial {
		t.begin(e.Trial)
	}
	if !dated(e) {
		t.latest = max(t.latest, e.At.Hi)
	}
	switch e.Kind {
	case timeline.Phase:
		return t.phase(e)
	case timeline.FaultPlanned, timeline.FaultInjected, timeline.FaultEffect, timeline.FaultNoEffect, timeline.FaultHole, timeline.FaultReverted:
		return t.fault(e)
	case timeline.Write:
		return t.write(e)
	case timeline.Role:
		return t.role(e)
	case timeline.Leader:
		return t.leader(e)
	case timeline.Member, timeline.Redundancy:
		return t.state(e)
	case timeline.Lost, timeline.Late, timeline.Phantom, timeline.Duplicate:
		return t.found(e)
	}
	return once(e)
}

// dated says of an event that its time is that of a write, long before it was
// found.
func dated(e timeline.Event) bool {
	return e.Kind == timeline.Lost || e.Kind == timeline.Late || e.Kind == timeline.Phantom || e.Kind == timeline.Duplicate
}

// when is the time at which an event is told: the end of its interval, when it
// was known; of an effect and a phase the begin.
func (t *teller) when(e timeline.Event) time.Duration {
	switch {
	case dated(e):
		return t.latest
	case e.Kind == timeline.FaultEffect, e.Kind == timeline.Phase:
		return e.At.Lo
	}
	return e.At.Hi
}

// once is for events each of which is news.
func once(e timeline.Event) string {
	switch e.Kind {
	case timeline.Note:
		return "note: " + e.Value
	case timeline.Leftover:
		return on(e.Node) + "STILL IN PLACE: " + e.Value + paren(e.Evidence)
	case timeline.Restarted:
		return e.Node + " runs again, started by " + e.Value
	case timeline.Unsteady:
		return "not steady: " + e.Value
	case timeline.Aborted:
		return "aborted: " + e.Value + "; everything is being reverted"
	case timeline.Detected:
		return "the system noticed: " + e.Value
	case timeline.Alert:
		return "their monitoring says " + e.Value + ": " + e.Evidence
	case timeline.Stamp:
		return e.By + ": " + e.Value + paren(e.Evidence)
	case timeline.Hint:
		return fmt.Sprintf("hint %d for %s: %s", e.N, e.By, e.Value)
	case timeline.Paced:
		return e.By + " says " + e.Value + paren(e.Evidence)
	case timeline.Promoted:
		return e.Node + " was promoted, says " + e.By
	case timeline.Forked:
		return on(e.Node) + "two histories: " + e.Value
	case timeline.Audit:
		return "audit " + e.Value + " done" + where(e.Node)
	case timeline.Stall:
		if d := time.Duration(e.N); d >= 100*time.Millisecond { // shorter ones are told by the record
			return "dapple itself was held up for " + length(d)
		}
	}
	return ""
}

func (t *teller) phase(e timeline.Event) string {
	for _, p := range t.facts.Phases {
		if p.Name == e.Value && p.For > 0 {
			if p.AtMost {
				return e.Value + ", at most " + instant(p.For)
			}
			return e.Value + " for " + instant(p.For)
		}
	}
	switch e.Value {
	case "aim", "inject": // what they do is told by the fault
		return ""
	}
	return e.Value
}

func (t *teller) fault(e timeline.Event) string {
	key := string(e.Data) + e.By + e.Node
	switch e.Kind {
	case timeline.FaultPlanned:
		t.plans[key] = e.Value
		return ""
	case timeline.FaultInjected:
		t.inject[key] = e
		return ""
	case timeline.FaultNoEffect:
		return e.Node + ": " + e.By + paren(t.plans[key]) + " had no effect" + because(e.Evidence)
	case timeline.FaultHole:
		return e.Node + ": " + e.By + " was found gone" + because(e.Evidence)
	case timeline.FaultReverted:
		return e.Node + ": " + e.By + " reverted" + because(e.Evidence)
	}
	s := e.Node + " " + done(e.By) + paren(t.plans[key]) + "; in effect"
	if i, ok := t.inject[key]; ok && e.At.Hi >= i.At.Lo {
		s += " within " + length(e.At.Hi-i.At.Lo)
	}
	return s + because(e.Evidence)
}

// done is the kind of a fault as what was done to a node, where English has a
// word for it; any other kind is named as the catalogue names it.
func done(kind string) string {
	switch kind {
	case "kill":
		return "killed"
	case "pause":
		return "paused"
	case "partition":
		return "partitioned"
	}
	return "under " + kind
}

func (t *teller) role(e timeline.Event) string {
	before, known := t.roles[e.Node]
	t.roles[e.Node] = e.Value
	if before == e.Value {
		return ""
	}
	if !known {
		for _, n := range t.facts.Nodes {
			if n.Name == e.Node && n.Role == e.Value {
				return ""
			}
		}
		return e.Node + " says " + e.Value
	}
	if e.Value == string(probes.Silent) {
		return e.Node + " does not answer any more" + because(e.Evidence)
	}
	return e.Node + " says " + e.Value + epoch(e.Epoch) + " (was " + before + ")"
}

func (t *teller) leader(e timeline.Event) string {
	before, known := t.leaders[e.By]
	t.leaders[e.By] = e.Node
	switch {
	case known && before == e.Node:
		return ""
	case e.Node == "":
		return e.By + ": no leader any more"
	case !known:
		return e.By + ": leader " + e.Node + epoch(e.Epoch)
	}
	return e.By + ": new leader " + e.Node + epoch(e.Epoch)
}

func (t *teller) state(e timeline.Event) string {
	before, known := t.states[e.Node]
	t.states[e.Node] = e.Value
	switch {
	case !known || before == e.Value:
		return ""
	case e.Node == "":
		return "redundancy: " + e.Value
	}
	return e.Node + " is " + e.Value + " (was " + before + ")"
}

// write tells when the clients of a class begin to fail and when all of them
// succeed again, and when a node takes its first direct write.
func (t *teller) write(e timeline.Event) string {
	class, node, _ := strings.Cut(e.By, "/")
	acked := strings.HasPrefix(e.Value, string(probes.Acked))
	if acked {
		t.served[e.By] = max(t.served[e.By], e.At.Lo)
	} else if e.At.Lo < t.served[e.By] {
		return "" // it was sent before one that succeeded: its failure is old news
	}
	switch class {
	case "app", "fresh":
		return t.client(class, e, acked)
	case "direct":
		before, known := t.taking[node]
		t.taking[node] = acked
		if known && before != acked && acked {
			return node + " takes writes" + epoch(e.Epoch)
		}
	}
	return ""
}

func (t *teller) client(class string, e timeline.Event, acked bool) string {
	f := t.failing[class]
	if f == nil {
		f = map[string]bool{}
		t.failing[class] = f
	}
	if e.Evidence == probes.ReplyNotSent+probes.ReplyBusy {
		return "" // no server was asked: what the session waits for will be told when it is known
	}
	if !acked {
		f[e.By] = true
		if len(f) > 1 || t.since[class] > 0 {
			return ""
		}
		t.since[class] = max(e.At.Lo, 1)
		if e.Value == string(probes.Unknown) {
			return "writes of " + class + " get no reply" + because(e.Evidence)
		}
		return "writes of " + class + " fail" + because(e.Evidence)
	}
	was := f[e.By]
	delete(f, e.By)
	if !was || len(f) > 0 || t.since[class] == 0 {
		return ""
	}
	d := e.At.Hi - t.since[class]
	t.since[class] = 0
	return "writes of " + class + " succeed again, after " + length(d)
}

// found tells the first of the writes that an audit found wrong; how many there
// are is known when it is over.
func (t *teller) found(e timeline.Event) string {
	if t.lost++; t.lost > 1 {
		return ""
	}
	return fmt.Sprintf("the audit found a %s write: %s", e.Kind, e.Value) + because(e.Evidence)
}

func paren(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func because(s string) string {
	if s == "" {
		return ""
	}
	return ": " + clip(s, 100)
}

func epoch(s string) string {
	if s == "" {
		return ""
	}
	return ", epoch " + s
}

func on(node string) string {
	if node == "" {
		return ""
	}
	return node + ": "
}

func where(node string) string {
	if node == "" {
		return ""
	}
	return " on " + node
}
