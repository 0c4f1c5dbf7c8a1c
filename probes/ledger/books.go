package ledger

import (
	"context"
	"fmt"
	"math/bits"
	"sync"

	"github.com/dapple-drills/dapple/probes"
)

const (
	chunkSize = 1 << probes.ChunkBits
	words     = chunkSize / 64
	// block is how many ids are reserved at a time. At 20,000 writes per second
	// over 8 clients that is an fsync every 0.8 s, and after a crash of the
	// runner at most this many ids per client are in doubt.
	block = 4096
)

// A class is a probes.Class in two bits.
type class uint8

const (
	acked class = iota
	degraded
	unknown
	failed
	classes
)

var classNames = [classes]probes.Class{probes.Acked, probes.Degraded, probes.Unknown, probes.Failed}

func (c class) String() string { return string(classNames[c]) }

// classOf maps what a system calls the outcome. What it has no word for may
// have left and has no definite reply: unknown.
func classOf(c probes.Class) class {
	for i, name := range classNames {
		if c == name {
			return class(i)
		}
	}
	return unknown
}

// A set is one bit per id of a chunk.
type set [words]uint64

func (s *set) has(i uint64) bool { return s != nil && s[i/64]&(1<<(i%64)) != 0 }
func (s *set) add(i uint64)      { s[i/64] |= 1 << (i % 64) }

// word is the i'th word of a set that may not be there.
func (s *set) word(i int) uint64 {
	if s == nil {
		return 0
	}
	return s[i]
}

func (s *set) len() (n int64) {
	for _, w := range s {
		n += int64(bits.OnesCount64(w))
	}
	return n
}

// A chunk is what became of the ids [no << ChunkBits, (no+1) << ChunkBits).
// Nearly all of them hold acked writes alone; the other sets are made when they
// are needed.
type chunk struct {
	sets [classes]*set
	n    [classes]int
	hash uint64 // XOR of HashID of the acked ones
}

func (c *chunk) settled() int { return c.n[acked] + c.n[degraded] + c.n[unknown] + c.n[failed] }

// books are the outcomes of one client's writes.
type books struct {
	low func() // tells the keeper that ids run out

	mu       sync.Mutex
	next     uint64 // ids below were given out
	reserved uint64 // ids below may be given out: so it is written on disk
	more     chan struct{}
	dead     error // why no more ids will come
	chunks   []*chunk
	n        [classes]int64
	unsent   int64 // failed before it got an id
	frame    frame
}

func (b *books) init(low func()) {
	b.low = low
	b.more = make(chan struct{})
	b.frame.reset()
}

// issue gives out the next id. It waits only if the disk is slower than the
// writes by a whole block.
func (b *books) issue(ctx context.Context) (uint64, error) {
	for {
		b.mu.Lock()
		if b.next < b.reserved {
			seq := b.next
			b.next++
			low := b.reserved-b.next < block/2
			b.mu.Unlock()
			if low {
				b.low()
			}
			return seq, nil
		}
		more, dead := b.more, b.dead
		b.mu.Unlock()
		if dead != nil {
			return 0, dead
		}
		b.low()
		select {
		case <-more:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// grow allows ids below reserved to be given out.
func (b *books) grow(reserved uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved = reserved
	close(b.more)
	b.more = make(chan struct{})
}

// die ends the giving out of ids.
func (b *books) die(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dead == nil {
		b.dead = err
		close(b.more)
		b.more = make(chan struct{})
	}
}

// settle books an outcome, and says whether the pending frame is full.
func (b *books) settle(o outcome) (full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark(o.seq, o.class)
	b.frame.add(o)
	return len(b.frame.buf) >= frameFull
}

func (b *books) mark(seq uint64, c class) {
	no := int(seq >> probes.ChunkBits)
	for len(b.chunks) <= no {
		b.chunks = append(b.chunks, &chunk{})
	}
	ch := b.chunks[no]
	if ch.sets[c] == nil {
		ch.sets[c] = new(set)
	}
	ch.sets[c].add(seq % chunkSize)
	ch.n[c]++
	b.n[c]++
	if c == acked {
		ch.hash ^= probes.HashID(seq)
	}
}

func (b *books) miss(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsent += n
}

func (b *books) issued() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

// take returns the pending frame and begins a new one in the room of empty.
func (b *books) take(empty []byte) (full []byte, dropped int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	full, dropped = b.frame.buf, b.frame.dropped
	b.frame.reset()
	b.frame.buf = empty[:0]
	return full, dropped
}

// A view is the books of one client at one moment. Chunks in which nothing can
// change any more are shared with the books.
type view struct {
	next   uint64
	chunks []*chunk
	n      [classes]int64
	unsent int64
}

func (b *books) view() view {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := view{next: b.next, chunks: make([]*chunk, len(b.chunks)), n: b.n, unsent: b.unsent}
	for i, c := range b.chunks {
		v.chunks[i] = c
		if c.settled() < chunkSize {
			v.chunks[i] = c.clone()
		}
	}
	return v
}

func (c *chunk) clone() *chunk {
	d := *c
	for i, s := range c.sets {
		if s != nil {
			t := *s
			d.sets[i] = &t
		}
	}
	return &d
}

// chunk is the part of the view that a chunk covers, and how many of its ids
// were given out.
func (v *view) chunk(no uint64) (c *chunk, issued int) {
	if no < uint64(len(v.chunks)) {
		c = v.chunks[no]
	} else {
		c = &chunk{}
	}
	if first := no << probes.ChunkBits; v.next > first {
		issued = int(min(v.next-first, chunkSize))
	}
	return c, issued
}

func (v *view) len() uint64 { return (v.next + chunkSize - 1) >> probes.ChunkBits }

// clean says whether the digest proves that exactly the acked ids are there. A
// chunk that holds anything but acked ids is never clean: what is unknown may be
// there or not, and what failed must not.
func clean(c *chunk, issued int, d probes.Digest) bool {
	if issued == 0 || c.n[acked] != issued || c.settled() != issued {
		return false
	}
	first := d.No << probes.ChunkBits
	return d.Count == uint64(issued) && d.Min == first && d.Max == first+uint64(issued)-1 &&
		(d.Hash == 0 || d.Hash == c.hash)
}

func id(client int, seq uint64) string { return fmt.Sprintf("%d/%d", client, seq) }
