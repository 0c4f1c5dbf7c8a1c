package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/guardrails"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/scenarios"
)

func stopCmd(io stdio) *cobra.Command {
	var why string
	var lift bool
	c := &cobra.Command{
		Use:   "stop",
		Short: "End every drill of this home at once, with everything reverted, and let none begin",
		Long: `Write the file "stop" in $DAPPLE_HOME. Every drill that runs with this home sees it
within a quarter of a second, takes everything back and ends as aborted; none begins
while it is there. A SIGUSR1 to any dapple does the same. --clear lifts it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			home, err := homeDir()
			if err != nil {
				return err
			}
			if lift {
				err = durable.Remove(guardrails.StopFile(home))
				if err == nil {
					_, err = fmt.Fprintln(io.out, "drills may begin again")
				}
				return err
			}
			if err := stopAll(home, why+", by "+operator()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(io.out, "stopped: %s is there; `dapple stop --clear` lifts it\n", guardrails.StopFile(home))
			return err
		},
	}
	c.Flags().StringVar(&why, "why", "stopped", "what whoever is refused is told")
	c.Flags().BoolVar(&lift, "clear", false, "let drills begin again")
	return c
}

// stopAll writes the stop file.
func stopAll(home, why string) error {
	err := durable.MkdirAll(home, 0o700)
	if err == nil {
		err = durable.WriteFile(guardrails.StopFile(home), []byte(why+"\n"), 0o644)
	}
	if err != nil {
		return fmt.Errorf("stop the drills: %w", err)
	}
	return nil
}

// stoppable has a SIGUSR1 stop all drills, until release.
func stoppable() (release func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-ch:
				home, err := homeDir()
				if err == nil {
					err = stopAll(home, fmt.Sprintf("SIGUSR1 to pid %d", os.Getpid()))
				}
				fmt.Fprintf(os.Stderr, "\ndapple: SIGUSR1: every drill of this home ends now; `dapple stop --clear` lets them begin again\n")
				if err != nil {
					fmt.Fprintf(os.Stderr, "dapple: %v\n", err)
				}
			}
		}
	}()
	return func() { signal.Stop(ch); close(done) }
}

func ackCmd(io stdio) *cobra.Command {
	var by string
	c := &cobra.Command{
		Use:   "ack SYSTEM",
		Short: "Say that you are on call and know of the drills on a system in production",
		Long: `Acknowledge the drills that are to come on a system, by its name. In production
none begins without; it holds for half an hour, or as long as the system's guardrails
say (on_call).`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			home, err := homeDir()
			if err != nil {
				return err
			}
			a := guardrails.Ack{System: args[0], By: firstOf(by, operator()), At: time.Now()}
			if err := guardrails.Acknowledge(home, a); err != nil {
				return err
			}
			_, err = fmt.Fprintf(io.out, "%s knows of the drills on %s, as of %s\n", a.By, a.System, a.At.Format(time.RFC3339))
			return err
		},
	}
	c.Flags().StringVar(&by, "by", "", "who is on call (default: the user who runs dapple)")
	return c
}

// guard gives the plan its guards, and keeps other drills off what the system
// depends on.
func (b *bound) guard(pinned scenarios.Environment) {
	p := b.plan
	p.Guards = guardrails.Of(guardrails.Case{
		Scenario: p.Scenario, System: p.Target, Pinned: pinned, Home: b.home, Now: time.Now,
		Past: b.past,
	})
	ready := p.Ready
	p.Ready = func(ctx context.Context) (func() error, error) {
		release, err := ready(ctx)
		if err != nil {
			return nil, err
		}
		locks := []func() error{release}
		free := func() error {
			var errs []error
			for _, l := range locks {
				errs = append(errs, l())
			}
			return errors.Join(errs...)
		}
		for _, system := range p.Target.Guardrails.DependsOn {
			l, err := journal.Take(b.home, system, p.Run)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("guardrail other drills: %s depends on it: %w", p.Target.Name, err), free())
			}
			locks = append(locks, l.Release)
		}
		return free, nil
	}
}

// past asks the history for earlier drills. A record that is in no chain, or was
// changed since, proves nothing, and of a chain that cannot be read nothing is known.
func (b *bound) past(ctx context.Context, q history.Query) (runs []history.Run, err error) {
	x, why, err := history.OpenAnyway(ctx, b.home, os.Getenv(databaseEnv))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	runs, changed, err := x.Proven(ctx, q)
	if err == nil && len(runs) == 0 {
		err = errors.Join(why, errors.Join(changed...)) // why there may be none
	}
	return runs, err
}
