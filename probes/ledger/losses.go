package ledger

import (
	"bufio"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// losses are the lost writes of an audit with their dates.
type losses struct {
	earliest byBack // at most EventMax
	dates    map[probes.Write]outcome
	survivor *outcome
	file     string // as the record calls it
}

// A loss is one lost write.
type loss struct {
	client int
	outcome
}

// byBack is a heap whose root is the one acknowledged last, so that the earliest
// losses stay, however many there are.
type byBack []loss

func (h byBack) Len() int           { return len(h) }
func (h byBack) Less(i, j int) bool { return h[i].back > h[j].back }
func (h byBack) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byBack) Push(x any)        { *h = append(*h, x.(loss)) }
func (h *byBack) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (h *byBack) offer(l loss) {
	if len(*h) < EventMax {
		heap.Push(h, l)
	} else if l.back < (*h)[0].back {
		(*h)[0] = l
		heap.Fix(h, 0)
	}
}

// date reads back when lost and phantom writes were sent and answered, and by
// whom. An audit that missed nothing reads nothing.
func (a *audit) date() error {
	a.losses.dates = map[probes.Write]outcome{}
	for _, p := range a.phantoms {
		a.losses.dates[p] = outcome{}
	}
	if a.out.Lost == 0 && len(a.phantoms) == 0 {
		return nil
	}
	file, err := a.lossFile()
	if err != nil {
		return err
	}
	list := bufio.NewWriter(file)
	for client := range a.views {
		if err := a.dateClient(client, list); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	if err := errors.Join(list.Flush(), file.Close()); err != nil {
		return fmt.Errorf("list the lost writes: %w", err)
	}
	slices.SortFunc(a.losses.earliest, func(x, y loss) int {
		return int(min(max(x.back-y.back, -1), 1))
	})
	return a.findSurvivor()
}

func (a *audit) lossFile() (*os.File, error) {
	name := "lost-" + a.name
	if a.node != nil {
		name += "-" + filepath.Base(a.node.Name())
	}
	name += ".txt"
	f, err := os.Create(filepath.Join(a.w.cfg.Dir, name))
	if err != nil {
		return nil, fmt.Errorf("list the lost writes: %w", err)
	}
	if a.out.Lost > 0 {
		a.losses.file = filepath.Join(a.w.cfg.Shown, name)
	}
	_, err = f.WriteString("# id stream class sent_ms acknowledged_ms node epoch\n")
	return f, err
}

// dateClient reads one client's segment if it has any use for it.
func (a *audit) dateClient(client int, list io.Writer) error {
	missing := a.lostOf(client)
	ghosts := slices.ContainsFunc(a.phantoms, func(w probes.Write) bool { return w.Client == client })
	if missing == 0 && !ghosts {
		return nil
	}
	var failed error
	err := a.w.keep.read(client, func(o outcome) bool {
		switch {
		case a.isLost(client, o.seq):
			missing--
			a.losses.earliest.offer(loss{client, o})
			_, failed = fmt.Fprintf(list, "%s %s %s %.3f %.3f %s %s\n", id(client, o.seq), a.w.streams[client].name,
				o.class, float64(o.sent)/1000, float64(o.back)/1000, o.who.node, o.who.epoch)
		case ghosts:
			w := probes.Write{Client: client, Seq: o.seq}
			if _, ok := a.losses.dates[w]; ok {
				a.losses.dates[w] = o
			}
		}
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if missing != 0 {
		return fmt.Errorf("the segment of client %d has no date for %d of its lost writes", client, missing)
	}
	return nil
}

func (a *audit) lostOf(client int) (n int64) {
	for c, s := range a.now.lost {
		if c.Client == client {
			n += s.len()
		}
	}
	return n
}

func (a *audit) isLost(client int, seq uint64) bool {
	return a.now.lost[probes.Chunk{Client: client, No: seq >> probes.ChunkBits}].has(seq % chunkSize)
}

// findSurvivor finds the latest acknowledged write that is there and was
// acknowledged before the earliest loss: the state that was come back to is at
// least as old.
func (a *audit) findSurvivor() error {
	if len(a.losses.earliest) == 0 {
		return nil
	}
	limit := a.losses.earliest[0].back
	for client := range a.views {
		err := a.w.keep.read(client, func(o outcome) bool {
			if o.class > degraded || o.back >= limit || a.isLost(client, o.seq) {
				return true
			}
			if s := a.losses.survivor; s == nil || o.back > s.back {
				a.losses.survivor = &o
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// report emits what the audit found.
func (a *audit) report(emit timeline.Emit) {
	a.out.TookMS = timeline.MS(a.ended.Sub(a.begun))
	a.out.LostFile = a.losses.file
	if s := a.losses.survivor; s != nil {
		a.out.SurvivorMS = []float64{float64(s.sent) / 1000, float64(s.back) / 1000}
	}
	emit(a.begun, a.ended, timeline.Event{
		Kind: timeline.Audit, By: By, Value: a.name, Node: a.nodeName(), Data: mustJSON(a.out),
	})
	if a.node == nil {
		a.tellLost(emit)
		a.tellLate(emit)
	}
	a.tellPhantoms(emit)
	for _, d := range a.twice {
		a.tell(emit, d, a.begun, a.ended, timeline.Event{Kind: timeline.Duplicate, Node: a.nodeName(), Evidence: a.title()})
	}
	a.tellDifference(emit)
	if a.node == nil {
		a.w.audits.primary = append(a.w.audits.primary, &a.now)
	}
}

func (a *audit) tellLost(emit timeline.Emit) {
	base := a.w.cfg.Base
	for _, l := range a.losses.earliest {
		emit(micros(base, l.sent), micros(base, l.back), timeline.Event{
			Kind: timeline.Lost, By: a.w.streams[l.client].name, Value: id(l.client, l.seq),
			Node: l.who.node, Epoch: l.who.epoch, Evidence: a.title(),
			Data: mustJSON(map[string]string{"class": l.class.String()}),
		})
	}
}

func micros(base time.Time, us int64) time.Time {
	return base.Add(time.Duration(us) * time.Microsecond)
}

func (a *audit) tellLate(emit timeline.Emit) {
	for _, l := range a.late {
		before := a.lastAbsent(l)
		a.tell(emit, l, before.begun, a.ended, timeline.Event{
			Kind: timeline.Late, Evidence: fmt.Sprintf("absent in %s, present in %s", before.name, a.title()),
		})
	}
}

func (a *audit) tellPhantoms(emit timeline.Emit) {
	for _, p := range a.phantoms {
		lo, hi, why := a.begun, a.ended, "it was never tried"
		if o := a.losses.dates[p]; o.class == failed {
			lo, hi = micros(a.w.cfg.Base, o.sent), micros(a.w.cfg.Base, o.back)
			why = "it was refused: " + o.who.reply
		}
		a.tell(emit, p, lo, hi, timeline.Event{Kind: timeline.Phantom, Node: a.nodeName(), Evidence: a.title() + ": " + why})
	}
}

// tell emits an event about a single write, if no audit has.
func (a *audit) tell(emit timeline.Emit, w probes.Write, lo, hi time.Time, e timeline.Event) {
	o := oddity{e.Kind, w.Client, w.Seq}
	if a.w.audits.told[o] {
		return
	}
	if a.w.audits.told == nil {
		a.w.audits.told = map[oddity]bool{}
	}
	a.w.audits.told[o] = true
	e.By, e.Value = a.stream(w), id(w.Client, w.Seq)
	emit(lo, hi, e)
}

func (a *audit) stream(w probes.Write) string {
	if w.Client < 0 || w.Client >= len(a.w.streams) {
		return By
	}
	return a.w.streams[w.Client].name
}

// tellDifference says how the rows differ from those of the last audit of the
// primary: rows that were erased since, or came back, or are on one node only.
func (a *audit) tellDifference(emit timeline.Emit) {
	if len(a.w.audits.primary) == 0 {
		return
	}
	p := a.w.audits.primary[len(a.w.audits.primary)-1]
	erased, gone := minus(a.now.lost, p.lost)
	undone, alsoGone := common(a.now.absent, p.recovered)
	back, there := minus(p.lost, a.now.lost)
	came, alsoThere := common(a.now.recovered, p.absent)
	if erased+undone+back+came == 0 {
		return
	}
	emit(a.begun, a.ended, timeline.Event{
		Kind: timeline.Note, By: By, Node: a.nodeName(), Value: "the rows differ from those of " + p.name,
		Evidence: fmt.Sprintf("%s: %d missing%s, %d more%s", a.title(),
			erased+undone, first(append(gone, alsoGone...)), back+came, first(append(there, alsoThere...))),
		N: erased + undone + back + came,
	})
}

// minus counts the ids of x that are not in y, and names some.
func minus(x, y map[probes.Chunk]*set) (n int64, some []string) {
	return pick(x, func(c probes.Chunk, i int) uint64 { return x[c][i] &^ y[c].word(i) })
}

func common(x, y map[probes.Chunk]*set) (n int64, some []string) {
	return pick(x, func(c probes.Chunk, i int) uint64 { return x[c][i] & y[c].word(i) })
}

const someMax = 3

func pick(x map[probes.Chunk]*set, word func(c probes.Chunk, i int) uint64) (n int64, some []string) {
	chunks := make([]probes.Chunk, 0, len(x))
	for c := range x {
		chunks = append(chunks, c)
	}
	slices.SortFunc(chunks, compareChunks)
	for _, c := range chunks {
		for i := range words {
			each(word(c, i), func(b uint64) {
				n++
				if len(some) < someMax {
					some = append(some, id(c.Client, c.No<<probes.ChunkBits+uint64(i*64)+b))
				}
			})
		}
	}
	return n, some
}

func first(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprintf(" (first %v)", ids[:min(len(ids), someMax)])
}
