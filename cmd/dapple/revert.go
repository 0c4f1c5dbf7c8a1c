package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/host"
)

func revertCmd(g *globals, io stdio) *cobra.Command {
	var all bool
	var on string
	c := &cobra.Command{
		Use:   "revert",
		Short: "Take back every fault that a drill which died has left on this host",
		Long: `Take back every fault in this host's journal whose drill is dead. It is safe to
repeat. A fault that a running drill holds is left to it, unless --all is given.
Faults on machines that are reached by ssh are in those machines' journals: --on
names the system file that says which they are.
Exit code 6 says that something is still in place, and prints the command that
removes it.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rep, err := takeBackOn(c.Context(), g, io, on, all)
			printReverted(io, rep, err)
			if err := errors.Join(err, rep.Err()); err != nil {
				return diag.Code(err, exitLeft)
			}
			return nil
		},
	}
	c.Flags().StringVar(&on, "on", "", "also on the machines of this system file that are reached by ssh")
	c.Flags().BoolVar(&all, "all", false, "also those that a running drill holds")
	return c
}

// takeBackOn works through the journals of this machine and of those that a system
// file names.
func takeBackOn(ctx context.Context, g *globals, io stdio, on string, all bool) (rep agent.Report, err error) {
	if on == "" {
		return takeBack(ctx, g, io, all)
	}
	d, err := loadSystem(on)
	if err != nil {
		return rep, err
	}
	if d.system == nil || len(d.system.Nodes.SSH) == 0 {
		return takeBack(ctx, g, io, all) // its faults are in the journal of this machine
	}
	f, err := newFleet(g, d.system.Nodes.SSH)
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, f.end(ctx)) }()
	rep, err = takeBack(ctx, g, io, all)
	if cerr := f.sayCommands(ctx, io); cerr != nil {
		return rep, errors.Join(err, cerr)
	}
	there, terr := f.revertAll(ctx, agent.RevertOptions{Force: all})
	rep.Outcomes, rep.Torn = append(rep.Outcomes, there.Outcomes...), append(rep.Torn, there.Torn...)
	return rep, errors.Join(err, terr)
}

// takeBack works through the journal where that may be done: by itself, or by a
// helper container.
func takeBack(ctx context.Context, g *globals, io stdio, all bool) (rep agent.Report, err error) {
	home, err := homeDir()
	if err != nil {
		return rep, err
	}
	left, err := agent.Outstanding(home)
	if err != nil {
		return rep, err
	}
	commands, err := sayCommands(io, home, left)
	if err != nil {
		return rep, err
	}
	var specs []targets.Spec
	for _, r := range left {
		specs = append(specs, r.Node)
	}
	if commands {
		specs = nil // they are the operator's, and run as he
	}
	p, err := choose(ctx, g, io, specs)
	if err != nil {
		return rep, err
	}
	return p.revertAll(ctx, agent.RevertOptions{Config: agentConfig(home), Force: all})
}

// sayCommands says, before they are run, which commands of the operator's take
// back what is left, and whether there are any.
func sayCommands(io stdio, home string, left []journal.Record) (any bool, err error) {
	for _, r := range left {
		text := commandOf(r)
		if text == "" {
			continue
		}
		if err := ownJournal(journal.Dir(home)); err != nil {
			return true, err
		}
		any = true
		fmt.Fprintf(io.out, "%s: will run: %s\n", r.Fault.Node, text)
	}
	return any, nil
}

// commandOf is the command of the operator's by which a fault is taken back, or "".
// What is not known here is reported by the revert itself.
func commandOf(r journal.Record) string {
	if kind, err := injectorOf(r.Fault.Kind); err == nil && kind.Commands {
		return r.Fault.Undo
	}
	if c, err := host.Read(r.Node); err != nil || len(c.Start) == 0 {
		return ""
	}
	return r.Fault.Undo + " # if it does not run"
}

func printReverted(io stdio, rep agent.Report, err error) {
	for _, o := range rep.Outcomes {
		f := o.Record.Fault
		fmt.Fprintf(io.out, "%s: %s: %s (drill %s)", f.Node, f.Does, o.Result, o.Record.Drill)
		if o.Proof != "" {
			fmt.Fprintf(io.out, ": %s", o.Proof)
		}
		fmt.Fprintln(io.out)
	}
	if len(rep.Outcomes) == 0 && err == nil {
		fmt.Fprintln(io.out, "nothing is left to revert")
	}
}
