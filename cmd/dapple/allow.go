package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/trust"
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
		errs = append(errs, mayRun(fmt.Sprintf("%s: inject %s", s.Pos, s.Inject), allowed, d.foreign))
	}
	if d.system != nil {
		services := slices.Clone(d.system.Nodes.Hosts)
		for _, n := range d.system.Nodes.SSH {
			services = append(services, n.Service())
		}
		for _, h := range services {
			if len(h.Start) > 0 {
				errs = append(errs, mayRun("the start command of node "+h.Name, allowed, d.strange))
			}
		}
	}
	return errors.Join(errs...)
}

func mayRun(what string, allowed bool, foreign error) error {
	switch {
	case !allowed:
		return diag.Hint(fmt.Errorf("%s: it runs what the file names, and that was not allowed", what),
			"read it, and add --allow-commands if you want what it says")
	case foreign != nil:
		return fmt.Errorf("%s: it runs what the file names, which must be a file of your own: %w", what, foreign)
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
