package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// demoScenario and demoSystem are what "dapple demo" drills: an ordinary
// scenario of the library, on an ordinary built-in cluster.
const (
	demoScenario = "scenarios/library/etcd/leader-kill.yaml"
	demoSystem   = clusterPrefix + "etcd"
)

func demoCmd(g *globals, io stdio) *cobra.Command {
	f := drillFlags{scenario: demoScenario, on: demoSystem}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Drill a small real cluster on this machine: no Docker, no root, no network",
		Long: `Start a three-member etcd cluster on this machine, kill its leader with SIGKILL,
measure what its clients see, start the member again, judge, write a report, and
clean up. It is the same as

  dapple run ` + demoScenario + ` --on ` + demoSystem,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintf(progress(g, io), "dapple run %s --on %s\n", demoScenario, demoSystem)
			return runDrill(c.Context(), g, io, f, ciJob(io))
		},
	}
	c.Flags().StringVar(&f.out, "out", "", "the run directory: new, or empty")
	c.Flags().BoolVar(&f.asJSON, "json", false, "the record on stdout instead of the summary")
	return c
}
