package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/history"
)

func listCmd(io stdio) *cobra.Command {
	var asJSON, rebuild bool
	var add []string
	c := &cobra.Command{
		Use: "list", Short: "List the drills that were run, newest first", Args: cobra.NoArgs,
		Long: `List the drills of $DAPPLE_HOME/runs, newest first.

The run directories are the truth. Each finished drill is also a line of
$DAPPLE_HOME/chain.jsonl, which has the hash of its files and of the line before
(see "dapple verify"), and a row of an index, from which questions about many
drills are answered: $DAPPLE_HOME/history.db, or the PostgreSQL that the
environment variable DAPPLE_DATABASE names (postgres://user@host/database), which
several machines may share. --rebuild makes the index again from the directories
and the chain; a damaged database is moved aside, not removed.

A run that was made elsewhere (--out, another machine) is no part of the history
until --add copies it there; that it came by hand is kept with it.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if rebuild {
				if err := rebuildHistory(c.Context(), io); err != nil {
					return err
				}
			}
			if len(add) > 0 {
				if err := addToHistory(c.Context(), io, add); err != nil {
					return err
				}
			}
			if asJSON {
				return listJSON(io)
			}
			return listText(c.Context(), io)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON, with the whole records")
	c.Flags().BoolVar(&rebuild, "rebuild", false, "first make the index again from the run directories and the chain of records")
	c.Flags().StringArrayVar(&add, "add", nil, "first add a run to the history: a run directory, or an id; repeatable")
	return c
}

// listJSON reads every record.
func listJSON(io stdio) error {
	dir, err := runsDir()
	if err != nil {
		return err
	}
	entries, broken, err := history.List(dir)
	if err != nil {
		return err
	}
	sayBroken(io, broken)
	return json.NewEncoder(io.out).Encode(append([]history.Entry{}, entries...))
}

// listText asks the index, and reads only what is not in it.
func listText(ctx context.Context, io stdio) (err error) {
	dir, err := runsDir()
	if err != nil {
		return err
	}
	x, err := openHistory(ctx, io)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	runs, broken, err := x.List(ctx)
	if err != nil {
		return err
	}
	sayBroken(io, broken)
	if len(runs) == 0 {
		_, err := fmt.Fprintf(io.out, "no runs in %s\n", dir)
		return err
	}
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tSTARTED\tVERDICT\tTRIALS\tSYSTEM\tDRILL")
	for _, r := range runs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", r.Run, r.Started.Format("2006-01-02 15:04"), r.Verdict, r.Trials, r.System, r.Scenario)
	}
	return w.Flush()
}

func sayBroken(io stdio, broken []history.Broken) {
	for _, b := range broken {
		fmt.Fprintf(io.err, "dapple: %s cannot be read: %v\n", b.Dir, b.Err)
	}
}

// runsDir is where runs are kept that were not given a place by --out.
func runsDir() (string, error) {
	home, err := homeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, "runs"), nil
}
