package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/sweep"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

// sweepFlags are what sweep takes besides those of a drill.
type sweepFlags struct {
	drillFlags
	set      string          // PARAMETER=VALUE,VALUE…
	blips    []time.Duration // how long the disturbances are
	tolerate time.Duration
	kill     string // the scenario in which the primary is killed
	blip     string // the one in which it is disturbed

	parameter string
	values    []time.Duration
}

func sweepCmd(g *globals, io stdio) *cobra.Command {
	var f sweepFlags
	c := &cobra.Command{
		Use:   "sweep",
		Short: "Try a parameter's values: outage against failovers that need not be",
		Long: `Drill a built-in cluster once for each value of one of its parameters: the primary
is killed, and, for each length of --blip, it is stopped for so long and goes on. A
short time-out finds a dead primary soon, and takes a hiccup for a death; a long one
the reverse. The picture shows both, with the values that are proven to meet the
declared RTO in every trial while no tolerated disturbance moved the role.

Parameters are election-timeout of the etcd clusters and ttl of the patroni clusters.
A cluster is started for each drill, and is gone after it. The records of all drills
are kept below --out, beside sweep.json and sweep.html; they are no part of the
history, since their cluster is another one each time.`,
		Example: `  dapple sweep --on cluster:etcd --set election-timeout=100ms,300ms,1s,3s --blip 200ms,700ms --trials 3
  dapple sweep --on cluster:patroni --set ttl=20s,30s,60s,120s --blip 5s,15s --trials 3 --out ttl`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context(), g, io) },
	}
	c.Flags().StringVar(&f.on, "on", "", "the built-in cluster: cluster:NAME")
	c.Flags().StringVar(&f.set, "set", "", "the parameter and its values: NAME=VALUE,VALUE…")
	c.Flags().DurationSliceVar(&f.blips, "blip", nil, "how long the primary stops and goes on; repeatable")
	c.Flags().DurationVar(&f.tolerate, "tolerate", 0, "the longest blip that must cause no failover (default: the shortest of --blip)")
	c.Flags().StringVar(&f.kill, "kill-scenario", "", "the scenario in which the primary is killed (default: that of the library)")
	c.Flags().StringVar(&f.blip, "blip-scenario", "", "the scenario of the blip; its one \"for:\" is what --blip says (default: that of the library)")
	c.Flags().IntVar(&f.trials, "trials", 0, "how many trials of each (default: the scenario's)")
	c.Flags().StringVar(&f.out, "out", "", "where all is kept: new, or empty (default: below $DAPPLE_HOME/sweeps)")
	c.Flags().Int64Var(&f.seed, "seed", 0, "reproduces what is chosen at random")
	c.Flags().BoolVar(&f.asJSON, "json", false, "as JSON")
	return c
}

// blipFor finds the one place that says how long the fault of a blip is held.
var blipFor = regexp.MustCompile(`(?m)^([ -]*for:[ \t]*)[^\s#]+`)

// swept are the scenarios of the library by the kind of system.
func swept(kind string) (kill, blip string) {
	switch kind {
	case "etcd":
		return "etcd/leader-kill", "etcd/leader-stall"
	case "patroni":
		return "patroni/primary-kill", "patroni/primary-frozen"
	}
	return "", ""
}

// check reads the flags, before anything is started.
func (f *sweepFlags) check() error {
	name, isCluster := strings.CutPrefix(f.on, clusterPrefix)
	if !isCluster {
		return diag.Hint(errors.New("--on: a sweep needs a built-in cluster, since it starts one for each value"), "such as --on cluster:etcd")
	}
	if err := vocabulary().CheckCluster(name); err != nil {
		return err
	}
	parameter, values, ok := strings.Cut(f.set, "=")
	if !ok || values == "" {
		return diag.Hint(fmt.Errorf("--set %q: want NAME=VALUE,VALUE…", f.set), "such as --set election-timeout=300ms,1s,3s")
	}
	f.parameter = parameter
	for v := range strings.SplitSeq(values, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(v))
		if err != nil {
			return fmt.Errorf("--set: %q is no duration", v)
		}
		if err := testcluster.Tune(&testcluster.Options{}, name, parameter, d); err != nil {
			return fmt.Errorf("--set: %w", err)
		}
		f.values = append(f.values, d)
	}
	for _, b := range f.blips {
		if b <= 0 {
			return fmt.Errorf("--blip %v: must be longer than 0s", b)
		}
	}
	if f.tolerate == 0 && len(f.blips) > 0 {
		f.tolerate = slices.Min(f.blips)
	}
	if f.trials < 0 {
		return fmt.Errorf("--trials %d: at least one", f.trials)
	}
	for _, c := range testcluster.Names() {
		if c.Name == name {
			kill, blip := swept(c.Kind)
			f.kill, f.blip = firstOf(f.kill, kill), firstOf(f.blip, blip)
		}
	}
	return nil
}

func (f *sweepFlags) run(ctx context.Context, g *globals, out stdio) error {
	if err := f.check(); err != nil {
		return usage(err)
	}
	kill, err := f.files(f.kill, 0)
	if err != nil {
		return err
	}
	blips := make([]drillFiles, len(f.blips))
	for i, b := range f.blips {
		if blips[i], err = f.files(f.blip, b); err != nil {
			return err
		}
	}
	if f.out, err = sweepDir(f.drillFlags); err != nil {
		return err
	}
	s := sweep.Sweep{Schema: sweep.Schema, Made: time.Now().UTC(), System: f.on, Parameter: f.parameter, Tolerate: float64(f.tolerate) / float64(time.Millisecond)}
	for _, value := range f.values {
		v := sweep.Value{ValueMS: float64(value) / float64(time.Millisecond), Blips: []sweep.Blip{}}
		rec, err := f.drill(ctx, g, out, kill, value, "kill")
		if err != nil {
			return err
		}
		v.Kill = sweep.KillOf(rec)
		if rec.Objectives.RTOMS != nil {
			s.RTOMS = rec.Objectives.RTOMS
		}
		for i, b := range f.blips {
			rec, err := f.drill(ctx, g, out, blips[i], value, "blip-"+b.String())
			if err != nil {
				return err
			}
			v.Blips = append(v.Blips, sweep.BlipOf(b, rec))
		}
		s.Values = append(s.Values, v)
		s.Judge()
		if err := f.keep(&s); err != nil { // so that an interrupted one leaves what it has
			return err
		}
	}
	if f.asJSON {
		return reports.SweepJSON(out.out, &s)
	}
	if err := reports.SweepText(out.out, &s); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out.err, "picture: %s\n", filepath.Join(f.out, "sweep.html"))
	return err
}

// files reads a scenario; a blip is as long as it says.
func (f *sweepFlags) files(name string, blip time.Duration) (d drillFiles, err error) {
	d = drillFiles{scenarioName: name, cluster: strings.TrimPrefix(f.on, clusterPrefix)}
	if d.scenarioData, d.foreign, err = readScenario(name); err != nil {
		return d, usage(err)
	}
	if blip > 0 {
		if n := len(blipFor.FindAll(d.scenarioData, -1)); n != 1 {
			return d, usage(fmt.Errorf("--blip-scenario %s: it says %d times how long a fault is held (\"for:\" at the beginning of a line), and must once", name, n))
		}
		d.scenarioData = blipFor.ReplaceAll(d.scenarioData, []byte("${1}"+blip.String()))
	}
	if d.scenario, err = scenarios.ParseScenario(name, d.scenarioData, vocabulary()); err != nil {
		return d, usage(err)
	}
	if f.trials > 0 {
		d.scenario.Trials = f.trials
	}
	return d, usage(d.kindFits())
}

func sweepDir(f drillFlags) (string, error) {
	f.run = runID()
	if f.out == "" {
		home, err := homeDir()
		if err != nil {
			return "", err
		}
		f.out = filepath.Join(home, "sweeps", f.run)
	}
	return runDir(f, "")
}

// drill is one drill at one value. Its verdict is no error, nor is a refusal, of
// which nothing is known then; what is left in place, and an interruption, are.
func (f *sweepFlags) drill(ctx context.Context, g *globals, out stdio, files drillFiles, value time.Duration, what string) (*drills.Record, error) {
	df := f.drillFlags
	df.out = filepath.Join(f.out, value.String(), what)
	df.tune = func(o *testcluster.Options) error { return testcluster.Tune(o, files.cluster, f.parameter, value) }
	sc := *files.scenario
	files.scenario = &sc
	fmt.Fprintf(progress(g, out), "%s = %v: %s\n", f.parameter, value, what)
	run, err := drillOnce(ctx, g, out, df, files)
	if run == nil && refused(err) && ctx.Err() == nil {
		say(out, err)
		return &drills.Record{Verdict: "refused"}, nil
	}
	if run == nil || errors.Is(err, errInterrupted) || run.Record.Left() || ctx.Err() != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	return &run.Record, nil
}

// keep writes the sweep beside its records.
func (f *sweepFlags) keep(s *sweep.Sweep) error {
	for name, write := range map[string]func(io.Writer, *sweep.Sweep) error{"sweep.json": reports.SweepJSON, "sweep.html": reports.SweepHTML} {
		var b bytes.Buffer
		if err := write(&b, s); err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(f.out, name), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
