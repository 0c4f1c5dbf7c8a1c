package ledger

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Reopen opens the books that a run left in cfg.Dir, whose runner may have
// crashed, so that its writes can be audited. Of cfg it needs System, Base and
// Dir; Nodes if the streams' nodes are to be named.
//
// What was settled but not yet written, and what was reserved and perhaps never
// tried, is unknown: no id is ever taken for lost or for a phantom that need not
// be. The workload cannot be started again.
func Reopen(cfg Config) (*Workload, error) {
	r, err := readReservation(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if cfg.Run != "" && cfg.Run != r.Run {
		return nil, fmt.Errorf("%s holds the ledger of run %s, not of %s", cfg.Dir, r.Run, cfg.Run)
	}
	cfg.Run = r.Run
	w := newWorkload(cfg)
	for _, name := range r.Streams {
		k, n := parse(name, cfg.Nodes)
		w.add(name, k, n)
	}
	for i, s := range w.streams {
		if err := s.load(segmentPath(cfg.Dir, i), r.Reserved[i]); err != nil {
			return nil, err
		}
	}
	return w, w.keep.reopen(r.Reserved)
}

func readReservation(dir string) (r reservation, err error) {
	path := filepath.Join(dir, reservedFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("open the ledger of a run: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	if r.Format != format {
		return r, fmt.Errorf("%s has format %q; this dapple reads %q", path, r.Format, format)
	}
	if len(r.Streams) != len(r.Reserved) || len(r.Streams) == 0 {
		return r, fmt.Errorf("%s names %d streams and %d marks: it is damaged", path, len(r.Streams), len(r.Reserved))
	}
	return r, nil
}

// parse is the inverse of the names that New gives.
func parse(name string, nodes []targets.Node) (kind, targets.Node) {
	k, at, _ := strings.Cut(name, "/")
	for _, n := range nodes {
		if n.Name() == at && (k == "old" || k == "direct") {
			return map[string]kind{"old": old, "direct": direct}[k], n
		}
	}
	switch k {
	case "app":
		return app, nil
	case "fresh":
		return fresh, nil
	case "old":
		return old, nil
	case "direct":
		return direct, nil
	}
	return barrier, nil
}

// load books what the segment holds.
func (s *stream) load(path string, reserved uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the ledger of a run: %w", err)
	}
	defer f.Close()
	b := &s.books
	var bad error
	_, err = readSegment(f, func(o outcome) bool {
		if o.seq >= reserved {
			bad = fmt.Errorf("id %d was never reserved", o.seq)
			return false
		}
		if b.known(o.seq) {
			bad = fmt.Errorf("id %d is settled twice", o.seq)
			return false
		}
		b.mark(o.seq, o.class)
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	b.next, b.reserved = reserved, reserved
	b.doubt()
	return nil
}

// doubt settles as unknown what was given out, or may have been, and has no
// outcome.
func (b *books) doubt() {
	for seq := uint64(0); seq < b.next; {
		no := seq >> probes.ChunkBits
		if no < uint64(len(b.chunks)) && b.chunks[no].settled() == chunkSize {
			seq += chunkSize
			continue
		}
		for end := min(b.next, (no+1)<<probes.ChunkBits); seq < end; seq++ {
			if !b.known(seq) {
				b.mark(seq, unknown)
			}
		}
	}
}

// known says whether an id has an outcome.
func (b *books) known(seq uint64) bool {
	no := seq >> probes.ChunkBits
	if no >= uint64(len(b.chunks)) {
		return false
	}
	for _, s := range b.chunks[no].sets {
		if s.has(seq % chunkSize) {
			return true
		}
	}
	return false
}

// reopen appends to the segments that are there. A torn end is cut off, so that
// what is written now can be read.
func (k *keeper) reopen(marks []uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.books {
		f, err := openWhole(segmentPath(k.dir, i))
		if err != nil {
			return fmt.Errorf("open the ledger of a run: %w", err)
		}
		k.files = append(k.files, f)
	}
	k.marks = marks
	return nil
}

func openWhole(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	torn, err := readSegment(f, func(outcome) bool { return true })
	if err == nil {
		err = cutTail(f, torn)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func cutTail(f *os.File, torn int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	whole := info.Size() - torn
	if err := f.Truncate(whole); err != nil {
		return err
	}
	if whole == 0 {
		_, err := f.WriteAt([]byte(magic), 0)
		whole = int64(len(magic))
		if err != nil {
			return err
		}
	}
	_, err = f.Seek(whole, 0)
	return err
}
