package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/internal/seal"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/scenarios"
)

type checklistFlags struct {
	quarter string
	roster  string
	systems []string
	formats []string
	asJSON  bool
	out     string
	key     string
}

func checklistCmd(io stdio) *cobra.Command {
	var f checklistFlags
	c := &cobra.Command{
		Use:   "checklist",
		Short: "The quarterly checklist, answered from the records of drills",
		Long: `Answer the seven questions of the quarterly checklist for every system that was
drilled, from the records alone: each is met, due, overdue or failed, with the
record that proves it (id, date, hash). Beside it: which failures were drilled on
which system and how long ago, who has practised, and what is open.

Only what is proven counts. A drill that was inconclusive, invalid or aborted meets
nothing, and neither does a record that is in no chain, or was changed since. A
miss stays open until a later drill of the same scenario meets it.

--out writes the checklist as HTML, Markdown, CSV and JSON, and signs them and the
records that they name (ed25519, in-toto statement in a DSSE envelope): "dapple
verify" tells what was changed since. The key is made at the first use; its public
part, beside it, is for those who verify.`,
		Example: `  dapple checklist --roster roster.yaml
  dapple checklist --quarter 2026Q4 --roster roster.yaml --system orders-db.yaml --out 2026Q4
  dapple verify 2026Q4/checklist-2026Q4.dsse.json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.asJSON {
				f.formats = []string{"json"}
			}
			return writeChecklist(c.Context(), io, f)
		},
	}
	c.Flags().StringVar(&f.quarter, "quarter", "", "the quarter, such as 2026Q4 (default: the present one)")
	c.Flags().StringVar(&f.roster, "roster", "", "the roster file: who is on call for which systems")
	c.Flags().StringArrayVar(&f.systems, "system", nil, "a system file that must be on the page, even if the system was never drilled; repeatable")
	c.Flags().StringArrayVar(&f.formats, "format", nil, "KIND[=PATH], repeatable: "+strings.Join(checklistFormats(), ", "))
	c.Flags().BoolVar(&f.asJSON, "json", false, "as JSON")
	c.Flags().StringVar(&f.out, "out", "", "a directory for all formats, signed")
	c.Flags().StringVar(&f.key, "key", "", "the key that signs, as PEM (default: $DAPPLE_HOME/keys/checklist.pem, made at the first use)")
	return c
}

func checklistFormats() (names []string) {
	for _, f := range reports.ChecklistFormats() {
		names = append(names, f.Name)
	}
	return names
}

func writeChecklist(ctx context.Context, out stdio, f checklistFlags) error {
	if err := f.check(); err != nil {
		return usage(err)
	}
	in, err := checklistInput(f)
	if err != nil {
		return usage(err)
	}
	c, err := makeChecklist(ctx, out, in)
	if err != nil {
		return err
	}
	if f.out != "" {
		if err := signedChecklist(ctx, out, f, &c); err != nil {
			return err
		}
	}
	if len(f.formats) == 0 && f.out == "" {
		f.formats = []string{"text"}
	}
	for _, format := range f.formats {
		kind, path, _ := strings.Cut(format, "=")
		write := checklistWriter(kind)
		if err := writeTo(out.out, path, kind, func(w io.Writer) error { return write(w, &c) }); err != nil {
			return err
		}
	}
	return nil
}

func (f checklistFlags) check() error {
	for _, format := range f.formats {
		kind, _, _ := strings.Cut(format, "=")
		if checklistWriter(kind) == nil {
			return diag.Hint(fmt.Errorf("no format %q of a checklist", kind), "there are: "+strings.Join(checklistFormats(), ", "))
		}
	}
	return nil
}

func checklistWriter(kind string) func(io.Writer, *checklist.Checklist) error {
	for _, f := range reports.ChecklistFormats() {
		if f.Name == kind {
			return f.Write
		}
	}
	return nil
}

// checklistInput reads what the flags name.
func checklistInput(f checklistFlags) (in checklist.Input, err error) {
	in = checklist.Input{Now: time.Now(), By: operator(), Version: buildVersion()}
	in.Quarter = checklist.QuarterOf(in.Now)
	if f.quarter != "" {
		if in.Quarter, err = checklist.ParseQuarter(f.quarter); err != nil {
			return in, err
		}
		if in.Now.Before(in.Quarter.From()) {
			return in, fmt.Errorf("the quarter %s has not begun", f.quarter)
		}
	}
	var problems error
	if f.roster != "" {
		in.Roster, err = scenarios.LoadRoster(f.roster)
		problems = diag.Append(problems, err)
	}
	for _, path := range f.systems {
		s, err := scenarios.LoadSystem(path, vocabulary())
		problems = diag.Append(problems, err)
		if s != nil {
			in.Systems = append(in.Systems, s)
		}
	}
	return in, problems
}

// makeChecklist asks the history, and leaves out every record that it would name
// and that is not what it was when it was kept.
func makeChecklist(ctx context.Context, out stdio, in checklist.Input) (c checklist.Checklist, err error) {
	home, err := homeDir()
	if err != nil {
		return c, err
	}
	x, err := openHistory(ctx, out)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	if in.Runs, err = x.Runs(ctx, history.Query{Until: in.Quarter.Until()}); err != nil {
		return c, err
	}
	if in.Anchor, err = history.ChainFile(home).Anchor(); err != nil {
		return c, err
	}
	where := map[string]string{}
	for _, r := range in.Runs {
		where[r.Run] = r.Dir
	}
	var notes []string
	for seen := map[string]bool{}; ; {
		c = checklist.Make(in)
		bad := map[string]bool{}
		for _, p := range c.Proofs() {
			if seen[p.Run] {
				continue
			}
			seen[p.Run] = true
			if why := history.Unchanged(where[p.Run], p.SHA256); why != nil {
				bad[p.Run] = true
				notes = append(notes, fmt.Sprintf("run %s does not count: %v", p.Run, why))
			}
		}
		if len(bad) == 0 {
			c.Notes = append(c.Notes, notes...)
			return c, nil
		}
		in.Runs = slices.DeleteFunc(in.Runs, func(r history.Run) bool { return bad[r.Run] })
	}
}

// signedChecklist writes all formats and the envelope into a directory.
func signedChecklist(ctx context.Context, out stdio, f checklistFlags, c *checklist.Checklist) error {
	path := f.key
	if path == "" {
		home, err := homeDir()
		if err != nil {
			return err
		}
		path = filepath.Join(home, "keys", "checklist.pem")
	}
	key, made, err := seal.LoadKey(path)
	if err != nil {
		return usage(err)
	}
	if made {
		fmt.Fprintf(out.err, "a signing key was made: %s; give %s.pub to those who verify\n", path, path)
	}
	files := map[string][]byte{}
	for _, format := range reports.ChecklistFormats() {
		var b bytes.Buffer
		if format.Name == "text" {
			continue
		}
		if err := format.Write(&b, c); err != nil {
			return err
		}
		files["checklist-"+c.Quarter+"."+format.Name] = b.Bytes()
	}
	envelope, err := checklist.Sign(ctx, key, c, files)
	if err != nil {
		return err
	}
	signed := "checklist-" + c.Quarter + ".dsse.json"
	files[signed] = envelope
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return usage(fmt.Errorf("make the directory of the checklist: %w", err))
	}
	for name := range files {
		if _, err := os.Lstat(filepath.Join(f.out, name)); err == nil {
			return usage(fmt.Errorf("%s is there already: a signed checklist is not overwritten", filepath.Join(f.out, name)))
		}
	}
	for name, data := range files {
		if err := durable.WriteFile(filepath.Join(f.out, name), data, 0o644); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out.err, "signed: %s\n", filepath.Join(f.out, signed))
	return err
}
