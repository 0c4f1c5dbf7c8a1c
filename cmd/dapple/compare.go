package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/matrix"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/reports"
)

// compareFlags are what compare takes besides those of a drill.
type compareFlags struct {
	drillFlags
	systems []string
}

func compareCmd(g *globals, io stdio) *cobra.Command {
	var f compareFlags
	c := &cobra.Command{
		Use:   "compare SCENARIO… --on SYSTEM --on SYSTEM",
		Short: "Drill several designs alike, and put them beside each other",
		Long: `Run the same scenarios on several systems, and show what was measured in a matrix:
per design (design: of the system files) and drill the verdict, detection, outage
(RTO), lost writes (RPO) and split-brain, and what a write costs while nothing is
wrong. A scenario that is for another kind of system is left out, with the reason. To
see what a distance costs, add a scenario with netem and a delay such as 200ms.

The records of all drills are kept below --out, beside compare.json and compare.html.`,
		Example: `  dapple compare patroni/primary-kill patroni/agent-freeze --on cluster:patroni --on cluster:patroni-async
  dapple compare etcd/leader-kill etcd/leader-stall --on cluster:etcd --on cluster:etcd-fast-election --out designs`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.compare(c.Context(), g, io, args) },
	}
	c.Flags().StringArrayVar(&f.systems, "on", nil, "a system: a system file, or cluster:NAME; twice at least")
	c.Flags().IntVar(&f.trials, "trials", 0, "how many trials of each (default: the scenario's)")
	c.Flags().StringVar(&f.out, "out", "", "where all is kept: new, or empty (default: below $DAPPLE_HOME/comparisons)")
	c.Flags().Int64Var(&f.seed, "seed", 0, "reproduces what is chosen at random")
	c.Flags().BoolVar(&f.commands, "allow-commands", false, "run commands that the scenarios or the system files name; the files must be your own")
	c.Flags().BoolVar(&f.asJSON, "json", false, "as JSON")
	return c
}

// pair is a system and a scenario that were read.
type pair struct {
	f     drillFlags
	files drillFiles
	unfit string
}

func (f *compareFlags) compare(ctx context.Context, g *globals, out stdio, names []string) error {
	if len(f.systems) < 2 {
		return usage(diag.Hint(errors.New("a comparison needs two systems"), "name each with --on"))
	}
	pairs, err := f.read(names)
	if err != nil {
		return err
	}
	root, err := f.root()
	if err != nil {
		return err
	}
	var all []matrix.Drilled
	for i, p := range pairs {
		d := matrix.Drilled{System: p.f.on, Scenario: p.files.scenario.Name, Why: p.unfit}
		if p.unfit == "" {
			p.f.out = filepath.Join(root, slug(p.f.on), slug(p.f.scenario))
			fmt.Fprintf(progress(g, out), "%d/%d  %s on %s\n", i+1, len(pairs), p.files.scenario.Name, p.f.on)
			run, err := drillOnce(ctx, g, out, p.f, p.files)
			switch {
			case run != nil && (run.Record.Left() || ctx.Err() != nil):
				return errors.Join(err, context.Cause(ctx))
			case run != nil:
				d.Record = &run.Record
			case refused(err) && ctx.Err() == nil:
				d.Why = strings.ReplaceAll(err.Error(), "\n", " ")
			default:
				return err
			}
		}
		all = append(all, d)
		if err := keepMatrix(root, matrix.Make(all)); err != nil { // so that an interrupted one leaves what it has
			return err
		}
	}
	m := matrix.Make(all)
	if f.asJSON {
		return reports.MatrixJSON(out.out, m)
	}
	if err := reports.MatrixText(out.out, m); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out.err, "page: %s\n", filepath.Join(root, "compare.html"))
	return err
}

// read reads every file, and tells all mistakes of all of them, before anything is
// drilled.
func (f *compareFlags) read(names []string) (pairs []pair, err error) {
	var problems error
	for _, on := range f.systems {
		for _, name := range names {
			p := pair{f: f.drillFlags}
			p.f.on, p.f.scenario = on, name
			d, err := readFiles(p.f)
			problems = diag.Append(problems, err)
			if err == nil {
				p.unfit = d.unfit()
			}
			p.files = d
			pairs = append(pairs, p)
		}
	}
	return pairs, usage(problems)
}

func (f *compareFlags) root() (string, error) {
	df := f.drillFlags
	df.run = runID()
	if df.out == "" {
		home, err := homeDir()
		if err != nil {
			return "", err
		}
		df.out = filepath.Join(home, "comparisons", df.run)
	}
	return runDir(df, "")
}

func keepMatrix(root string, m matrix.Matrix) error {
	for name, write := range map[string]func(io.Writer, matrix.Matrix) error{"compare.json": reports.MatrixJSON, "compare.html": reports.MatrixHTML} {
		var b bytes.Buffer
		if err := write(&b, m); err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(root, name), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
