package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/internal/diag"
)

// databaseEnv names the PostgreSQL of the history; a DSN may hold a password, so
// it is no flag.
const databaseEnv = "DAPPLE_DATABASE"

// openHistory opens the history for who only asks: what is wrong with the database
// is said, and the answer comes from the run directories.
func openHistory(ctx context.Context, io stdio) (*history.Index, error) {
	home, err := homeDir()
	if err != nil {
		return nil, err
	}
	x, why, err := history.OpenAnyway(ctx, home, os.Getenv(databaseEnv))
	if err != nil {
		return nil, err
	}
	if why != nil {
		say(io, diag.Hint(why, "what follows was read from the run directories"))
	}
	return x, nil
}

// remember puts a finished run into the history: first into the chain, then into
// the database. Whatever is wrong with either is said, and is no fault of the
// drill's: its verdict and its exit code stay as they are.
func remember(ctx context.Context, io stdio, dir string) {
	home, err := homeDir()
	if err != nil {
		say(io, err)
		return
	}
	if filepath.Dir(dir) != filepath.Join(home, "runs") {
		return // --out: it is where its owner wants it, who may add it later
	}
	ctx = context.WithoutCancel(ctx) // an interrupted drill is one, too
	if _, err := history.Keep(ctx, home, history.ByDrill, operator(), dir); err != nil {
		if !errors.Is(err, history.ErrUnfinished) {
			say(io, diag.Hint(fmt.Errorf("the record is in %s, and could not be added to the chain of records: %w", dir, err), "`dapple list --add "+filepath.Base(dir)+"` adds it"))
		}
		return
	}
	x, err := history.Open(ctx, home, os.Getenv(databaseEnv))
	if err == nil {
		err = x.Close()
	}
	if err != nil {
		say(io, fmt.Errorf("the record is in %s and in the chain of records, and not yet in the index: %w", dir, err))
	}
}

// rebuildHistory makes the index again.
func rebuildHistory(ctx context.Context, io stdio) error {
	home, err := homeDir()
	if err != nil {
		return err
	}
	n, aside, err := history.Rebuild(ctx, home, os.Getenv(databaseEnv))
	if aside != "" {
		fmt.Fprintf(io.err, "the database could not be used and is now %s\n", aside)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.err, "the index was made again: %d runs\n", n)
	return err
}

// addToHistory takes in runs that no drill of this home has kept: those that lie
// among its runs, and copies of others.
func addToHistory(ctx context.Context, io stdio, names []string) error {
	home, err := homeDir()
	if err != nil {
		return err
	}
	runs, err := runsDir()
	if err != nil {
		return err
	}
	var dirs []string
	for _, name := range names {
		dir, err := history.Find(runs, name)
		if err != nil {
			return usage(err)
		}
		if dir, err = history.Import(runs, dir); err != nil {
			return usage(err)
		}
		dirs = append(dirs, dir)
	}
	added, err := history.Keep(ctx, home, history.ByHand, operator(), dirs...)
	if err != nil {
		return usage(err)
	}
	_, err = fmt.Fprintf(io.err, "%d of %d runs were added to the chain of records; the others were in it\n", len(added), len(dirs))
	return err
}
