package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/history"
)

func listCmd(io stdio) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the drills that were run, newest first", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := runsDir()
			if err != nil {
				return err
			}
			entries, broken, err := history.List(dir)
			if err != nil {
				return err
			}
			for _, b := range broken {
				fmt.Fprintf(io.err, "dapple: %s cannot be read: %v\n", b.Dir, b.Err)
			}
			if asJSON {
				return json.NewEncoder(io.out).Encode(append([]history.Entry{}, entries...))
			}
			return printList(io, dir, entries)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON, with the whole records")
	return c
}

func printList(io stdio, dir string, entries []history.Entry) error {
	if len(entries) == 0 {
		_, err := fmt.Fprintf(io.out, "no runs in %s\n", dir)
		return err
	}
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tSTARTED\tVERDICT\tTRIALS\tSYSTEM\tDRILL")
	for _, e := range entries {
		r := e.Record
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", r.Run, r.Started.Format("2006-01-02 15:04"), r.Verdict, len(r.Trials), r.System.Name, r.Drill.Name)
	}
	return w.Flush()
}

// runsDir is where runs are kept that were not given a place by --out.
func runsDir() (string, error) {
	home, err := homeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, "runs"), nil
}
