package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/schedule"
	"github.com/dapple-drills/dapple/internal/diag"
)

// scheduled does the drills that the scheduler asks for, as "run" would.
type scheduled struct {
	g     *globals
	io    stdio
	flags scheduleFlags
}

var _ schedule.Runner = (*scheduled)(nil)

// Run does one drill. The files are read anew: what is on the disk now is what the
// operator means.
func (r *scheduled) Run(ctx context.Context, o schedule.Order) schedule.Outcome {
	f := scheduledDrill(o.File, o.Schedule)
	f.commands, f.clock = r.flags.commands, r.flags.clock
	files, err := loadFiles(f)
	if err != nil {
		return schedule.Outcome{State: schedule.Failed, Why: err.Error()}
	}
	quiet := stdio{r.io.in, io.Discard, plain{r.io.err}}
	run, err := drillOnce(ctx, r.g, quiet, f, files)
	switch {
	case run == nil && refused(err):
		return schedule.Outcome{State: schedule.Refused, Why: err.Error()}
	case run == nil:
		return schedule.Outcome{State: schedule.Failed, Why: err.Error()}
	}
	why := string(run.Record.Verdict)
	if run.Record.Reason != "" {
		why += ": " + run.Record.Reason
	}
	if code, _ := diag.CodeOf(err); code == exitLeft {
		why += "; something is still in place: see `dapple revert`"
	}
	if err != nil && !errors.Is(err, errSaid) {
		why += ": " + err.Error()
	}
	return schedule.Outcome{State: schedule.Done, Why: why, Run: run.Record.Run}
}

// Revert takes back what a dapple that died has left on this machine.
func (r *scheduled) Revert(ctx context.Context) error {
	rep, err := takeBack(ctx, r.g, r.io, false)
	printReverted(stdio{r.io.in, plain{r.io.err}, r.io.err}, rep, err)
	return errors.Join(err, rep.Err())
}

// plain is a writer that is no terminal: nothing is drawn there.
type plain struct{ io.Writer }

// A teller writes a line for each thing that happens.
type teller struct{ w io.Writer }

func (t teller) tell(c schedule.Change) {
	now := time.Now().Format(time.RFC3339)
	if c.Trouble != nil {
		fmt.Fprintf(t.w, "%s trouble %v\n", now, c.Trouble)
		for _, h := range diag.Hints(c.Trouble) {
			fmt.Fprintf(t.w, "  hint: %s\n", h)
		}
		return
	}
	d := c.Decided
	fmt.Fprintf(t.w, "%s %-7s %s, due %s", now, d.State, d.Schedule, d.Local)
	if d.Why != "" {
		fmt.Fprintf(t.w, ": %s", d.Why)
	}
	if d.Run != "" {
		fmt.Fprintf(t.w, " (run %s)", d.Run)
	}
	fmt.Fprintln(t.w)
}

func nextCmd(out stdio, f *scheduleFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "next FILE…",
		Short: "Say when schedules fire next, and why a drill does not begin then; changes nothing",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			entries, err := loadSchedules(args)
			if err != nil {
				return err
			}
			var list []upcoming
			for _, e := range entries {
				for _, n := range e.Upcoming(time.Now(), f.n) {
					list = append(list, upcoming{e.Name, n.Local, e.TimeZone, n.At.UTC(), n.Held})
				}
			}
			if f.asJSON {
				return json.NewEncoder(out.out).Encode(list)
			}
			w := tabwriter.NewWriter(out.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SCHEDULE\tLOCAL\tZONE\tUTC\tHELD")
			for _, u := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.Schedule, u.Local, u.Zone, u.At.Format("2006-01-02T15:04Z"), u.Held)
			}
			return w.Flush()
		},
	}
	c.Flags().IntVarP(&f.n, "number", "n", 5, "how many firings of each schedule")
	return c
}

// upcoming is a firing that is to come.
type upcoming struct {
	Schedule string    `json:"schedule"`
	Local    string    `json:"local"`
	Zone     string    `json:"time_zone"`
	At       time.Time `json:"at"`
	Held     string    `json:"held,omitempty"`
}

// A listed schedule is one with its last and its next firing.
type listed struct {
	Name  string            `json:"name"`
	Owner string            `json:"owner"`
	Cron  string            `json:"cron"`
	Next  *upcoming         `json:"next"`
	Last  *schedule.Decided `json:"last"`
}

// listSchedules lists them with what became of them, if there is a database yet.
func listSchedules(ctx context.Context, out stdio, f scheduleFlags, entries []*schedule.Entry) (err error) {
	home, err := homeDir()
	if err != nil {
		return err
	}
	var store *schedule.Store
	where := databaseOf(f, home)
	if _, serr := os.Stat(where); !errors.Is(serr, fs.ErrNotExist) || schedule.Remote(where) {
		if store, err = schedule.Open(ctx, where); err != nil {
			return usage(err)
		}
		defer func() { err = errors.Join(err, store.Close()) }()
	}
	var list []listed
	for _, e := range entries {
		l := listed{Name: e.Name, Owner: e.Owner, Cron: e.Cron}
		for _, n := range e.Upcoming(time.Now(), 1) {
			l.Next = &upcoming{e.Name, n.Local, e.TimeZone, n.At.UTC(), n.Held}
		}
		if store != nil {
			last, err := store.Decided(ctx, e.Name, 1)
			if err != nil {
				return err
			}
			if len(last) > 0 {
				l.Last = &last[0]
			}
		}
		list = append(list, l)
	}
	if f.asJSON {
		return json.NewEncoder(out.out).Encode(list)
	}
	return printSchedules(out.out, list)
}

func printSchedules(out io.Writer, list []listed) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SCHEDULE\tCRON\tNEXT\tLAST\tOWNER")
	for _, l := range list {
		next, last := "never", "none yet"
		if l.Next != nil {
			next = l.Next.Local + " " + l.Next.Zone
			if l.Next.Held != "" {
				next += " (held: " + l.Next.Held + ")"
			}
		}
		if l.Last != nil {
			last = fmt.Sprintf("%s %s", l.Last.Local, l.Last.State)
			if l.Last.Why != "" {
				last += ": " + l.Last.Why
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Name, l.Cron, next, last, l.Owner)
	}
	return w.Flush()
}
