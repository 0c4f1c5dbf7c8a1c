package history

import (
	"context"
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

// List returns every run that the index knows and every other one that is in the
// home's runs, newest first, and the directories whose record cannot be read or is
// gone. Only what is not in the index is read from its directory.
func (x *Index) List(ctx context.Context) (runs []Run, broken []Broken, err error) {
	indexed, err := x.Runs(ctx, Query{})
	if err != nil {
		return nil, nil, err
	}
	items, err := os.ReadDir(x.runs())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("list the runs: %w", err)
	}
	there := map[string]bool{}
	for _, item := range items {
		there[filepath.Join(x.runs(), item.Name())] = item.IsDir() && !durable.IsTemp(item.Name())
	}
	for _, r := range indexed {
		gone := r.Dir != "" && !there[r.Dir]
		if gone || r.Finished.IsZero() { // the row of a record that is not what the chain says
			why := fmt.Errorf("run %s is in the chain of records, and its directory is gone or was changed: see dapple verify", r.Run)
			broken = append(broken, Broken{r.Dir, why, why.Error()})
		} else {
			runs = append(runs, r)
		}
		delete(there, r.Dir)
	}
	for dir, is := range there {
		if !is {
			continue
		}
		rec, err := drills.ReadRecord(dir)
		if err != nil {
			broken = append(broken, Broken{dir, err, err.Error()})
			continue
		}
		runs = append(runs, fromRecord(dir, &rec))
	}
	slices.SortStableFunc(runs, func(a, b Run) int { return b.Started.Compare(a.Started) })
	slices.SortFunc(broken, func(a, b Broken) int { return strings.Compare(a.Dir, b.Dir) })
	return runs, broken, nil
}
