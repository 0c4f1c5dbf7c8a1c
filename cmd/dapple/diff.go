package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports"
)

func diffCmd(out stdio) *cobra.Command {
	var formats []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "diff BEFORE AFTER",
		Short: "Compare two runs: what was changed, and which differences are proven",
		Long: `Compare two runs (ids, or run directories), before and after a change. Settings,
versions, objectives and parts of the scenario that differ are listed, and every
metric with its difference. A difference is

  within the error bars  if both medians may be the same;
  beyond the error bars  if they are not, but so few trials may differ by chance;
  beyond chance          if trials of one and the same system would be so far
                         apart in at most one of twenty such comparisons.

One trial each never shows more than the second. The exit code is 0 whatever the
difference: what is a miss is said by objectives.`,
		Example: `  dapple diff 01m8ar 01m8b2
  dapple diff before/ after/ --format md=diff.md`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			before, err := loadRun(args[0])
			if err != nil {
				return err
			}
			after, err := loadRun(args[1])
			if err != nil {
				return err
			}
			if len(formats) == 0 {
				formats = []string{"text"}
			}
			if asJSON {
				formats = []string{"json"}
			}
			return writeDiff(out, reports.Compare(before, after), formats)
		},
	}
	c.Flags().StringArrayVar(&formats, "format", nil, "KIND[=PATH], repeatable: text, md, json")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func writeDiff(out stdio, d reports.Comparison, formats []string) error {
	writers := map[string]func(io.Writer) error{
		"text": func(w io.Writer) error { return d.Text(w, paint(w)) },
		"md":   d.Markdown,
		"json": d.JSON,
	}
	for _, f := range formats {
		kind, _, _ := strings.Cut(f, "=")
		if writers[kind] == nil {
			return usage(diag.Hint(fmt.Errorf("no format %q of a comparison", kind), "there are: text, md, json"))
		}
	}
	for _, f := range formats {
		kind, path, _ := strings.Cut(f, "=")
		if err := writeTo(out.out, path, kind, writers[kind]); err != nil {
			return err
		}
	}
	return nil
}
