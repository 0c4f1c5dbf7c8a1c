package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/training"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/diag"
)

// present stands for the one training that runs in this home.
const present = "now"

func stampCmd(io stdio) *cobra.Command {
	var s training.Said
	c := &cobra.Command{
		Use:   "stamp RUN STAMP [-- COMMAND ARG…]",
		Short: "Say in a training what point you have come to, and begin your own command with it",
		Long: `Give a stamp to a training that runs on this machine: acknowledged, diagnosed, decided,
acted or resolved. RUN is its id or its run directory, or "now" for the only one of this
home.

With a command, the stamp is given and then the command begun, so that the time of the
machine is counted from there; dapple ends with the command's own exit code. Of the
command its name alone is kept: arguments may hold secrets.`,
		Example: `  dapple stamp now acknowledged --by ana
  dapple stamp now diagnosed --note "pg1 is dead, pg2 streams no more"
  dapple stamp now acted -- pg_ctl promote -D /var/lib/postgresql/17/main`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			var command []string
			if n := c.ArgsLenAtDash(); n >= 0 {
				args, command = args[:n], args[n:]
			}
			if len(args) != 2 {
				return usage(errors.New("want RUN and STAMP; a command comes after --"))
			}
			s.What = args[1]
			return stamp(c.Context(), io, args[0], s, command)
		},
	}
	c.Flags().StringVar(&s.By, "by", "", "who says so, by the name of the roster (default: the trainee)")
	c.Flags().StringVar(&s.Note, "note", "", "a few words, which the debrief shows")
	return c
}

func stamp(ctx context.Context, io stdio, run string, s training.Said, command []string) error {
	if !slices.Contains(verdict.Stamps(), s.What) {
		return usage(diag.Hint(fmt.Errorf("%q is no stamp", s.What), "there are: "+strings.Join(verdict.Stamps(), ", ")))
	}
	t, err := findTraining(run)
	if err != nil {
		return err
	}
	if len(command) > 0 {
		s.Ran = filepath.Base(command[0])
	}
	if err := t.Stamp(ctx, s); err != nil {
		return refuse(fmt.Errorf("give the stamp: %w", err))
	}
	fmt.Fprintf(io.err, "%s\n", s.What)
	if len(command) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.in, io.out, io.err
	var ended *exec.ExitError
	if err := cmd.Run(); errors.As(err, &ended) && ended.ExitCode() >= 0 {
		return exit(ended.ExitCode())
	} else if err != nil {
		return fmt.Errorf("run %s: %w", s.Ran, err)
	}
	return nil
}

// findTraining finds the training that runs under that name.
func findTraining(run string) (*training.Client, error) {
	runs, err := runsDir()
	if err != nil {
		return nil, err
	}
	dir := run
	switch _, serr := os.Stat(filepath.Join(run, training.AccessFile)); {
	case serr == nil:
	case run == present:
		if dir, err = onlyTraining(runs); err != nil {
			return nil, usage(err)
		}
	default:
		if dir, err = history.Find(runs, run); err != nil {
			return nil, usage(err)
		}
	}
	t, err := training.Open(dir)
	if errors.Is(err, training.ErrNotNow) {
		return nil, refuse(err)
	}
	return t, err
}

// onlyTraining is the directory of the one training below runs.
func onlyTraining(runs string) (string, error) {
	found, err := filepath.Glob(filepath.Join(runs, "*", training.AccessFile))
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", diag.Hint(fmt.Errorf("no training runs in %s", runs), "one with --out is named by its directory")
	case len(found) > 1:
		return "", fmt.Errorf("%d trainings run: name one of %s", len(found), strings.Join(found, ", "))
	}
	return filepath.Dir(found[0]), nil
}

// paceCmd is train next and train end.
func paceCmd(io stdio, what, short string) *cobra.Command {
	s := training.Said{What: what}
	c := &cobra.Command{
		Use: what + " RUN", Short: short, Args: cobra.ExactArgs(1),
		Long: short + ". RUN is its id or its run directory, or \"now\" for the only one of this home.",
		RunE: func(c *cobra.Command, args []string) error {
			t, err := findTraining(args[0])
			if err != nil {
				return err
			}
			if err := t.Pace(c.Context(), s); err != nil {
				return refuse(err)
			}
			_, err = fmt.Fprintln(io.err, what)
			return err
		},
	}
	c.Flags().StringVar(&s.By, "by", "", "who says so (default: the trainer)")
	c.Flags().StringVar(&s.Note, "note", "", "a few words, which the debrief shows")
	return c
}

func trainHintCmd(io stdio) *cobra.Command {
	var by string
	c := &cobra.Command{
		Use: "hint RUN", Short: "Show the next hint of the training, at its price", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := findTraining(args[0])
			if err != nil {
				return err
			}
			h, err := t.Hint(c.Context(), by)
			if err != nil {
				return refuse(err)
			}
			_, err = fmt.Fprintf(io.out, "hint %d%s: %s\n", h.N, priceOf(h), h.Text)
			return err
		},
	}
	c.Flags().StringVar(&by, "by", "", "who asks (default: the trainee)")
	return c
}

func trainStateCmd(io stdio) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "state RUN", Short: "What may be known of the training at this moment: symptoms, and what was said", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := findTraining(args[0])
			if err != nil {
				return err
			}
			s, err := t.State(c.Context())
			switch {
			case err != nil:
				return refuse(err)
			case asJSON:
				return json.NewEncoder(io.out).Encode(s)
			}
			writeState(io.out, s)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func priceOf(h training.Hint) string {
	var parts []string
	if h.Price > 0 {
		parts = append(parts, fmt.Sprintf("%g s", h.Price))
	}
	if h.Points > 0 {
		parts = append(parts, fmt.Sprintf("%d points", h.Points))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// writeState tells the symptoms and what was said.
func writeState(w io.Writer, s training.State) {
	fmt.Fprintf(w, "%d of %d clients are served\n", s.Served, s.Clients)
	for _, node := range slices.Sorted(maps.Keys(s.Roles)) {
		fmt.Fprintf(w, "%s says %s\n", node, s.Roles[node])
	}
	for _, a := range s.Alerts {
		fmt.Fprintf(w, "their monitoring says %s\n", a)
	}
	for _, l := range s.Said {
		fmt.Fprintf(w, "%s: %s %s\n", l.By, l.What, l.Note)
	}
	for _, h := range s.Shown {
		fmt.Fprintf(w, "hint %d%s: %s\n", h.N, priceOf(h), h.Text)
	}
	if s.Next != nil {
		fmt.Fprintf(w, "the next hint costs%s\n", firstOf(priceOf(*s.Next), " nothing"))
	}
}

// shellWord is s as a shell takes it for one word.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
