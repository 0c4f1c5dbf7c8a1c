package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/reports"
)

func judgeCmd(io stdio) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "judge RUN",
		Short: "Judge a run again, from its record and timeline",
		Long: `Judge a run (an id, or a run directory) again, from its timeline and what its
record says of objectives and settings. The record itself is not changed. The
exit code is that of the new verdict.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			run, err := loadRun(args[0])
			if err != nil {
				return err
			}
			run.Record = drills.Rejudge(run.Record, run.Timeline)
			if asJSON {
				err = json.NewEncoder(io.out).Encode(run.Record)
			} else {
				err = reports.Text(io.out, run, paint(io.out))
			}
			if err != nil {
				return err
			}
			return exit(run.Record.ExitCode)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "the whole record as JSON")
	return c
}

func showCmd(io stdio) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "show RUN", Short: "Show a run: its verdict, numbers and findings", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			run, err := loadRun(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeFormat(io.out, run, "json")
			}
			return reports.Text(io.out, run, paint(io.out))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "the record as JSON")
	return c
}
