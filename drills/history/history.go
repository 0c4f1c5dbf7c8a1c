// Package history knows the records of earlier drills. It keeps three things in a
// home ($DAPPLE_HOME):
//
//	runs/        the run directories: the truth, as drills leave them
//	chain.jsonl  a line for each record, with its hashes and that of the line
//	             before: append-only, so that a changed record is seen
//	history.db   an index for questions about many of them; or a PostgreSQL
//
// The index is made from the other two, at will, and nothing is lost with it. The
// package reads records and judges nothing; it never changes a run directory.
package history

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/internal/durable"
)

// An Entry is one run.
type Entry struct {
	Dir    string        `json:"dir"`
	Record drills.Record `json:"record"`
}

// A Broken run is a directory whose record cannot be read.
type Broken struct {
	Dir string `json:"dir"`
	Err error  `json:"-"`
	Why string `json:"why"`
}

// List returns the runs in dir, newest first, and those that cannot be read. A
// directory that is not there holds no runs.
func List(dir string) (entries []Entry, broken []Broken, err error) {
	items, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list the runs: %w", err)
	}
	for _, item := range items {
		if !item.IsDir() || durable.IsTemp(item.Name()) {
			continue
		}
		path := filepath.Join(dir, item.Name())
		rec, err := drills.ReadRecord(path)
		if err != nil {
			broken = append(broken, Broken{path, err, err.Error()})
			continue
		}
		entries = append(entries, Entry{path, rec})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return b.Record.Started.Compare(a.Record.Started) })
	return entries, broken, nil
}

// Find returns the directory of run, which is a directory itself, an id, or the
// beginning of exactly one id in dir.
func Find(dir, run string) (string, error) {
	if _, err := os.Stat(filepath.Join(run, "record.json")); err == nil {
		return run, nil
	}
	entries, _, err := List(dir)
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if e.Record.Run == run {
			return e.Dir, nil
		}
		if strings.HasPrefix(e.Record.Run, run) {
			found = append(found, e.Dir)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("no run %q: it is neither a directory with a record.json nor an id in %s (see dapple list)", run, dir)
	default:
		return "", fmt.Errorf("run %q is ambiguous: %s", run, strings.Join(found, ", "))
	}
}

// Previous returns the hash of the record that came before: that of the last one
// in the chain of home, or of the newest that is there if there is no chain yet;
// "" if there is none. The next record names it as its predecessor.
func Previous(home string) (sha string, err error) {
	_, links, _, err := ChainFile(home).Read()
	if err != nil {
		return "", err
	}
	if n := len(links); n > 0 {
		return links[n-1].Record, nil
	}
	entries, _, err := List(filepath.Join(home, "runs"))
	if err != nil || len(entries) == 0 {
		return "", err
	}
	if sha, err = hashFile(filepath.Join(entries[0].Dir, recordFile)); err != nil {
		return "", fmt.Errorf("hash the newest record: %w", err)
	}
	return sha, nil
}
