package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/charmbracelet/x/term"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/reports/live"
)

// watch shows the drill while it runs: a live view if stderr is a terminal,
// plain lines otherwise. stop ends it.
func (b *bound) watch(ctx context.Context) (stop func(), err error) {
	if b.lesson != nil {
		return b.lesson.watch(b)
	}
	if b.g.quiet {
		return func() {}, nil
	}
	facts := factsOf(b.plan)
	if !isTerminal(b.io.err) || os.Getenv("TERM") == "dumb" || b.g.logLevel != "" {
		lines := live.NewLines(b.io.err, facts)
		b.plan.Watch = lines.Event
		return b.ended(lines.Close), nil
	}
	view, err := live.Start(ctx, b.io.err, facts, interruptSelf)
	if err != nil {
		return nil, fmt.Errorf("show the drill: %w", err)
	}
	b.plan.Watch = view.Event
	return b.ended(view.Close), nil
}

// ended says what kept the view from showing all, after it has ended: it is no
// fault of the drill.
func (b *bound) ended(closeView func() error) func() {
	return func() {
		if err := closeView(); err != nil {
			fmt.Fprintf(b.io.err, "dapple: %v\n", err)
		}
	}
}

// interruptSelf does what Ctrl-C does, where it comes as a key.
func interruptSelf() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Signal(os.Interrupt) // ourselves: it cannot be gone
	}
}

func factsOf(p *drills.Plan) live.Facts {
	f := live.Facts{
		Scenario: p.Scenario.Name, System: p.Target.Name, Kind: p.Target.Kind, Trials: p.Scenario.Trials,
		Phases: []live.Planned{{Name: "steady", For: p.Scenario.Steady.D()}},
	}
	for _, n := range p.Nodes {
		f.Nodes = append(f.Nodes, live.Node{Name: n.Name()})
	}
	hold := p.Scenario.Steps[0].For.D()
	for _, s := range p.Scenario.Steps {
		hold = max(hold, s.At.D()+s.For.D())
	}
	f.Phases = append(f.Phases,
		live.Planned{Name: "hold", For: hold},
		live.Planned{Name: "settle", For: p.Scenario.Settle.D(), AtMost: true})
	return f
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// paint says whether colours may be written to w (https://no-color.org).
func paint(w io.Writer) reports.Paint {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(w) {
		return reports.Plain
	}
	return reports.Coloured
}
