// Command dapple runs drills for high availability: it breaks one thing on
// purpose in a real system, measures what follows, and judges it against what
// its owners promised.
//
// This package is the command table, the binding of names to things, and the
// exit codes. It is the only place that chooses concrete injectors, systems,
// places and reports.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/early"
)

func main() { os.Exit(Main(os.Args[1:])) }

// Main is the program, and returns its exit code. Tests call it too.
func Main(args []string) int {
	if err := early.Over(); err != nil {
		fmt.Fprintf(os.Stderr, "dapple: %v\n", err)
		return exitRefused
	}
	if code, done := hidden(args); done {
		return code
	}
	ctx, stop := interruptible()
	defer stop()
	defer stoppable()()
	return execute(ctx, args, stdio{os.Stdin, os.Stdout, os.Stderr})
}

// stdio is where a command reads and writes: results on out, progress on err.
type stdio struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

func execute(ctx context.Context, args []string, io stdio) int {
	root := newRoot(io)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitPass
	}
	if !errors.Is(err, errSaid) {
		say(io, err)
	}
	return codeOf(err)
}

// say prints an error: positioned problems with their excerpts, anything else in
// one line, with what can be done about it.
func say(io stdio, err error) {
	if len(diag.ProblemsOf(err)) == 0 {
		fmt.Fprint(io.err, "dapple: ")
	}
	if werr := diag.Write(io.err, err); werr != nil {
		fmt.Fprintf(os.Stderr, "dapple: %v (and it could not be printed: %v)\n", err, werr)
	}
}

// newRoot is the command table.
func newRoot(io stdio) *cobra.Command {
	root := &cobra.Command{
		Use:   "dapple",
		Short: "Drill a highly available system: break one thing, measure, judge",
		Long: `dapple runs a declared drill against a real system. It breaks one thing on
purpose and says, with error bars, how long until the system noticed, until it
worked again (RTO), which acknowledged writes are gone (RPO), and whether two
nodes took writes at once (split-brain).

Exit codes: 0 all objectives met; 1 an objective missed; 2 usage or an invalid
file; 3 preflight refused, nothing was touched; 4 aborted or interrupted,
everything was reverted; 5 inconclusive or invalid; 6 a fault or a trace of one
is still in place, and a person must act.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
	}
	root.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		err := fmt.Errorf("unknown command %q", args[0])
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return usage(diag.Hint(err, "did you mean "+strings.Join(near, ", ")+"?"))
		}
		return usage(diag.Hint(err, "dapple --help lists them"))
	}
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w (see %q)", err, c.CommandPath()+" --help"))
	})
	var g globals
	root.PersistentFlags().StringVar(&g.logLevel, "log-level", "", "write dapple's own debugging log to stderr: debug, info, warn or error")
	root.PersistentFlags().BoolVarP(&g.quiet, "quiet", "q", false, "no progress on stderr")
	root.PersistentFlags().StringVar(&g.agent, "agent", agentAuto, "where faults are held: local, container (a helper container of the Docker engine), or auto: local if this process has the rights, else container")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return checkAgent(g.agent) }
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		demoCmd(&g, io), initCmd(&g, io), checkCmd(io), schemaCmd(io), planCmd(&g, io), runCmd(&g, io), revertCmd(&g, io),
		judgeCmd(io), reportCmd(io), diffCmd(io), listCmd(io), showCmd(io), trendCmd(io), checklistCmd(io), verifyCmd(io), sweepCmd(&g, io), compareCmd(&g, io), doctorCmd(&g, io), selftestCmd(&g, io), clusterCmd(&g, io),
		scheduleCmd(&g, io), serveCmd(io), stopCmd(io), ackCmd(io), trainCmd(&g, io), stampCmd(io), versionCmd(io),
	)
	for _, c := range root.Commands() {
		checkArgs(c)
	}
	return root
}

// checkArgs makes a wrong number of arguments a usage error.
func checkArgs(c *cobra.Command) {
	if args := c.Args; args != nil {
		c.Args = func(c *cobra.Command, a []string) error {
			if err := args(c, a); err != nil {
				return usage(fmt.Errorf("%w (see %q)", err, c.CommandPath()+" --help"))
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
}

// globals are the flags that every command has.
type globals struct {
	logLevel string
	quiet    bool
	agent    string
}

// interruptible returns a context that ends at the first Ctrl-C or SIGTERM. A
// second one does not skip the revert: the engine goes on with it, and says
// what is still in place.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 1; ; n++ {
			select {
			case s := <-ch:
				if n == 1 {
					fmt.Fprintf(os.Stderr, "\ndapple: %v: reverting; a second Ctrl-C does not skip that\n", s)
					cancel(errInterrupted)
				} else {
					fmt.Fprintln(os.Stderr, "\ndapple: still reverting; `dapple revert` lists and takes back what is left if this process is killed")
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() { signal.Stop(ch); close(done); cancel(nil) }
}

var errInterrupted = errors.New("interrupted by a person")
