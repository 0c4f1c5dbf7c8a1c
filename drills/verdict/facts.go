package verdict

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// Facts are what the timeline says without any judgement.
type facts struct {
	in      Input
	events  timeline.Timeline // by index
	kinds   map[timeline.Kind]timeline.Timeline
	streams map[string][]run
	stalls  []stall       // by their beginnings
	widest  time.Duration // of the stalls
	faults  []*fault
	reverts []timeline.Event // what we did to give a node back: FaultReverted, Restarted by dapple

	inject instant // the first call that made a fault
	effect instant // the first proven effect
	from   instant // effect, or inject where none was proven: what is judged begins here
	main   instant // as from, of the faults that do more than prepare: times count from here

	end      time.Duration // the clients were watched until then
	sent     time.Duration // the last moment at which a client tried
	answered time.Duration // the last reply to a client or to a direct write
	oldNode  string        // the primary before the fault; "" if nothing tells
	oldEpoch string
	nodes    []string // that take part: asked for their role, written to or listed as members
}

// An instant is a moment with its bounds and the events that prove it, or the
// reason why there is none.
type instant struct {
	at     timeline.Interval
	events []int
	ok     bool
	why    string
}

func at(i timeline.Interval, events ...timeline.Event) instant {
	return instant{at: i, events: of(events...), ok: true}
}

func none(why string, args ...any) instant { return instant{why: fmt.Sprintf(why, args...)} }

// A fault is what became of one planned fault.
type fault struct {
	key, kind, node, does                string
	prepares                             bool // it made the state in which the drill's fault was made
	injected, effect, noEffect, reverted *timeline.Event
	events                               []int
}

func read(in Input) *judge {
	j := &judge{facts: facts{in: in, kinds: map[timeline.Kind]timeline.Timeline{}}, stalled: map[int]bool{}, bounds: map[string]*Metric{}}
	for _, e := range in.Timeline {
		if in.N != 0 && e.Trial != 0 && e.Trial != in.N {
			continue // of another trial, on another clock
		}
		if e.At.Hi < e.At.Lo {
			e.At.Lo, e.At.Hi = e.At.Hi, e.At.Lo
		}
		j.events = append(j.events, e)
	}
	slices.SortFunc(j.events, byIndex)
	for _, e := range j.events {
		j.kinds[e.Kind] = append(j.kinds[e.Kind], e)
	}
	j.streams = runsOf(j.events)
	j.stalls, j.widest = stallsOf(j.kinds[timeline.Stall])
	if in.Now > 0 {
		for _, rs := range j.streams {
			rs[len(rs)-1].lastUntil(in.Now)
		}
	}
	j.readFaults()
	j.readEnd()
	j.readNodes()
	j.readPrimary()
	return j
}

func (f *facts) readFaults() {
	by := map[string]*fault{}
	for _, e := range f.events {
		switch e.Kind {
		case timeline.FaultPlanned, timeline.FaultInjected, timeline.FaultEffect,
			timeline.FaultNoEffect, timeline.FaultReverted, timeline.FaultHole:
		default:
			continue
		}
		if e.Kind == timeline.FaultHole && faultKey(e) == "" {
			continue // judged by its kind alone
		}
		key := cmp.Or(faultKey(e), e.By+" on "+e.Node)
		x := by[key]
		if x == nil {
			x = &fault{key: key, kind: e.By, node: e.Node, does: e.Value}
			by[key] = x
			f.faults = append(f.faults, x)
		}
		x.take(e)
	}
	f.inject, f.effect, f.from = begins(f.faults)
	_, _, f.main = begins(slices.DeleteFunc(slices.Clone(f.faults), func(x *fault) bool { return x.prepares }))
	if !f.main.ok {
		f.main = f.from
	}
	for _, e := range f.events {
		if e.Kind == timeline.FaultReverted || e.Kind == timeline.Restarted && e.Value == byDapple {
			f.reverts = append(f.reverts, e)
		}
	}
}

// begins are the first call of several faults, their first effect, and the one of
// these from which on something is judged.
func begins(faults []*fault) (inject, effect, from instant) {
	inject = earliest(faults, func(x *fault) *timeline.Event { return x.injected })
	effect = earliest(faults, func(x *fault) *timeline.Event { return x.effect })
	if effect.ok {
		return inject, effect, effect
	}
	return inject, effect, inject
}

// Who restarted a node (Value of a Restarted event).
const (
	byDapple  = "dapple"
	byEngine  = "engine"
	byManager = "manager"
)

func (x *fault) take(e timeline.Event) {
	x.events = append(x.events, e.I)
	var to **timeline.Event
	switch e.Kind {
	case timeline.FaultPlanned:
		x.prepares = prepares(e)
		return
	case timeline.FaultInjected:
		to = &x.injected
	case timeline.FaultEffect:
		to = &x.effect
	case timeline.FaultNoEffect:
		to = &x.noEffect
	case timeline.FaultReverted:
		to = &x.reverted
	default:
		return
	}
	if *to == nil {
		*to = &e
	}
}

// faultData is what the events of a fault hold.
type faultData struct {
	Fault    string `json:"fault"`
	Prepares bool   `json:"prepares"`
}

func dataOf(e timeline.Event) (d faultData) {
	if len(e.Data) == 0 || json.Unmarshal(e.Data, &d) != nil {
		return faultData{}
	}
	return d
}

func faultKey(e timeline.Event) string { return dataOf(e).Fault }

func prepares(e timeline.Event) bool { return dataOf(e).Prepares }

// earliest bounds the first of several moments: it is not before the smallest
// lower bound, and not after the smallest upper bound.
func earliest(faults []*fault, pick func(*fault) *timeline.Event) instant {
	var es []timeline.Event
	for _, x := range faults {
		if e := pick(x); e != nil {
			es = append(es, *e)
		}
	}
	return firstOf(es)
}

func firstOf(es []timeline.Event) instant {
	if len(es) == 0 {
		return instant{why: "nothing was seen"}
	}
	i := at(es[0].At, es[0])
	for _, e := range es[1:] {
		i.at = timeline.Interval{Lo: min(i.at.Lo, e.At.Lo), Hi: min(i.at.Hi, e.At.Hi)}
		i.events = append(i.events, e.I)
	}
	return i
}

// readEnd finds how long clients were watched: until the audit, before which
// they are stopped.
func (f *facts) readEnd() {
	for _, by := range f.writers() {
		client := clientClass(by) != ""
		if !client && !strings.HasPrefix(by, "direct/") {
			continue
		}
		for _, r := range f.writes(by) {
			for _, e := range r.events() {
				f.answered = max(f.answered, e.At.Hi)
				if client {
					f.sent, f.end = max(f.sent, e.At.Lo), max(f.end, e.At.Hi)
				}
			}
		}
	}
	for _, e := range f.kinds[timeline.Phase] {
		if e.Value == "audit" {
			f.end = e.At.Lo
			return
		}
	}
}

func (f *facts) readNodes() {
	seen := map[string]bool{}
	for _, e := range f.events {
		switch e.Kind {
		case timeline.Role, timeline.Member:
			seen[e.Node] = true
		case timeline.Write:
			for _, prefix := range []string{"direct/", "old/"} {
				if n, ok := strings.CutPrefix(e.By, prefix); ok {
					seen[n] = true
				}
			}
		}
	}
	delete(seen, "")
	f.nodes = slices.Sorted(maps.Keys(seen))
}

// readPrimary finds who was primary just before the fault: who said so itself,
// else whom the control plane named, else who took the clients' last writes.
func (f *facts) readPrimary() {
	if !f.from.ok {
		return
	}
	before := f.from.at.Lo
	var best *timeline.Event
	better := func(e timeline.Event) {
		if e.At.Lo <= before && (best == nil || e.At.Lo > best.At.Lo) {
			best = &e
		}
	}
	for _, n := range f.nodes {
		if s, ok := f.saidBy(timeline.Role, "role/"+n, before); ok && s.value == "primary" {
			e := s.first
			e.Node = n
			better(e)
		}
	}
	if best == nil {
		for _, e := range f.kinds[timeline.Leader] {
			better(e)
		}
	}
	if best != nil {
		f.oldNode, f.oldEpoch = best.Node, best.Epoch
	}
	if f.in.Untold[untoldRoles] != "" {
		f.readTakers(before)
	}
	f.readOldWriter(before)
}

// untoldRoles is the key in Input.Untold for what nodes claim to be.
const untoldRoles = "roles"

// readTakers finds out by who took writes at rest, where no node says what it is:
// if it was one alone, it was the primary. If there were several, any node takes
// writes, and who took one says nothing.
func (f *facts) readTakers(before time.Duration) {
	var takers []string
	for _, n := range f.nodes {
		took := func(by string) bool {
			return slices.ContainsFunc(f.writes(by), func(r run) bool { return success(r.value()) && r.first.At.Hi <= before })
		}
		if took("direct/"+n) || took("old/"+n) {
			takers = append(takers, n)
		}
	}
	switch len(takers) {
	case 0:
	case 1:
		f.oldNode = cmp.Or(f.oldNode, takers[0])
	default:
		f.in.AnyNodeTakesWrites = true
	}
}

// readOldWriter takes the lineage before the fault from the clients' writes,
// where it is known: it is what later writes are compared with.
func (f *facts) readOldWriter(before time.Duration) {
	var last *timeline.Event
	for _, name := range slices.Sorted(maps.Keys(f.streams)) {
		by, ok := strings.CutPrefix(name, string(timeline.Write)+" ")
		if !ok || clientClass(by) == "" {
			continue
		}
		for _, r := range f.streams[name] {
			if !success(r.value()) || r.first.At.Hi > before { // what came back later may be of the new lineage
				continue
			}
			if last == nil || r.first.At.Lo > last.At.Lo {
				e := r.first
				last = &e
			}
		}
	}
	if last == nil {
		return
	}
	if !f.in.AnyNodeTakesWrites { // there, who took a write says nothing of who was primary
		f.oldNode = cmp.Or(f.oldNode, last.Node)
	}
	f.oldEpoch = cmp.Or(last.Epoch, f.oldEpoch)
}

// stateAt is what a stream of looks said last before t.
func (f *facts) stateAt(k timeline.Kind, by string, t time.Duration) (segment, bool) {
	segs := segments(f.streams[string(k)+" "+by])
	for _, s := range slices.Backward(segs) {
		if s.first.At.Lo <= t {
			return s, true
		}
	}
	return segment{}, false
}

// saidBy is what a stream of looks had said when t came: a look that was under
// way at t may have met the fault already.
func (f *facts) saidBy(k timeline.Kind, by string, t time.Duration) (segment, bool) {
	for _, s := range slices.Backward(segments(f.streams[string(k)+" "+by])) {
		if s.first.At.Hi <= t {
			return s, true
		}
	}
	return segment{}, false
}

// writes are the runs of a stream of writes.
func (f *facts) writes(by string) []run { return f.streams[string(timeline.Write)+" "+by] }

// writers are the names of all streams of writes, in order.
func (f *facts) writers() []string {
	var out []string
	for name := range f.streams {
		if by, ok := strings.CutPrefix(name, string(timeline.Write)+" "); ok {
			out = append(out, by)
		}
	}
	slices.Sort(out)
	return out
}
