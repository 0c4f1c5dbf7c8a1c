package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	reservedFile = "reserved.json"
	// turn is how often pending outcomes are written: what a crash of the runner
	// can make unknown of what was acknowledged.
	turn = 100 * time.Millisecond
)

// reservation is the content of reservedFile: no id at or above a client's mark
// was ever given out. It is on disk before the first id of a block is used.
type reservation struct {
	Format   string   `json:"format"`
	Run      string   `json:"run"`
	Streams  []string `json:"streams"`  // by client number
	Reserved []uint64 `json:"reserved"` // by client number
}

const format = "dapple.ledger/v1"

// A keeper keeps the books on disk.
type keeper struct {
	id, dir string // of the run
	names   []string
	books   []*books
	wake    chan struct{} // ids run low, or a frame is full

	mu    sync.Mutex
	files []*os.File
	marks []uint64
	spare []byte
	err   error
}

func newKeeper(run, dir string) *keeper {
	return &keeper{id: run, dir: dir, wake: make(chan struct{}, 1)}
}

// low asks for a turn before its time. It never waits.
func (k *keeper) low() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func segmentPath(dir string, client int) string {
	return filepath.Join(dir, fmt.Sprintf("client-%03d.seg", client))
}

// open makes the segment files. Opened again it does nothing.
func (k *keeper) open() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.files != nil {
		return nil
	}
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		return fmt.Errorf("make the ledger's directory: %w", err)
	}
	if Remains(k.dir) {
		return fmt.Errorf("%s already holds the ledger of a run: give each trial a directory of its own", k.dir)
	}
	for i := range k.books {
		f, err := os.OpenFile(segmentPath(k.dir, i), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			k.files = append(k.files, f)
			_, err = f.WriteString(magic)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("make a ledger segment: %w", err), k.closeFiles())
		}
	}
	k.marks = make([]uint64, len(k.books))
	return nil
}

// run writes and reserves until ctx ends.
func (k *keeper) run(ctx context.Context) {
	t := time.NewTicker(turn)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-k.wake:
		}
		if err := errors.Join(k.reserve(), k.flush()); err != nil {
			for _, b := range k.books {
				b.die(err)
			}
			return
		}
	}
}

// reserve raises the mark of every client that has less than half a block left,
// and allows the ids only when the marks are on disk.
func (k *keeper) reserve() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	var grown []int
	for i, b := range k.books {
		if next := b.issued(); k.marks[i]-next < block/2 {
			k.marks[i] = next + block
			grown = append(grown, i)
		}
	}
	if len(grown) == 0 {
		return nil
	}
	r := reservation{format, k.id, k.names, k.marks}
	if err := replace(filepath.Join(k.dir, reservedFile), r); err != nil {
		k.err = fmt.Errorf("reserve ids in the ledger: %w", err)
		return k.err
	}
	for _, i := range grown {
		k.books[i].grow(k.marks[i])
	}
	return nil
}

// replace writes v so that after a crash there is either the old file or the new.
func replace(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".reserved-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, ignoreGone(os.Remove(f.Name())))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// flush writes what is pending. The first error is final: what has no date in
// the segments is not written later, out of order.
func (k *keeper) flush() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, b := range k.books {
		if k.err != nil || k.files == nil {
			break
		}
		full, dropped := b.take(k.spare)
		k.spare = full
		if len(full) == 0 {
			continue
		}
		if _, err := k.files[i].Write(wrap(full)); err != nil {
			k.err = fmt.Errorf("write a ledger segment: %w", err)
		} else if dropped > 0 {
			k.err = fmt.Errorf("write a ledger segment: the disk was too slow, so that %d writes have no date", dropped)
		}
	}
	return k.err
}

func (k *keeper) failed() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// sync writes what is pending through to the disk.
func (k *keeper) sync() error {
	if err := k.flush(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.files {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("write a ledger segment through: %w", err)
		}
	}
	return nil
}

func (k *keeper) close() error {
	err := k.flush()
	k.mu.Lock()
	defer k.mu.Unlock()
	return errors.Join(err, k.closeFiles())
}

func (k *keeper) closeFiles() error {
	var errs []error
	for _, f := range k.files {
		errs = append(errs, f.Close())
	}
	k.files = nil
	return errors.Join(errs...)
}

// read calls see for every outcome of a client that was settled before the call.
func (k *keeper) read(client int, see func(outcome) bool) error {
	if err := k.flush(); err != nil {
		return err
	}
	f, err := os.Open(segmentPath(k.dir, client))
	if err != nil {
		return fmt.Errorf("read a ledger segment: %w", err)
	}
	defer f.Close()
	if _, err := readSegment(f, see); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return nil
}
