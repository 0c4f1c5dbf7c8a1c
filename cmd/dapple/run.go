package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/reports/ci"
	"github.com/dapple-drills/dapple/reports/traces"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

// drillFlags are what run, plan and demo take.
type drillFlags struct {
	run      string   // the run's id
	names    []string // what "run" was asked for: files, folders, or names of the library
	scenario string   // a file, or a path of the library
	on       string   // a system file, or cluster:NAME
	trials   int
	phase    string
	out      string
	formats  []string
	seed     int64
	commands bool   // commands that the files name may be run
	clock    bool   // the clock of a whole machine may be set wrong
	pinned   string // the environment that the system must be in
	asJSON   bool
	shard    string // i/n
	failOn   failOn
	train    *trainFlags                      // a person faces the fault; nil: nobody
	tune     func(*testcluster.Options) error // a built-in cluster is started anew, as it says; nil: as it is
}

func runCmd(g *globals, io stdio) *cobra.Command {
	var f drillFlags
	c := &cobra.Command{
		Use:   "run SCENARIO…",
		Short: "Run a drill, or all those of a folder",
		Long: `Run a drill: the scenario against a system, which is a system file or a built-in
throw-away cluster (cluster:NAME, see "dapple cluster list"). Everything that is
injected is reverted, also at Ctrl-C; a second Ctrl-C does not skip that.

The run directory (record.json, timeline.jsonl, report.html, report.md) is --out,
or a new one under $DAPPLE_HOME/runs.

Of a folder, or of several files, each scenario is run after the other, with a
table at the end and one exit code by the precedence 6, 2, 3, 1, 4, 5, 0. A
mistake in one file keeps all from being run; a scenario that is for another kind
of system is left out and listed. Each has a run directory of its own below --out.

Under GitHub Actions the findings are annotations at the scenario's step, and the
step has a summary and outputs; under GitLab the log is folded.`,
		Example: `  dapple run scenarios/library/etcd/leader-kill.yaml --on cluster:etcd
  dapple run primary-kill.yaml --on orders-db.yaml --trials 10 --out drill-2026-11
  dapple run drills/ --on orders-db.yaml --format junit=junit.xml --shard 1/4`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f.names = args
			return run(c.Context(), g, io, f)
		},
	}
	addDrillFlags(c, &f)
	c.Flags().StringVar(&f.out, "out", "", "the run directory: new, or empty")
	c.Flags().StringArrayVar(&f.formats, "format", nil, "write a further report: KIND=PATH, or KIND to stdout instead of the summary; repeatable: "+formatNames())
	c.Flags().BoolVar(&f.asJSON, "json", false, "the record on stdout instead of the summary; of several, a list")
	c.Flags().StringVar(&f.shard, "shard", "", "of several scenarios, only the I-th of N parts: I/N; which part a file is in depends on its name alone")
	c.Flags().StringSliceVar(&f.failOn.list, "fail-on", nil, "only these verdicts end with another code than 0: "+strings.Join(verdictsToFailOn(), ", ")+"; mistakes, refusals, interruptions and what is left in place always do")
	c.Flags().BoolVar(&f.failOn.exitZero, "exit-zero", false, "no verdict ends with another code than 0, for jobs that only report")
	return c
}

func addDrillFlags(c *cobra.Command, f *drillFlags) {
	c.Flags().StringVar(&f.on, "on", "", "the system: a system file, or cluster:NAME")
	c.Flags().IntVar(&f.trials, "trials", 0, "how many trials (default: the scenario's)")
	c.Flags().StringVar(&f.pinned, "environment", "", "the environment that the system must say it is in: ci, staging or production; production must be named")
	c.Flags().StringVar(&f.phase, "phase", "", "where in the system's heartbeat cycle the fault lands: random, worst or best")
	c.Flags().BoolVar(&f.commands, "allow-commands", false, "run commands that the scenario or the system file names; the file must be your own")
	c.Flags().BoolVar(&f.clock, "allow-host-clock", false, "set the clock of a whole machine wrong, if the scenario says so: it is wrong for everybody on it")
	c.Flags().Int64Var(&f.seed, "seed", 0, "reproduces what is chosen at random (default: a new one, kept in the record)")
}

// run is the command: one drill, or several.
func run(ctx context.Context, g *globals, io stdio, f drillFlags) error {
	if err := errors.Join(checkFormats(f.formats), f.failOn.check()); err != nil {
		return err
	}
	job := ciJob(io)
	found, err := findScenarios(f.names)
	if err == nil && (found.several || f.shard != "") {
		err = runMany(ctx, g, io, f, found.files, job)
	} else if err == nil {
		f.scenario = f.names[0]
		err = runDrill(ctx, g, io, f, job)
	}
	if errors.Is(err, errSaid) {
		return err
	}
	if perr := job.Problems(err); perr != nil {
		err = errors.Join(err, perr)
	}
	return err
}

// runDrill is one drill from its files to its exit code.
func runDrill(ctx context.Context, g *globals, io stdio, f drillFlags, job *ci.Job) error {
	files, err := loadFiles(f)
	if err != nil {
		return err
	}
	if f.train == nil { // what is drilled is not told before
		job.Open("dapple: " + files.scenario.Name + " on " + f.on)
	}
	defer job.Close()
	run, err := drillOnce(ctx, g, io, f, files)
	job.Close()
	if run == nil {
		return err
	}
	code := codeOrPass(err)
	b := reports.Batch{{Scenario: f.scenario, Run: run, Code: code}}
	annotate := !slices.ContainsFunc(f.formats, func(s string) bool { return s == "github" || strings.HasPrefix(s, "github=") })
	return errors.Join(show(io, f, *run), job.Done(b, outputs(b, code), annotate), err)
}

// drillOnce is one drill from its files to its record; run is nil if there is
// none. The error has the exit code, also that of a verdict.
func drillOnce(ctx context.Context, g *globals, io stdio, f drillFlags, files drillFiles) (run *reports.Run, err error) {
	f.run = runID()
	name := files.scenario.Name
	if f.train != nil {
		name = "training"
		surprise(files.scenario, f.seed)
	}
	if f.out, err = runDir(f, name); err != nil {
		return nil, err
	}
	b, err := bind(ctx, g, io, f, files)
	if err == nil && f.train != nil {
		if err = b.teach(ctx, f); err != nil {
			err = errors.Join(err, b.end(ctx))
		}
	}
	if err != nil {
		return nil, errors.Join(err, removeIfEmpty(f.out))
	}
	rec, err := b.run(ctx)
	if len(rec.Trials) == 0 && refused(err) {
		return nil, errors.Join(err, removeIfEmpty(f.out))
	}
	remember(ctx, io, f.out)
	written, rerr := writeReports(f.out)
	if rerr != nil {
		return nil, errors.Join(err, rerr)
	}
	sendTrace(ctx, io, written)
	return &written, result(rec, err, f.failOn)
}

// tracePatience bounds sending the trace: it is no part of the drill.
const tracePatience = 15 * time.Second

// sendTrace sends the trace of a run, if the environment says where to. That it
// cannot be sent is told, and no error of the drill.
func sendTrace(ctx context.Context, io stdio, run reports.Run) {
	if !traces.Asked() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracePatience)
	defer cancel()
	if err := traces.Send(ctx, run); err != nil {
		fmt.Fprintf(io.err, "dapple: %v\n", err)
	}
}

func refused(err error) bool {
	var r *drills.Refusal
	return errors.As(err, &r)
}

// result is the exit code of a drill by the contract's precedence: a leftover
// wins over all, a proven miss over an abort. Only a verdict may be forgiven.
func result(rec drills.Record, err error, f failOn) error {
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
	switch {
	case err != nil:
		return diag.Code(err, code)
	case code != exitLeft && f.forgives(rec.Verdict):
		return nil
	}
	return exit(code)
}

// codeOrPass is the exit code of err, which may be none.
func codeOrPass(err error) int {
	if err == nil {
		return exitPass
	}
	return codeOf(err)
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
	return run, errors.Join(reports.Write(dir, run), reports.WriteDebrief(dir, run))
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
	if err := reports.Debrief(io.out, run, paint(io.out)); err != nil {
		return err
	}
	if err := reports.Text(io.out, run, paint(io.out)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.err, "report: %s\n", filepath.Join(run.Dir, "report.html"))
	return err
}
