package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/selftest"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/diag"
)

// selftestFlags are what selftest takes.
type selftestFlags struct {
	runs, parallel int
	seed           uint64
	controls       bool
	keep           string
	asJSON         bool
}

func selftestCmd(g *globals, io stdio) *cobra.Command {
	var f selftestFlags
	c := &cobra.Command{
		Use:   "selftest",
		Short: "Prove dapple's own numbers on systems whose truth is known",
		Long: `Drill systems in this process that do what a script says, behind real sockets on
loopback, and look whether every number of every run holds the truth, within the
bound of its probes. Pipelines that are broken on purpose must be found wrong.

Exit codes: 0 every run holds the truth, and every broken pipeline was caught; 1
one does not, or was not; 4 interrupted; 5 a run or a broken pipeline does not count,
since its drill was not made, or too coarsely on a busy machine.`,
		Example: `  dapple selftest
  dapple selftest --runs 1000 --seed 1
  dapple selftest --runs 1 --seed 4711     # one run again`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.runs < 0 || f.parallel < 1 {
				return usage(fmt.Errorf("--runs %d --parallel %d: want 0 or more runs, 1 or more at a time", f.runs, f.parallel))
			}
			if !c.Flags().Changed("seed") {
				f.seed = rand.Uint64N(1_000_000)
			}
			return runSelftest(c.Context(), g, io, f)
		},
	}
	c.Flags().IntVar(&f.runs, "runs", 30, "how many runs; the seeds follow each other, and so do the ways in which runs differ")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "of the first run (default: a new one, which is told)")
	c.Flags().IntVar(&f.parallel, "parallel", 2*runtime.NumCPU(), "runs at a time")
	c.Flags().BoolVar(&f.controls, "controls", true, "also run pipelines that are broken on purpose, which must be found wrong")
	c.Flags().StringVar(&f.keep, "keep", "", "a directory where what a run wrote is kept if it was wrong")
	c.Flags().BoolVar(&f.asJSON, "json", false, "as JSON")
	return c
}

func runSelftest(ctx context.Context, g *globals, io stdio, f selftestFlags) (err error) {
	exe, err := self()
	if err != nil {
		return err
	}
	dir, remove, err := selftestDir(f.keep)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	out, begin := progress(g, io), time.Now()
	rep, err := selftest.Run(ctx, selftest.Options{
		Runs: f.runs, Seed: f.seed, Parallel: f.parallel, Controls: f.controls, Dir: dir, Keep: f.keep != "",
		Agent: []string{exe, modeSelftestAgent}, Worker: []string{exe, modeSelftestWorker},
		Done: func(n int, _ selftest.Result) {
			if n%50 == 0 || n == f.runs {
				fmt.Fprintf(out, "%d of %d runs, %s\n", n, f.runs, time.Since(begin).Round(time.Second))
			}
		},
	})
	if err != nil {
		return selftestError(err)
	}
	if f.asJSON {
		err = json.NewEncoder(io.out).Encode(rep)
	} else {
		err = rep.Text(io.out)
	}
	return errors.Join(err, exit(codeOfSelftest(rep)))
}

// selftestDir is where the runs write: the directory that was asked for, or one
// that remove removes.
func selftestDir(keep string) (dir string, remove func() error, err error) {
	if keep != "" {
		if err := os.MkdirAll(keep, 0o755); err != nil {
			return "", nil, usage(fmt.Errorf("keep wrong runs: %w", err))
		}
		return keep, func() error { return nil }, nil
	}
	if dir, err = os.MkdirTemp("", "dapple-selftest-"); err != nil {
		return "", nil, fmt.Errorf("make a place for the runs: %w", err)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// selftestError: what kept dapple from its work is no verdict on it.
func selftestError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted) {
		return diag.Code(err, exitAborted)
	}
	return diag.Code(err, verdict.ExitCode(verdict.Inconclusive, false))
}

// codeOfSelftest: dapple's own objective is that every number holds the truth.
func codeOfSelftest(rep selftest.Report) int {
	switch {
	case !rep.Proven():
		return verdict.ExitCode(verdict.Fail, false)
	case !rep.Complete():
		return verdict.ExitCode(verdict.Inconclusive, false)
	}
	return exitPass
}
