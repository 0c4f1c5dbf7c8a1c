package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"

	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/trend"
	"github.com/dapple-drills/dapple/web"
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
