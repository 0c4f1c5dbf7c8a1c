package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/trend"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports"
)

func trendCmd(io stdio) *cobra.Command {
	var q history.Query
	var metric, since string
	var formats []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "trend [SYSTEM]",
		Short: "How metrics changed from drill to drill, and what got slower",
		Long: `Show, for each scenario on a system (default: all), each metric from drill to
drill, with its error bars. What got slower beyond them is named with the two
records: "beyond the error bars" if the medians cannot be the same, "beyond chance"
if trials of one and the same system would be so far apart in at most one of twenty
such comparisons. Small steps that only add up are a drift.

Drills of different scenarios or phases are never put together; where settings or
versions changed, that is said. The exit code is 0 whatever got slower: what is a
miss is said by objectives.`,
		Example: `  dapple trend orders-db --metric rto
  dapple trend --since 2026-07-01 --format html=trend.html`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				q.System = args[0]
			}
			if since != "" {
				t, err := time.Parse(time.DateOnly, since)
				if err != nil {
					return usage(fmt.Errorf("--since %s: want a day such as 2026-07-01", since))
				}
				q.Since = t
			}
			if len(formats) == 0 {
				formats = []string{"text"}
			}
			if asJSON {
				formats = []string{"json"}
			}
			return writeTrend(c.Context(), io, q, metric, formats)
		},
	}
	c.Flags().StringVar(&metric, "metric", "", "one metric only, by its name in the record: rto, detection, …")
	c.Flags().StringVar(&q.Scenario, "scenario", "", "one scenario only, by its name in the record")
	c.Flags().StringVar(&since, "since", "", "drills from this day on: 2026-07-01")
	c.Flags().StringArrayVar(&formats, "format", nil, "KIND[=PATH], repeatable: text, html, json")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func writeTrend(ctx context.Context, out stdio, q history.Query, metric string, formats []string) (err error) {
	writers := map[string]func(io.Writer, trend.Trends) error{"text": reports.TrendText, "html": reports.TrendHTML, "json": reports.TrendJSON}
	for _, f := range formats {
		if kind, _, _ := strings.Cut(f, "="); writers[kind] == nil {
			return usage(diag.Hint(fmt.Errorf("no format %q of trends", kind), "there are: text, html, json"))
		}
	}
	x, err := openHistory(ctx, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	runs, err := x.Runs(ctx, q)
	if err != nil {
		return err
	}
	readings, err := x.Readings(ctx, q)
	if err != nil {
		return err
	}
	t := trend.Make(runs, readings, metric)
	for _, f := range formats {
		kind, path, _ := strings.Cut(f, "=")
		if err := writeTo(out.out, path, kind, func(w io.Writer) error { return writers[kind](w, t) }); err != nil {
			return err
		}
	}
	return nil
}
