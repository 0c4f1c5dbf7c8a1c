// Package history finds the records of earlier drills in a directory of runs.
//
// The run directories are the truth; there is no index to get out of step with
// them. It reads records only, and judges nothing.
package history

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills"
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
		if !item.IsDir() {
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

// Latest returns the hash of the newest record in dir, which the next record
// names as its predecessor; "" if there is none.
func Latest(dir string) (sha string, err error) {
	entries, _, err := List(dir)
	if err != nil || len(entries) == 0 {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(entries[0].Dir, "record.json"))
	if err != nil {
		return "", fmt.Errorf("hash the newest record: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
