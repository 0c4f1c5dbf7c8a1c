package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports"
)

// drillFlags are what run, plan and demo take.
type drillFlags struct {
	run      string // the run's id
	scenario string // a file, or a path of the library
	on       string // a system file, or cluster:NAME
	trials   int
	phase    string
	out      string
	formats  []string
	seed     int64
	commands bool // commands that the files name may be run
	asJSON   bool
}

func runCmd(g *globals, io stdio) *cobra.Command {
	var f drillFlags
	c := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a drill",
		Long: `Run a drill: the scenario against a system, which is a system file or a built-in
throw-away cluster (cluster:NAME, see "dapple cluster list"). Everything that is
injected is reverted, also at Ctrl-C; a second Ctrl-C does not skip that.

The run directory (record.json, timeline.jsonl, report.html, report.md) is --out,
or a new one under $DAPPLE_HOME/runs.`,
		Example: `  dapple run scenarios/library/etcd/leader-kill.yaml --on cluster:etcd
  dapple run primary-kill.yaml --on orders-db.yaml --trials 10 --out drill-2026-11`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f.scenario = args[0]
			return runDrill(c.Context(), g, io, f)
		},
	}
	addDrillFlags(c, &f)
	c.Flags().StringVar(&f.out, "out", "", "the run directory: new, or empty")
	c.Flags().StringArrayVar(&f.formats, "format", nil, "write a further report: KIND=PATH, or KIND to stdout instead of the summary; repeatable: "+formatNames())
	c.Flags().BoolVar(&f.asJSON, "json", false, "the record on stdout instead of the summary")
	return c
}

func addDrillFlags(c *cobra.Command, f *drillFlags) {
	c.Flags().StringVar(&f.on, "on", "", "the system: a system file, or cluster:NAME")
	c.Flags().IntVar(&f.trials, "trials", 0, "how many trials (default: the scenario's)")
	c.Flags().StringVar(&f.phase, "phase", "", "where in the system's heartbeat cycle the fault lands: random, worst or best")
	c.Flags().BoolVar(&f.commands, "allow-commands", false, "run commands that the scenario or the system file names; the file must be your own")
	c.Flags().Int64Var(&f.seed, "seed", 0, "reproduces what is chosen at random (default: a new one, kept in the record)")
}

// runDrill is one drill from its files to its exit code.
func runDrill(ctx context.Context, g *globals, io stdio, f drillFlags) (err error) {
	if err := checkFormats(f.formats); err != nil {
		return err
	}
	files, err := loadFiles(f)
	if err != nil {
		return err
	}
	f.run = runID()
	if f.out, err = runDir(f, files.scenario.Name); err != nil {
		return err
	}
	b, err := bind(ctx, g, io, f, files)
	if err != nil {
		return errors.Join(err, removeIfEmpty(f.out))
	}
	rec, err := b.run(ctx)
	if len(rec.Trials) == 0 && refused(err) {
		return errors.Join(err, removeIfEmpty(f.out))
	}
	run, rerr := writeReports(f.out)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	return errors.Join(show(io, f, run), result(rec, err))
}

func refused(err error) bool {
	var r *drills.Refusal
	return errors.As(err, &r)
}

// result is the exit code of a drill by the contract's precedence: a leftover
// wins over all, a proven miss over an abort.
func result(rec drills.Record, err error) error {
	code := rec.ExitCode
	switch {
	case rec.Left():
		code = exitLeft
	case err == nil || rec.Verdict == verdict.Fail:
	case refused(err):
		code = exitRefused
	default:
		code = exitAborted
	}
	if err != nil {
		return diag.Code(err, code)
	}
	return exit(code)
}

// runDir makes the run directory: the one that was asked for, if it is new or
// empty, or a new one.
func runDir(f drillFlags, name string) (string, error) {
	out := f.out
	if out == "" {
		runs, err := runsDir()
		if err != nil {
			return "", err
		}
		out = filepath.Join(runs, f.run+"-"+slug(name))
	}
	items, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", usage(fmt.Errorf("use %s as the run directory: %w", out, err))
	}
	if len(items) > 0 {
		return "", usage(fmt.Errorf("the run directory %s is not empty: give a new one, a record is never overwritten", out))
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", usage(fmt.Errorf("make the run directory: %w", err))
	}
	return out, nil
}

func removeIfEmpty(dir string) error {
	items, err := os.ReadDir(dir)
	if err != nil || len(items) > 0 {
		return nil // it holds something worth keeping, or is not there
	}
	return os.Remove(dir)
}

// slug is a name that is fit for a directory.
func slug(name string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		if r >= 'A' && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return '-'
	}, name), "-")
}

func checkFormats(formats []string) error {
	for _, f := range formats {
		kind, _, _ := strings.Cut(f, "=")
		if _, err := reports.Find(kind); err != nil {
			return usage(err)
		}
	}
	return nil
}

// writeReports writes what every run directory holds beside the record.
func writeReports(dir string) (reports.Run, error) {
	run, err := reports.Load(dir)
	if err != nil {
		return run, err
	}
	return run, reports.Write(dir, run)
}

// show prints the result: the summary, or what was asked for instead.
func show(io stdio, f drillFlags, run reports.Run) error {
	if f.asJSON {
		return json.NewEncoder(io.out).Encode(run.Record)
	}
	toStdout := false
	for _, format := range f.formats {
		toStdout = toStdout || !strings.Contains(format, "=")
		if err := writeFormat(io.out, run, format); err != nil {
			return err
		}
	}
	if toStdout {
		return nil
	}
	if err := reports.Text(io.out, run, paint(io.out)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.err, "report: %s\n", filepath.Join(run.Dir, "report.html"))
	return err
}
