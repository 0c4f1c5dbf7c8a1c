// Package durable replaces and removes files so that a crash of the machine
// leaves the old content or the new one, never a mixture, and so that what was
// reported as done is still done after the crash.
//
// Atomic is not durable: a rename is atomic in the eyes of other processes, but
// without a sync of the directory a power cut may take it back. The undo record
// of a fault must not vanish like that, so the directory is synced as well.
//
// The package does not append, does not lock and does not keep versions.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// TempPrefix begins the name of a file that is still being written. What is
// found under such a name after a crash was never there.
const TempPrefix = ".tmp-"

// WriteFile makes path hold data. Once it returns nil, data survives a crash of
// the machine; if it returns an error, path holds what it held before, or data.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, func(stage) error { return nil })
}

// Remove removes path, durably. A path that is not there is no error.
func Remove(path string) error {
	return remove(path, func(stage) error { return nil })
}

// MkdirAll makes dir and its missing parents, durably.
func MkdirAll(dir string, perm fs.FileMode) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, perm); err != nil {
		if info, later := os.Stat(dir); later != nil || !info.IsDir() { // else another process was first
			return fmt.Errorf("making directory: %w", err)
		}
	}
	return syncDir(parent)
}

// IsTemp says whether name is one of a file that was being written.
func IsTemp(name string) bool { return strings.HasPrefix(filepath.Base(name), TempPrefix) }

// A stage is a point at which a crash is survived; tests crash there.
type stage string

const (
	created stage = "created"
	written stage = "written"
	synced  stage = "synced"
	closed  stage = "closed"
	renamed stage = "renamed"
	removed stage = "removed"
)

func write(path string, data []byte, perm fs.FileMode, at func(stage) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), TempPrefix)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	open, here := true, true
	defer func() {
		if open {
			err = errors.Join(err, tmp.Close())
		}
		if here {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	steps := []struct {
		do  func() error
		end stage
	}{
		{func() error { return errors.Join(tmp.Chmod(perm), give(tmp)) }, created},
		{func() error { _, err := tmp.Write(data); return err }, written},
		{tmp.Sync, synced},
		{func() error { open = false; return tmp.Close() }, closed},
		{func() error {
			err := os.Rename(tmp.Name(), path)
			here = err != nil
			return err
		}, renamed},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		if err := at(s.end); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	return syncDir(filepath.Dir(path))
}

func remove(path string, at func(stage) error) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	if err := at(removed); err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing directory %s: %w", dir, err)
	}
	return nil
}
