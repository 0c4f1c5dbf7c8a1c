package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// By is the stream of what an audit says, where it is not about a write of a
// stream.
const By = "audit"

// EventMax is how many events of each kind one audit emits at most. The counts
// are always whole, and a file holds all lost ids.
const EventMax = 10_000

// audits remembers what earlier ones found.
type audits struct {
	mu      sync.Mutex
	primary []*found // the audits of the primary so far
	barrier *uint64  // the id of the last barrier that was read back
	// told are the events about single writes so far, but for losses: each is
	// told once, by the first audit that finds it.
	told map[oddity]bool
}

// An oddity is what an event says of a single write.
type oddity struct {
	kind   timeline.Kind
	client int
	seq    uint64
}

// found is what one audit found of the exceptional ids.
type found struct {
	name  string
	begun time.Time
	lost  map[probes.Chunk]*set
	// absent and recovered are of those that are unknown, or not yet answered.
	absent, recovered map[probes.Chunk]*set
	// given is absent without those that are still waited for: what comes later
	// was given up by its client.
	given map[probes.Chunk]*set
}

// Audit looks for every write that was tried. It waits until the primary takes
// and gives back a barrier write, then reads; with a node it reads from that node
// as it is, except that A3 waits until the barrier has come there. ctx bounds
// the waiting and the reading.
//
// It emits an Audit event. An audit of the primary (node is nil) also emits Lost,
// Late, Phantom and Duplicate for the writes; an audit of a node, whose rows
// decide nothing, emits Phantom and Duplicate, and a Note that names how its
// rows differ from those of the primary's last audit. A write that is lost is
// told by every audit that misses it; the others once. The counts of an audit
// are always those of what it saw. An error means that the audit was not had:
// nothing is known then.
//
// Writers may run on: what they send after the audit began is left out of it.
func (w *Workload) Audit(ctx context.Context, name string, node targets.Node, emit timeline.Emit) (timeline.Audited, error) {
	w.audits.mu.Lock()
	defer w.audits.mu.Unlock()
	a := newAudit(w, name, node)
	if err := w.ready(ctx, a); err != nil {
		return timeline.Audited{}, fmt.Errorf("audit %s: %w", a.title(), err)
	}
	a.begun = time.Now()
	a.now.begun = a.begun
	if err := a.read(ctx); err != nil {
		return timeline.Audited{}, fmt.Errorf("audit %s: %w", a.title(), err)
	}
	a.ended = time.Now()
	if err := a.date(); err != nil {
		return timeline.Audited{}, fmt.Errorf("audit %s: date what is missing: %w", a.title(), err)
	}
	a.report(emit)
	w.flushLines(func(*stream) bool { return true })
	return a.out, nil
}

// readyDeadline bounds how long an audit waits for a primary that takes a write
// and gives it back, or for that write to reach a replica. Without either, there is
// no audit, and no verdict on loss.
const readyDeadline = time.Minute

// ready waits until reading makes sense: earlier, it would report false loss.
func (w *Workload) ready(ctx context.Context, a *audit) error {
	ctx, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	s := w.streams[len(w.streams)-1]
	if a.node == nil {
		return w.barrier(ctx, s)
	}
	if a.name != "A3" || w.audits.barrier == nil {
		return nil
	}
	c := probes.Chunk{Client: s.no, No: *w.audits.barrier >> probes.ChunkBits}
	for {
		var there bool
		err := w.ledger.IDs(ctx, a.node, w.cfg.Run, c, func(seq uint64) { there = there || seq == *w.audits.barrier })
		if err == nil && there {
			return nil
		}
		if !until(ctx, time.Now().Add(turn)) {
			if err == nil {
				err = ctx.Err()
			}
			return fmt.Errorf("wait until barrier write %s has come there: %w", id(c.Client, *w.audits.barrier), err)
		}
	}
}

func (w *Workload) barrier(ctx context.Context, s *stream) error {
	if err := w.keep.reserve(); err != nil {
		return err
	}
	seq, err := s.books.issue(ctx)
	if err != nil {
		return err
	}
	sent := time.Now()
	err = w.ledger.Ready(ctx, probes.Write{Run: w.cfg.Run, Client: s.no, Seq: seq, Sent: sent.Sub(w.cfg.Base)})
	ack := probes.Ack{Class: probes.Acked, Reply: "read back"}
	if err != nil {
		ack = probes.Ack{Class: probes.Unknown, Reply: "the barrier did not return"}
	}
	s.book(seq, sent, time.Now(), &ack)
	if err != nil {
		return fmt.Errorf("wait until the primary takes and gives back barrier write %s: %w", id(s.no, seq), err)
	}
	w.audits.barrier = &seq
	return nil
}

// An audit is one comparison of the books with the rows.
type audit struct {
	w            *Workload
	name         string
	node         targets.Node
	begun, ended time.Time
	views        []view
	sight, again set // of the present chunk: ids seen, and those seen again
	out          timeline.Audited
	now          found

	phantoms, twice, late []probes.Write // of each at most EventMax; Run is empty
	losses                losses
}

func newAudit(w *Workload, name string, node targets.Node) *audit {
	return &audit{w: w, name: name, node: node, now: found{
		name: name,
		lost: map[probes.Chunk]*set{}, absent: map[probes.Chunk]*set{},
		recovered: map[probes.Chunk]*set{}, given: map[probes.Chunk]*set{},
	}}
}

func (a *audit) title() string {
	if a.node == nil {
		return a.name
	}
	return a.name + " on " + a.node.Name()
}

func (a *audit) nodeName() string {
	if a.node == nil {
		return ""
	}
	return a.node.Name()
}

// read compares chunk by chunk. The books are looked at before the rows, so that
// a row which is booked must be among those read.
func (a *audit) read(ctx context.Context) error {
	for _, s := range a.w.streams {
		v := s.books.view()
		a.views = append(a.views, v)
		a.out.Acked += v.n[acked]
		a.out.Degraded += v.n[degraded]
		a.out.Failed += v.n[failed] + v.unsent
	}
	digests, err := a.w.ledger.Digests(ctx, a.node, a.w.cfg.Run)
	if err != nil {
		return fmt.Errorf("read the digests: %w", err)
	}
	dirty := a.sift(digests)
	for _, c := range dirty {
		if err := a.compare(ctx, c); err != nil {
			return fmt.Errorf("read the ids of client %d, chunk %d: %w", c.Client, c.No, err)
		}
	}
	// What is neither settled nor refused may be there or not.
	a.out.Unknown = a.out.Recovered + a.out.Absent
	return nil
}

// sift returns the chunks whose rows must be looked at one by one.
func (a *audit) sift(digests []probes.Digest) (dirty []probes.Chunk) {
	proven := map[probes.Chunk]bool{}
	for _, d := range digests {
		if d.Client >= 0 && d.Client < len(a.views) {
			if c, issued := a.views[d.Client].chunk(d.No); clean(c, issued, d) {
				proven[d.Chunk] = true
				a.out.Rows += int64(d.Count)
				continue
			}
		}
		dirty = append(dirty, d.Chunk)
	}
	for client := range a.views {
		for no := range a.views[client].len() {
			if c := (probes.Chunk{Client: client, No: no}); !proven[c] {
				dirty = append(dirty, c)
			}
		}
	}
	slices.SortFunc(dirty, compareChunks)
	return slices.Compact(dirty)
}

func compareChunks(x, y probes.Chunk) int {
	if x.Client != y.Client {
		return x.Client - y.Client
	}
	if x.No < y.No {
		return -1
	}
	if x.No > y.No {
		return 1
	}
	return 0
}

// compare reads the ids of one chunk and sorts them.
func (a *audit) compare(ctx context.Context, c probes.Chunk) error {
	a.sight, a.again = set{}, set{}
	first := c.No << probes.ChunkBits
	var stray error
	err := a.w.ledger.IDs(ctx, a.node, a.w.cfg.Run, c, func(seq uint64) {
		if seq>>probes.ChunkBits != c.No {
			stray = fmt.Errorf("the system gave id %d, which is not among those asked for", seq)
			return
		}
		a.out.Rows++
		if a.sight.has(seq - first) {
			a.out.Duplicate++
			if !a.again.has(seq - first) {
				a.again.add(seq - first)
				a.twice = note(a.twice, c.Client, seq)
			}
			return
		}
		a.sight.add(seq - first)
	})
	if err == nil {
		err = stray
	}
	if err != nil {
		return err
	}
	a.sort(c)
	return nil
}

// sort classes the ids of a chunk by the books and by the rows seen.
func (a *audit) sort(c probes.Chunk) {
	var view view
	var live uint64 // ids below were given out by now
	if c.Client >= 0 && c.Client < len(a.views) {
		view, live = a.views[c.Client], a.w.streams[c.Client].books.issued()
	}
	books, issued := view.chunk(c.No)
	first := c.No << probes.ChunkBits
	before := a.absentBefore(c)
	var lost, absent, recovered, given set
	for i, f := range a.sight {
		tried := below(issued - i*64)
		ack, degr := books.sets[acked].word(i), books.sets[degraded].word(i)
		no, unkn := books.sets[failed].word(i), books.sets[unknown].word(i)
		maybe := tried &^ (ack | degr | no) // unknown, or not yet answered
		lost[i] = (ack | degr) &^ f
		absent[i], recovered[i], given[i] = maybe&^f, maybe&f, unkn&^f
		a.out.LostDegr += int64(bits.OnesCount64(degr &^ f))
		if late := f & unkn & before[i]; late != 0 {
			a.out.Late += int64(bits.OnesCount64(late))
			each(late, func(b uint64) { a.late = note(a.late, c.Client, first+uint64(i*64)+b) })
		}
		// What was given out after the books were looked at may be there.
		asked := below64(live, first+uint64(i*64))
		if ghost := f & (no | ^(tried | asked)); ghost != 0 {
			a.out.Phantom += int64(bits.OnesCount64(ghost))
			each(ghost, func(b uint64) { a.phantoms = note(a.phantoms, c.Client, first+uint64(i*64)+b) })
		}
	}
	a.out.Lost += keepSet(a.now.lost, c, &lost)
	a.out.Absent += keepSet(a.now.absent, c, &absent)
	a.out.Recovered += keepSet(a.now.recovered, c, &recovered)
	keepSet(a.now.given, c, &given)
}

// absentBefore is what an earlier audit of the primary did not find of the
// unknown ones.
func (a *audit) absentBefore(c probes.Chunk) (s set) {
	for _, f := range a.w.audits.primary {
		for i := range s {
			s[i] |= f.given[c].word(i)
		}
	}
	return s
}

// lastAbsent is the latest earlier audit that did not find a late write.
func (a *audit) lastAbsent(w probes.Write) *found {
	c := probes.Chunk{Client: w.Client, No: w.Seq >> probes.ChunkBits}
	for _, f := range slices.Backward(a.w.audits.primary) {
		if f.given[c].has(w.Seq % chunkSize) {
			return f
		}
	}
	panic("dapple: internal error: a late write was absent in no audit")
}

// below has the lowest n bits set; n may be anything.
func below(n int) uint64 {
	switch {
	case n <= 0:
		return 0
	case n >= 64:
		return ^uint64(0)
	}
	return 1<<n - 1
}

func below64(end, from uint64) uint64 {
	if end <= from {
		return 0
	}
	return below(int(min(end-from, 64)))
}

func each(w uint64, f func(bit uint64)) {
	for ; w != 0; w &= w - 1 {
		f(uint64(bits.TrailingZeros64(w)))
	}
}

func note(list []probes.Write, client int, seq uint64) []probes.Write {
	if len(list) >= EventMax {
		return list
	}
	return append(list, probes.Write{Client: client, Seq: seq})
}

// keepSet keeps s if there is anything in it.
func keepSet(m map[probes.Chunk]*set, c probes.Chunk, s *set) int64 {
	n := s.len()
	if n > 0 {
		kept := *s
		m[c] = &kept
	}
	return n
}

func mustJSON(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("dapple: internal error: %T has no JSON: %v", v, err))
	}
	return data
}
