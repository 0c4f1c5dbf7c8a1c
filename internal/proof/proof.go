// Package proof proves that dapple finds what it is for. It drills each known-bad
// twin and the cluster beside it that is sound, and writes what became of it into
// docs/track-record.md: the twin must be caught, by its own signature, and the
// sound one must raise no alarm.
//
// Drills take minutes each and a machine to themselves, so this is no part of "make
// test" but "make proof". Each run directory is kept; one that holds a record already
// is not run again, so that a proof that was interrupted goes on. What could not be
// told (inconclusive, or the system was not steady) is neither caught nor silent: it
// is counted apart, never for us.
//
// The package judges nothing: it reads what records say.
package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Proof says what is to be drilled, and where it is kept.
type Proof struct {
	Dapple string // the program that is proven
	Runs   string // where run directories are kept
	Out    string // the track record that is written
	Rows   string // rows of the catalogue, separated by commas; "" is all
	N      int    // how often each cluster is drilled
	// Read runs nothing: only the records that are there count.
	Read bool
	// Say is told of each row that is done.
	Say func(line string)
}

// Run drills the chosen rows and writes the track record. The error says what was
// not caught, raised a false alarm, or could not be told.
func (p Proof) Run(ctx context.Context) error {
	chosen, err := choose(rows(), p.Rows)
	if err != nil {
		return err
	}
	var all []result
	for _, r := range chosen {
		res := result{row: r}
		for _, twin := range []bool{true, false} {
			if err := p.drill(ctx, &res, twin); err != nil {
				return err
			}
		}
		p.Say(res.line())
		all = append(all, res)
	}
	if err := os.WriteFile(p.Out, []byte(markdown(all)), 0o644); err != nil {
		return fmt.Errorf("write the track record: %w", err)
	}
	return failures(all)
}

func choose(all []row, only string) ([]row, error) {
	if only == "" {
		return all, nil
	}
	var out []row
	for _, word := range strings.Split(only, ",") {
		no, err := strconv.Atoi(strings.TrimSpace(word))
		before := len(out)
		for _, r := range all {
			if r.no == no {
				out = append(out, r)
			}
		}
		if err != nil || len(out) == before {
			return nil, fmt.Errorf("there is no row %q", word)
		}
	}
	return out, nil
}

// drill runs one side of a row n times, and counts what became of it.
func (p Proof) drill(ctx context.Context, res *result, twin bool) error {
	r, cluster := res.row, res.row.good
	if twin {
		cluster = r.bad
	}
	if twin && r.lacks != "" {
		return nil
	}
	for i := range p.N {
		dir := filepath.Join(p.Runs, strings.ReplaceAll(r.scenario, "/", "-")+"@"+cluster, strconv.Itoa(i+1))
		if err := p.run(ctx, r.scenario, cluster, dir); err != nil {
			return err
		}
		if err := res.read(dir, twin); err != nil {
			return err
		}
	}
	return nil
}

// run makes the record in dir unless it is there.
func (p Proof) run(ctx context.Context, scenario, cluster, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "record.json")); err == nil || p.Read {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	c := exec.CommandContext(ctx, p.Dapple, command(scenario, cluster)...)
	c.Args = append(c.Args, "--out", dir)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) } // it takes its fault back
	log, err := os.Create(dir + ".log")
	if err != nil {
		return err
	}
	c.Stdout, c.Stderr = log, log
	err = c.Run()
	// The verdict is in the record; an exit code besides it says that there is none.
	var exit *exec.ExitError
	if errors.As(err, &exit) && !slices.Contains([]int{2, 3}, exit.ExitCode()) && ctx.Err() == nil {
		err = nil
	}
	if err = errors.Join(err, log.Close()); err != nil {
		return fmt.Errorf("drill %s on %s: %w: see %s", scenario, cluster, err, log.Name())
	}
	return nil
}

// command is what a reader types to see it again.
func command(scenario, cluster string) []string {
	return []string{"run", "scenarios/library/" + scenario + ".yaml", "--on", "cluster:" + cluster}
}
