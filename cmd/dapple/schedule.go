package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	_ "time/tzdata" // a machine without a time zone database must read schedules alike

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/drills/schedule"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/scenarios"
)

// scheduleFlags are what the scheduler takes.
type scheduleFlags struct {
	database string
	once     bool
	list     bool
	asJSON   bool
	n        int
	commands bool
	clock    bool
	metrics  string
}

func scheduleCmd(g *globals, io stdio) *cobra.Command {
	var f scheduleFlags
	c := &cobra.Command{
		Use:   "schedule FILE…",
		Short: "Do drills by themselves, at the times that schedule files name",
		Long: `Keep the schedules of these files, or of the schedule files in a folder, until
interrupted: at each time one drill, done once, whatever crashes and however many
schedulers share the database. A drill that is being done when the scheduler is
ended is reverted first.

The database is SQLite in $DAPPLE_HOME, or --database postgres://… where several
machines share the work. See docs/guides/schedule.md.`,
		Example: `  dapple schedule /etc/dapple/schedules
  dapple schedule next /etc/dapple/schedules
  dapple schedule --list /etc/dapple/schedules`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			entries, err := loadSchedules(args)
			if err != nil {
				return err
			}
			if f.list {
				return listSchedules(c.Context(), io, f, entries)
			}
			return keepSchedules(c.Context(), g, io, f, entries)
		},
	}
	c.PersistentFlags().StringVar(&f.database, "database", "", "where decisions are kept: a file (default: schedule.db in $DAPPLE_HOME), or postgres://…; also $DAPPLE_DATABASE")
	c.PersistentFlags().BoolVar(&f.asJSON, "json", false, "what is listed as JSON")
	c.Flags().BoolVar(&f.once, "once", false, "do what is due now, and end")
	c.Flags().BoolVar(&f.list, "list", false, "list the schedules with what became of their last firing, and end")
	c.Flags().BoolVar(&f.commands, "allow-commands", false, "run commands that the scenarios or the system files name; the files must be your own")
	c.Flags().BoolVar(&f.clock, "allow-host-clock", false, "set the clock of a whole machine wrong, if a scenario says so")
	c.Flags().StringVar(&f.metrics, "metrics", "", "answer OpenMetrics at this address, under /metrics: 127.0.0.1:9469")
	c.AddCommand(nextCmd(io, &f))
	return c
}

// loadSchedules reads all schedules, with what they name: a mistake in one keeps
// all from being kept.
func loadSchedules(names []string) (entries []*schedule.Entry, err error) {
	files, err := scheduleFiles(names)
	if err != nil {
		return nil, usage(err)
	}
	for _, file := range files {
		s, serr := scenarios.LoadSchedule(file, vocabulary())
		if serr == nil {
			serr = named(file, s)
		}
		if serr != nil {
			err = diag.Append(err, serr)
			continue
		}
		e, eerr := schedule.NewEntry(file, s)
		if eerr != nil {
			err = diag.Append(err, eerr)
			continue
		}
		entries = append(entries, e)
	}
	if err == nil {
		err = schedule.Unique(entries)
	}
	return entries, usage(err)
}

// scheduleFiles are the files that are named, and those in folders that are
// schedules.
func scheduleFiles(names []string) (files []string, err error) {
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, name)
			continue
		}
		some, err := schedulesIn(name)
		if err != nil {
			return nil, err
		}
		if len(some) == 0 {
			return nil, diag.Hint(fmt.Errorf("the folder %s holds no schedule", name), "a schedule is a .yaml file that has cron")
		}
		files = append(files, some...)
	}
	return files, nil
}

func schedulesIn(dir string) ([]string, error) {
	return filesIn(dir, func(k scenarios.FileKind) bool { return k == scenarios.IsSchedule })
}

// named reads the scenario and the system file that a schedule names, so that what
// is wrong with them is found today and not at night.
func named(file string, s *scenarios.Schedule) error {
	f := scheduledDrill(file, s)
	files, err := loadFiles(f)
	if err == nil && files.system != nil {
		err = scenarios.CheckPair(files.scenario, files.system)
	}
	if err != nil && len(diag.ProblemsOf(err)) == 0 {
		return fmt.Errorf("%s: %w", file, err)
	}
	return err
}

// scheduledDrill is what "run" would be given. Files are seen from the schedule's
// own; a scenario that is none is one of the library.
func scheduledDrill(file string, s *scenarios.Schedule) drillFlags {
	f := drillFlags{scenario: beside(file, s.Scenario), on: s.On, trials: s.Trials, pinned: string(s.Environment)}
	if _, err := os.Stat(f.scenario); errors.Is(err, fs.ErrNotExist) {
		f.scenario = s.Scenario
	}
	if !strings.HasPrefix(s.On, clusterPrefix) {
		f.on = beside(file, s.On)
	}
	return f
}

func beside(file, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(file), name)
}

// databaseOf is where the decisions of the scheduler are.
func databaseOf(f scheduleFlags, home string) string {
	return cmp.Or(f.database, os.Getenv("DAPPLE_DATABASE"), filepath.Join(home, "schedule.db"))
}

// keepSchedules is the service.
func keepSchedules(ctx context.Context, g *globals, io stdio, f scheduleFlags, entries []*schedule.Entry) (err error) {
	home, err := homeDir()
	if err != nil {
		return err
	}
	lock, err := journal.TakeScheduler(home)
	if err != nil {
		return refuse(err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	store, err := schedule.Open(ctx, databaseOf(f, home))
	if err != nil {
		return usage(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the name of this machine: %w", err)
	}
	id := host + ":" + home
	tell, end, err := outlets(ctx, io, id, f, entries)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	s := &schedule.Scheduler{
		Store: store, Entries: entries, Runner: &scheduled{g: g, io: io, flags: f}, ID: id,
		Tell: tell, Log: io.err,
	}
	fmt.Fprintf(io.err, "dapple: %d schedule(s) are kept; the database is %s\n", len(entries), schedule.Shown(databaseOf(f, home)))
	debug.FreeOSMemory() // what reading the files took is not needed for months
	if f.once {
		return s.Once(ctx)
	}
	return s.Run(ctx)
}
