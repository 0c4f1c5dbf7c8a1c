package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/diag"
)

func revertCmd(io stdio) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "revert",
		Short: "Take back every fault that a drill which died has left on this host",
		Long: `Take back every fault in this host's journal whose drill is dead. It is safe to
repeat. A fault that a running drill holds is left to it, unless --all is given.
Exit code 6 says that something is still in place, and prints the command that
removes it.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			home, err := homeDir()
			if err != nil {
				return err
			}
			if err := sayCommands(io, home); err != nil {
				return diag.Code(err, exitLeft)
			}
			rep, err := agent.RevertAll(c.Context(), agent.RevertOptions{Config: agentConfig(home), Force: all})
			printReverted(io, rep)
			if err := errors.Join(err, rep.Err()); err != nil {
				return diag.Code(err, exitLeft)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also those that a running drill holds")
	return c
}

// sayCommands says, before they are run, which commands of the operator's take
// back what is left.
func sayCommands(io stdio, home string) error {
	left, err := agent.Outstanding(home)
	if err != nil {
		return err
	}
	for _, r := range left {
		kind, err := injectorOf(r.Fault.Kind)
		if err != nil || !kind.Commands {
			continue // one that is not known is reported by the revert itself
		}
		if err := ownJournal(journal.Dir(home)); err != nil {
			return err
		}
		fmt.Fprintf(io.out, "%s: will run: %s\n", r.Fault.Node, r.Fault.Undo)
	}
	return nil
}

func printReverted(io stdio, rep agent.Report) {
	for _, o := range rep.Outcomes {
		f := o.Record.Fault
		fmt.Fprintf(io.out, "%s: %s: %s (drill %s)", f.Node, f.Does, o.Result, o.Record.Drill)
		if o.Proof != "" {
			fmt.Fprintf(io.out, ": %s", o.Proof)
		}
		fmt.Fprintln(io.out)
	}
	if len(rep.Outcomes) == 0 {
		fmt.Fprintln(io.out, "nothing is left to revert")
	}
}
