package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/schedule"
	"github.com/dapple-drills/dapple/drills/trend"
	"github.com/dapple-drills/dapple/reports/web"
)

// source answers the pages from this home, as the commands answer a terminal.
type source struct {
	home  string
	flags serveFlags
}

var _ web.Source = (*source)(nil)

// ask opens the history for one question. Drills of other processes are added to it
// meanwhile, which opening it finds out.
func (s *source) ask(ctx context.Context, question func(x *history.Index) error) (notes []string, err error) {
	x, why, err := history.OpenAnyway(ctx, s.home, os.Getenv(databaseEnv))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	if why != nil {
		notes = []string{"The database of the history cannot be used, so this was read from the run directories: " + why.Error()}
	}
	return notes, question(x)
}

// Runs lists every run that can be read, and says which cannot.
func (s *source) Runs(ctx context.Context) (runs []history.Run, broken []history.Broken, notes []string, err error) {
	notes, err = s.ask(ctx, func(x *history.Index) (err error) {
		runs, broken, err = x.List(ctx)
		return err
	})
	return runs, broken, notes, err
}

// Trends answers what `dapple trend` does.
func (s *source) Trends(ctx context.Context, q history.Query, metric string) (t trend.Trends, err error) {
	_, err = s.ask(ctx, func(x *history.Index) error {
		runs, err := x.Runs(ctx, q)
		if err != nil {
			return err
		}
		readings, err := x.Readings(ctx, q)
		t = trend.Make(runs, readings, metric)
		return err
	})
	return t, err
}

// Checklist answers what `dapple checklist` does.
func (s *source) Checklist(ctx context.Context, quarter string) (*checklist.Checklist, error) {
	in, err := checklistInput(checklistFlags{quarter: quarter, roster: s.flags.roster, systems: s.flags.systems})
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	c, err := makeChecklist(ctx, stdio{err: &said}, in)
	if note := strings.TrimSpace(said.String()); note != "" {
		c.Notes = append(c.Notes, note)
	}
	return &c, err
}

// lastFirings is how many of them are told of each schedule.
const lastFirings = 3

// Schedules reads the schedule files and what became of their last firings. A file
// that is wrong, or a database that cannot be used, is told in a note.
func (s *source) Schedules(ctx context.Context) (planned []web.Planned, notes []string, err error) {
	if len(s.flags.schedules) == 0 {
		return nil, nil, nil
	}
	entries, err := loadSchedules(s.flags.schedules)
	if err != nil {
		notes = append(notes, "The schedules cannot be read: "+err.Error())
	}
	planned = []web.Planned{}
	for _, e := range entries {
		p := web.Planned{Entry: e}
		files, err := loadFiles(scheduledDrill(e.File, e.Schedule))
		if err == nil && !strings.HasPrefix(e.On, clusterPrefix) {
			p.System = files.system
		}
		planned = append(planned, p)
	}
	if err := s.last(ctx, planned); err != nil {
		notes = append(notes, "What became of the last firings cannot be read: "+err.Error())
	}
	return planned, notes, nil
}

// last adds what became of the last firings, if there is a database yet.
func (s *source) last(ctx context.Context, planned []web.Planned) (err error) {
	where := databaseOf(scheduleFlags{database: s.flags.database}, s.home)
	if _, serr := os.Stat(where); errors.Is(serr, fs.ErrNotExist) && !schedule.Remote(where) {
		return nil
	}
	store, err := schedule.Open(ctx, where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for i := range planned {
		if planned[i].Last, err = store.Decided(ctx, planned[i].Name, lastFirings); err != nil {
			return err
		}
	}
	return nil
}
