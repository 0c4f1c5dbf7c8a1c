package selftest

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// The nodes of a world. Node a is the primary before the fault, b takes over.
const (
	nodeA = "a"
	nodeB = "b"
	nodeC = "c"
)

// front is the name of the clients' endpoint.
const front = ""

// A world is the scripted system: three nodes and a control plane, behind real
// sockets. What it is at an instant is a function of the instant, so that the
// truth holds also while this process is held up; what has to be done by hand
// (a port that opens) is written down when it was done.
type world struct {
	c  Case
	mu sync.Mutex

	effect time.Time // zero: not yet
	mended time.Time // zero: not yet
	opened span      // the endpoint's port was opened again within it; zero: not yet

	rows     []*row // in the order of their commits
	forked   bool
	barriers int
	twice    int // rows that are there twice
	late     int
	ghosts   int
	said     map[id]probes.Class // what the clients were told
	asked    []request
}

// An id names a write.
type id struct {
	client int
	seq    uint64
}

// A row is one write in the history of the world.
type row struct {
	id     id
	at     time.Time // it was committed
	on     string    // by this node
	times  int       // it is there so often
	gone   bool      // not in the present history
	parked bool      // it has not turned up yet
	ghost  bool      // it was refused
	late   bool      // it turned up between the audits
}

// A span bounds an instant.
type span struct{ lo, hi time.Time }

func newWorld(c Case) *world {
	return &world{c: c, said: map[id]probes.Class{}}
}

// since says whether t is d after the effect or later.
func (w *world) since(t time.Time, d time.Duration) bool {
	return !w.effect.IsZero() && !t.Before(w.effect.Add(d))
}

func (w *world) over(t time.Time) bool { return !w.mended.IsZero() && !t.Before(w.mended) }

// Whom a request reaches, and since when its connection is open.
type caller struct {
	node  string // front, or a node
	since time.Time
}

// A fate is what becomes of a request.
type fate struct {
	how   Break
	node  string    // who serves it
	until time.Time // of Delay
}

// fate is what becomes of a write at t.
func (w *world) fate(from caller, t time.Time) fate {
	s := &w.c.Script
	switch from.node {
	case nodeC:
		return fate{how: Deny}
	case nodeB:
		if s.Failover && w.since(t, s.Promote) {
			return fate{node: nodeB}
		}
		return fate{how: Deny}
	case front:
		if s.Failover && w.since(t, s.Route) {
			return fate{node: nodeB}
		}
	}
	switch {
	case !w.since(t, s.Begin) || s.Break == Nothing:
		return fate{node: nodeA}
	case from.node == nodeA && from.since.Before(w.effect) && !w.since(t, s.Fence):
		return fate{node: nodeA} // an old session
	case !s.Failover && w.since(t, s.Route):
		return fate{node: nodeA}
	case s.Failover && w.over(t):
		return fate{how: Deny}
	case s.Break == Lie:
		return fate{how: Lie, node: nodeA}
	}
	return fate{how: s.Break, until: w.effect.Add(s.Route)}
}

// write has the world take a write, or not.
func (w *world) write(from caller, i id) (fate, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.fork(now)
	f := w.fate(from, now)
	switch f.how {
	case Nothing, Lie:
		r := w.commit(i, f.node, now)
		r.gone = f.how == Lie || w.forked && f.node == nodeA && w.c.Script.Failover && !w.c.Script.Merge
	case Reset:
		if w.late < w.c.Script.Late {
			w.late++
			r := w.commit(i, nodeB, now)
			r.parked, r.late = true, true
		}
	case Deny:
		if from.node == front && w.ghosts < w.c.Script.Ghost {
			w.ghosts++
			w.commit(i, nodeB, now).ghost = true
		}
	}
	return f, w.epoch(f.node, now)
}

// every so many writes one is stored twice, while there are to be any.
const every = 7

func (w *world) commit(i id, on string, now time.Time) *row {
	r := &row{id: i, at: now, on: on, times: 1}
	if w.twice < w.c.Script.Twice && len(w.rows)%every == 0 {
		w.twice++
		r.times = 2
	}
	w.rows = append(w.rows, r)
	return r
}

// fork makes the new primary's history at its promotion: what the old one took
// since the effect is not in it, nor what is to be lost.
func (w *world) fork(now time.Time) {
	s := &w.c.Script
	if w.forked || !s.Failover || !w.since(now, s.Promote) {
		return
	}
	w.forked = true
	var tail []*row
	for _, r := range w.rows {
		switch {
		case r.at.Before(w.effect) || s.Fence == 0:
			if !r.parked && !r.ghost {
				tail = append(tail, r)
			}
		case !s.Merge:
			r.gone = true
		}
	}
	w.drop(tail)
}

// drop loses some of the rows, by the seed.
func (w *world) drop(rows []*row) {
	s := &w.c.Script
	n := min(s.Drop, len(rows))
	if !s.Holes {
		for _, r := range rows[len(rows)-n:] {
			r.gone = true
		}
		return
	}
	last := rows[max(0, len(rows)-100):]
	for _, k := range rand.New(rand.NewPCG(w.c.Seed, 1)).Perm(len(last))[:min(n, len(last))] {
		last[k].gone = true
	}
}

// barrier notes that an audit begins; what is late turns up before the second.
func (w *world) barrier() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.barriers++; w.barriers == 2 {
		for _, r := range w.rows {
			r.parked = false
		}
	}
}

// told notes what a client was told of its write.
func (w *world) told(i id, c probes.Class) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said[i] = c
}

// ask notes a request at the clients' endpoint.
func (w *world) ask(r request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, r)
}

// acked are the writes that clients were told to be there.
func (w *world) acked() (all []id) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range w.said {
		if c == probes.Acked {
			all = append(all, i)
		}
	}
	return all
}

func (w *world) epoch(node string, t time.Time) string {
	s := &w.c.Script
	if s.Failover && (node == nodeB && w.since(t, s.Promote) || node != nodeB && w.over(t)) {
		return strconv.Itoa(2)
	}
	return strconv.Itoa(1)
}

// leader is what the control plane holds to be the leader.
func (w *world) leader(t time.Time) (node, epoch string) {
	s := &w.c.Script
	switch {
	case !s.Failover || !w.since(t, s.Detect):
		return nodeA, "1"
	case !w.since(t, s.Elect):
		return "", "1"
	}
	return nodeB, "2"
}

// role is what a node says of itself.
func (w *world) role(node string, t time.Time) (probes.Role, Break) {
	s := &w.c.Script
	switch {
	case node == nodeA:
		f := w.fate(caller{node: nodeA, since: t}, t)
		switch {
		case f.node == nodeA:
			return probes.Primary, Nothing
		case s.Failover && w.over(t):
			return probes.Replica, Nothing
		case f.how == Deny:
			return probes.None, Nothing
		}
		return probes.Silent, f.how
	case node == nodeB && s.Failover && w.since(t, s.Promote):
		return probes.Primary, Nothing
	}
	return probes.Replica, Nothing
}

// member is how a node takes part, as the control plane has it.
func (w *world) member(node string, t time.Time) string {
	s := &w.c.Script
	switch {
	case node == nodeA && !(s.Failover && w.since(t, 0)):
		return "primary"
	case node == nodeA && !(w.over(t) && !t.Before(w.mended.Add(s.Rejoin))):
		return "absent"
	case node == nodeB && s.Failover && w.since(t, s.Promote):
		return "primary"
	}
	return "following"
}

// healthy is what the health check of a node says: it is green for a primary.
func (w *world) healthy(node string, t time.Time) bool {
	if node == nodeA && w.since(t, 0) && !w.since(t, w.c.Script.Green) {
		return true
	}
	role, _ := w.role(node, t)
	return role == probes.Primary
}
