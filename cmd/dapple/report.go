package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/reports"
)

func reportCmd(io stdio) *cobra.Command {
	var formats, beside []string
	var open bool
	c := &cobra.Command{
		Use:   "report RUN",
		Short: "Write a report of a run from its record",
		Long:  "Write a report of a run (an id, or a run directory) from its record alone.\nWithout a path it goes to stdout: --format html=report.html writes a file.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			run, err := loadRun(args[0])
			if err != nil {
				return err
			}
			for _, name := range beside {
				other, err := loadRun(name)
				if err != nil {
					return err
				}
				run.Beside = append(run.Beside, other.Record)
			}
			if open {
				if err := openReport(c.Context(), io, run); err != nil || len(formats) == 0 {
					return err
				}
			}
			if len(formats) == 0 {
				formats = []string{"text"}
			}
			for _, f := range formats {
				if err := writeFormat(io.out, run, f); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&formats, "format", nil, "KIND[=PATH], repeatable: "+formatNames())
	c.Flags().StringArrayVar(&beside, "beside", nil, "another run of the same drill, repeatable: its trials with --phase worst or best are drawn into the curve of the series (html)")
	c.Flags().BoolVar(&open, "open", false, "show the page with the program of this desktop, or with $BROWSER")
	return c
}

// writeFormat writes one report: KIND to stdout, KIND=PATH to the file.
func writeFormat(stdout io.Writer, run reports.Run, format string) error {
	kind, path, _ := strings.Cut(format, "=")
	f, err := reports.Find(kind)
	if err != nil {
		return usage(err)
	}
	return writeTo(stdout, path, kind, func(w io.Writer) error { return f.Write(w, run) })
}

// writeTo writes a report of that kind to a file, or to stdout if none is named.
func writeTo(stdout io.Writer, path, kind string, write func(io.Writer) error) (err error) {
	if path == "" {
		return write(stdout)
	}
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the %s report: %w", kind, err)
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	return write(out)
}

// formatNames lists the report formats for a help text.
func formatNames() string {
	var names []string
	for _, f := range reports.Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// loadRun finds a run by id or directory and reads it.
func loadRun(name string) (reports.Run, error) {
	dir, err := runsDir()
	if err != nil {
		return reports.Run{}, err
	}
	found, err := history.Find(dir, name)
	if err != nil {
		return reports.Run{}, usage(err)
	}
	run, err := reports.Load(found)
	if err != nil {
		return reports.Run{}, usage(err)
	}
	return run, nil
}
