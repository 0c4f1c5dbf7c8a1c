package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/reports"
)

func debriefCmd(out stdio) *cobra.Command {
	var formats []string
	c := &cobra.Command{
		Use: "debrief RUN", Short: "Write the debrief of a training from its record", Args: cobra.ExactArgs(1),
		Long: "Write the debrief of a training from its record alone. Without a path it goes to stdout.\nAs JSON it is in the record: trials[].training.",
		RunE: func(_ *cobra.Command, args []string) error {
			run, err := loadRun(args[0])
			if err != nil {
				return err
			}
			if !reports.Trained(run) {
				return usage(fmt.Errorf("nobody was trained in run %s", run.Record.Run))
			}
			for _, format := range formats {
				if err := writeDebrief(out.out, run, format); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&formats, "format", []string{"text"}, "KIND[=PATH], repeatable: "+strings.Join(debriefNames(), ", "))
	return c
}

func debriefNames() (names []string) {
	for _, f := range reports.DebriefFormats() {
		names = append(names, f.Name)
	}
	return names
}

func writeDebrief(stdout io.Writer, run reports.Run, format string) error {
	kind, path, _ := strings.Cut(format, "=")
	for _, f := range reports.DebriefFormats() {
		if f.Name == kind {
			return writeTo(stdout, path, kind+" debrief", func(w io.Writer) error { return f.Write(w, run) })
		}
	}
	return usage(fmt.Errorf("no format %q of a debrief; there are: %s", kind, strings.Join(debriefNames(), ", ")))
}
