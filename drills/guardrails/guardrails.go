// Package guardrails makes the guards of a drill out of what the owners of a system
// declared: why none begins now, and why one that runs is ended. Each asks one
// thing, changes nothing, and is named in its refusal.
//
// Where something cannot be found out before a drill, that is a refusal: a guard
// that cannot see is no guard.
package guardrails

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/scenarios"
)

// A Case is a drill that is to be guarded.
type Case struct {
	Scenario *scenarios.Scenario
	System   *scenarios.System
	// Pinned is the environment that the operator named; "" if none.
	Pinned scenarios.Environment
	Home   string // where dapple keeps its state
	// Past are the earlier drills that are asked for and whose records are as they
	// were, for the ladder. It is called only for production.
	Past func(context.Context, history.Query) ([]history.Run, error)
	Now  func() time.Time
}

// stopLook is how often a drill looks for the stop file. It bounds how long a fault
// goes on after `dapple stop`.
const stopLook = 250 * time.Millisecond

// askAgain is how often Prometheus is asked during a drill.
const askAgain = 10 * time.Second

// defaults of what production asks for.
const (
	defaultAck    = 30 * time.Minute
	defaultLadder = 30 * 24 * time.Hour
)

// Of are the guards of a drill.
func Of(c Case) []drills.Guard {
	g := c.System.Guardrails
	guards := []drills.Guard{
		{Name: "environment", Check: c.environment},
		{Name: "stop", Check: func(context.Context) error { return stopped(c.Home) }, During: stopLook},
	}
	if len(g.Freeze) > 0 || g.FreezeFile != "" {
		guards = append(guards, drills.Guard{Name: "freeze", Check: c.freeze})
	}
	if g.Backup != nil {
		guards = append(guards, drills.Guard{Name: "backup", Check: c.backup})
	}
	if len(g.Alerts) > 0 {
		guards = append(guards, drills.Guard{Name: "alerts", Check: func(ctx context.Context) error { return firing(ctx, g.Alertmanager, g.Alerts) }})
	}
	for _, q := range g.Queries {
		guard := drills.Guard{Name: q.Name, Check: func(ctx context.Context) error { return within(ctx, g.Prometheus, q) }}
		if q.During {
			guard.During = askAgain
		}
		guards = append(guards, guard)
	}
	if c.System.Environment == scenarios.Production {
		guards = append(guards,
			drills.Guard{Name: "on call", Check: func(context.Context) error { return c.acknowledged() }},
			drills.Guard{Name: "ladder", Check: c.ladder})
	}
	return guards
}

func tripped(format string, args ...any) error {
	return &drills.Tripped{Why: fmt.Sprintf(format, args...)}
}

// environment is the pin: that a file says production must be known to whoever
// drills, and what they name must be what the file says.
func (c Case) environment(context.Context) error {
	is := c.System.Environment
	switch {
	case c.Pinned != "" && c.Pinned != is:
		return tripped("%s is pinned, and %s says %q", c.Pinned, c.System.Name, is)
	case c.Pinned == "" && is == scenarios.Production:
		return tripped("%s is in production: name it with --environment production (in a schedule: environment: production)", c.System.Name)
	}
	return nil
}

func (c Case) freeze(context.Context) error {
	today := c.Now().UTC()
	for _, d := range c.System.Guardrails.Freeze {
		if d.Hold(today) {
			return tripped("%s is in the freeze %s", today.Format(time.DateOnly), d)
		}
	}
	why, there, err := firstLine(c.System.Guardrails.FreezeFile)
	if err == nil && there {
		return tripped("%s is there: %s", c.System.Guardrails.FreezeFile, why)
	}
	return err
}

func (c Case) backup(context.Context) error {
	b := c.System.Guardrails.Backup
	info, err := os.Stat(b.File)
	if err != nil {
		return fmt.Errorf("find the last backup: %w", err)
	}
	if age := c.Now().Sub(info.ModTime()); age > b.MaxAge.D() {
		return tripped("the last one (%s) is %v old, and may be %s", b.File, age.Round(time.Minute), b.MaxAge)
	}
	return nil
}

// firstLine is the first line of a file, and whether there is one.
func firstLine(path string) (line string, there bool, err error) {
	if path == "" {
		return "", false, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	line, _, _ = strings.Cut(string(data), "\n")
	return strings.TrimSpace(line), err == nil, err
}

// StopFile is the file whose being there stops all drills of this home.
func StopFile(home string) string { return filepath.Join(home, "stop") }

func stopped(home string) error {
	why, there, err := firstLine(StopFile(home))
	if err == nil && there {
		return tripped("%s is there (%s); `dapple stop --clear` lifts it", StopFile(home), why)
	}
	return err
}
