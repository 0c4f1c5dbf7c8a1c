package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/trust"
	"github.com/dapple-drills/dapple/scenarios"
)

// commands refuses files by which commands would be run, unless the operator
// allowed that, and wrote the files himself: what was fetched from elsewhere is to
// be read first. It is asked before anything is started.
func (d drillFiles) commands(allowed bool) error {
	var errs []error
	for _, s := range d.scenario.Steps {
		kind, err := injectorOf(s.Inject)
		if err != nil || !kind.Commands {
			continue // an unknown one is refused elsewhere
		}
		errs = append(errs, mayRun(s, allowed, d.foreign))
	}
	return errors.Join(errs...)
}

func mayRun(s scenarios.Step, allowed bool, foreign error) error {
	switch {
	case !allowed:
		return diag.Hint(fmt.Errorf("%s: inject %s runs commands that the scenario names, and that was not allowed", s.Pos, s.Inject),
			"read them, and add --allow-commands if you want what they say")
	case foreign != nil:
		return fmt.Errorf("%s: inject %s runs commands, and they must come from a file of your own: %w", s.Pos, s.Inject, foreign)
	}
	return nil
}

// ownJournal refuses to run commands out of a journal in which somebody else may
// have written them.
func ownJournal(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the journal: %w", err)
	}
	if err := trust.Dir(dir, info); err != nil {
		return fmt.Errorf("the journal holds commands that would be run, and somebody else may have written them: %w", err)
	}
	return nil
}
