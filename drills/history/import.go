package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/internal/durable"
)

// Import copies a run directory that is elsewhere into runs, as it is, and returns
// where it is then. One that is in runs already is left alone.
func Import(runs, dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if filepath.Dir(abs) == runs {
		return abs, nil
	}
	rec, err := drills.ReadRecord(abs)
	if err != nil {
		return "", err
	}
	if rec.Finished.IsZero() {
		return "", fmt.Errorf("add %s to the history: %w", dir, ErrUnfinished)
	}
	if rec.Run == "" || filepath.Base(rec.Run) != rec.Run || durable.IsTemp(rec.Run) {
		return "", fmt.Errorf("add %s to the history: its record says the id %q", dir, rec.Run)
	}
	if err := durable.MkdirAll(runs, 0o700); err != nil {
		return "", err
	}
	there, err := filepath.Glob(filepath.Join(runs, rec.Run+"*", recordFile))
	if err != nil || len(there) > 0 {
		return "", errors.Join(err, fmt.Errorf("add %s to the history: the run %s is there already: %v", dir, rec.Run, there))
	}
	to, tmp := filepath.Join(runs, rec.Run), filepath.Join(runs, durable.TempPrefix+rec.Run)
	if err := os.CopyFS(tmp, os.DirFS(abs)); err != nil {
		return "", errors.Join(fmt.Errorf("copy %s into the history: %w", dir, err), os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, to); err != nil {
		return "", errors.Join(fmt.Errorf("copy %s into the history: %w", dir, err), os.RemoveAll(tmp))
	}
	return to, nil
}
