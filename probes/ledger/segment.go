package ledger

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A segment file holds the outcomes of one client's writes in the order in which
// they came:
//
//	magic, then frames: length (4 bytes, little endian), CRC-32C of the payload
//	(4 bytes), payload.
//
// A payload is a sequence of records that needs nothing from before it. Each
// begins with a tag, zigzag(id - last id) << 3 | class << 1 | who:
//
//	who = 0: an outcome. Then the varint of sent - last sent, and the uvarint of
//	         returned - sent, both in microseconds of the trial's clock.
//	who = 1: from here on, outcomes of this class have this node, epoch and
//	         reply, three strings of uvarint length.
//
// Sent is rounded down and returned up, so that the interval still holds the
// truth. A dense run of acks costs five to six bytes each.
const (
	magic = "dapple.ledger.1\n"
	// frameFull is when a frame is written without waiting for the next turn.
	frameFull = 32 << 10
	// frameMax guards the reader's memory; a frame can outgrow frameFull only
	// while the disk is slow, and then a writer stops at frameStop.
	frameMax  = 64 << 20
	frameStop = 16 << 20
	// stringMax is the longest string in a record; longer ones are cut.
	stringMax = 512
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A taker is who took a write, or what was said instead.
type taker struct{ node, epoch, reply string }

// An outcome is what became of one write.
type outcome struct {
	seq        uint64
	class      class
	sent, back int64 // microseconds of the trial's clock, sent ≤ back
	who        taker
}

// at rounds an interval outwards to microseconds since base.
func at(base, sent, back time.Time) (lo, hi int64) {
	lo, hi = int64(sent.Sub(base)), int64(back.Sub(base))
	return floor(lo, 1000), -floor(-hi, 1000)
}

// floor divides and rounds down, also below zero.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// A frame is a payload that grows.
type frame struct {
	buf  []byte
	seq  uint64
	sent int64
	who  [classes]taker
	set  [classes]bool
	// dropped outcomes found no room: the disk did not keep up.
	dropped int64
}

func (f *frame) reset() { *f = frame{} }

func (f *frame) add(o outcome) {
	if len(f.buf) >= frameStop {
		f.dropped++
		return
	}
	if !f.set[o.class] || f.who[o.class] != o.who {
		f.set[o.class], f.who[o.class] = true, o.who
		f.buf = binary.AppendUvarint(f.buf, uint64(o.class)<<1|1)
		for _, s := range []string{o.who.node, o.who.epoch, o.who.reply} {
			s = s[:min(len(s), stringMax)]
			f.buf = binary.AppendUvarint(f.buf, uint64(len(s)))
			f.buf = append(f.buf, s...)
		}
	}
	f.buf = binary.AppendUvarint(f.buf, zigzag(int64(o.seq-f.seq))<<3|uint64(o.class)<<1)
	f.buf = binary.AppendVarint(f.buf, o.sent-f.sent)
	f.buf = binary.AppendUvarint(f.buf, uint64(o.back-o.sent))
	f.seq, f.sent = o.seq, o.sent
}

func zigzag(d int64) uint64   { return uint64(d<<1) ^ uint64(d>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// wrap is a payload as a frame.
func wrap(payload []byte) []byte {
	head := make([]byte, 8, 8+len(payload))
	binary.LittleEndian.PutUint32(head, uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[4:], crc32.Checksum(payload, castagnoli))
	return append(head, payload...)
}

// readSegment calls see for each outcome, in order, until it returns false. It
// stops at the first frame that is not whole, and returns how many bytes it left
// out: whatever they were, the ids that they would have settled have no outcome,
// and count as unknown. An error is a file that is no segment, or a frame that
// is whole and cannot be.
func readSegment(in io.Reader, see func(outcome) bool) (torn int64, err error) {
	r := bufio.NewReaderSize(in, 64<<10)
	head := make([]byte, len(magic))
	if n, err := io.ReadFull(r, head); err != nil {
		return int64(n), clip(err)
	}
	if string(head) != magic {
		return 0, fmt.Errorf("this is no ledger segment: it begins with %q", head)
	}
	var payload bytes.Buffer
	for {
		torn, err := readFrame(r, &payload)
		if err != nil || torn > 0 || payload.Len() == 0 {
			return torn, err
		}
		more, err := decode(payload.Bytes(), see)
		if err != nil || !more {
			return 0, err
		}
	}
}

// readFrame leaves payload empty at the end of the file.
func readFrame(r io.Reader, payload *bytes.Buffer) (torn int64, err error) {
	payload.Reset()
	var head [8]byte
	n, err := io.ReadFull(r, head[:])
	if err != nil {
		return int64(n), clip(err)
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size == 0 || size > frameMax {
		return rest(r, n)
	}
	// The buffer grows as the bytes come: a length is not to be trusted with
	// memory before they are there.
	m, err := io.CopyN(payload, r, int64(size))
	if err != nil {
		payload.Reset()
		return int64(n) + m, clip(err)
	}
	if crc32.Checksum(payload.Bytes(), castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		payload.Reset()
		return rest(r, n+int(m))
	}
	return 0, nil
}

// rest is how much is left out when what comes after n bytes is not read.
func rest(r io.Reader, n int) (int64, error) {
	m, err := io.Copy(io.Discard, r)
	return int64(n) + m, err
}

// clip turns "the file ends here" into nothing.
func clip(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

var errRecord = errors.New("a ledger segment holds a record that cannot be read; was it written by another version?")

// decode reads the records of one payload.
func decode(p []byte, see func(outcome) bool) (more bool, err error) {
	d := decoder{p: p}
	var o outcome
	var who [classes]taker
	for len(d.p) > 0 {
		tag := d.uvarint()
		o.class = class(tag >> 1 & 3)
		if tag&1 == 1 {
			who[o.class] = taker{d.string(), d.string(), d.string()}
		} else {
			o.seq += uint64(unzigzag(tag >> 3))
			o.sent += d.varint()
			span := d.uvarint()
			o.back = o.sent + int64(span)
			d.bad = d.bad || o.back < o.sent
			o.who = who[o.class]
		}
		if d.bad {
			return false, errRecord
		}
		if tag&1 == 0 && !see(o) {
			return false, nil
		}
	}
	return true, nil
}

type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.p)
	d.step(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.p)
	d.step(n)
	return v
}

// step goes n bytes on; a number that does not end, or is too big, has n ≤ 0.
func (d *decoder) step(n int) {
	if n <= 0 {
		d.p, d.bad = nil, true
		return
	}
	d.p = d.p[n:]
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.p)) || n > stringMax {
		d.p, d.bad = nil, true
		return ""
	}
	s := string(d.p[:n])
	d.p = d.p[n:]
	return s
}
