package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills"
)

func planCmd(g *globals, io stdio) *cobra.Command {
	var f drillFlags
	c := &cobra.Command{
		Use:   "plan SCENARIO",
		Short: "Say what a drill would do, to which nodes, and what to expect; changes nothing",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			f.scenario, f.run = args[0], runID()
			files, err := loadFiles(f)
			if err != nil {
				return err
			}
			b, err := bindForPlan(c.Context(), g, io, f, files)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, b.end(c.Context())) }()
			v, err := drills.Preflight(c.Context(), b.plan)
			if f.asJSON {
				return errors.Join(json.NewEncoder(io.out).Encode(previewJSON(b.plan, v, err)), err)
			}
			printPreview(io.out, b.plan, v)
			return err
		},
	}
	addDrillFlags(c, &f)
	c.Flags().BoolVar(&f.asJSON, "json", false, "as JSON")
	return c
}

func printPreview(w io.Writer, p *drills.Plan, v drills.Preview) {
	fmt.Fprintf(w, "drill   %s, %d trial(s), on %s (%s, %s)\n", p.Scenario.Name, p.Scenario.Trials, p.Target.Name, p.Target.Kind, p.Target.Environment)
	for _, n := range p.Nodes {
		fmt.Fprintf(w, "node    %-12s %s\n", n.Name(), v.Roles[n.Name()].Role)
	}
	fmt.Fprintf(w, "steady  must hold for %v, else the trial is not begun\n", p.Scenario.Steady.D())
	for _, s := range v.Steps {
		for _, f := range s.Faults {
			fmt.Fprintf(w, "would   %s: %s; for %v (by hand: %s)\n", f.Node, f.Does, s.Step.For.D(), f.Undo)
		}
	}
	fmt.Fprintf(w, "settle  up to %v, then every acknowledged write is looked for\n", p.Scenario.Settle.D())
	for _, metric := range slices.Sorted(maps.Keys(v.Expectation)) {
		e := v.Expectation[metric]
		fmt.Fprintf(w, "expect  %-10s %.1f s to %.1f s: %s\n", metric, e.MinMS/1000, e.MaxMS/1000, e.Why)
	}
	for _, note := range v.Notes {
		fmt.Fprintf(w, "note    %s\n", note)
	}
}

func previewJSON(p *drills.Plan, v drills.Preview, err error) map[string]any {
	roles := map[string]string{}
	for name, c := range v.Roles {
		roles[name] = string(c.Role)
	}
	faults := []map[string]any{}
	for _, s := range v.Steps {
		for _, f := range s.Faults {
			faults = append(faults, map[string]any{"kind": f.Kind, "node": f.Node, "does": f.Does, "undo": f.Undo, "for_ms": s.Step.For.D().Seconds() * 1000})
		}
	}
	out := map[string]any{
		"drill": p.Scenario.Name, "system": p.Target.Name, "trials": p.Scenario.Trials, "roles": roles,
		"faults": faults, "expectation": v.Expectation, "settings": v.Settings, "versions": v.Versions, "notes": v.Notes,
		"refused": []string{},
	}
	if err != nil {
		out["refused"] = strings.Split(err.Error(), "\n")
	}
	return out
}
