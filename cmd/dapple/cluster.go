package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/targets/testcluster"
)

func clusterCmd(g *globals, io stdio) *cobra.Command {
	c := &cobra.Command{
		Use:   "cluster",
		Short: "Built-in throw-away clusters, for trying things by hand",
		Long: `Built-in clusters are real systems that are thrown away. One that "run" starts is
gone when the drill ends; one that is brought up here stays until "down", and is
used by "run --on cluster:NAME" meanwhile.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(clusterUp(g, io), clusterDown(g, io), clusterList(g, io))
	return c
}

func clusterUp(g *globals, io stdio) *cobra.Command {
	return &cobra.Command{
		Use: "up NAME", Short: "Start a cluster that stays, and print its system file", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := vocabulary().CheckCluster(args[0]); err != nil {
				return usage(err)
			}
			o, err := clusterOptions(g, io)
			if err != nil {
				return err
			}
			o.Lifetime = testcluster.Stays
			cl, err := testcluster.Start(c.Context(), args[0], o)
			if err != nil {
				return refuse(err)
			}
			data, err := cl.System.Format()
			if err != nil {
				return err
			}
			_, err = io.out.Write(data)
			return errors.Join(err, cl.Stop(c.Context())) // lets go of it; it stays
		},
	}
}

func clusterDown(g *globals, io stdio) *cobra.Command {
	return &cobra.Command{
		Use: "down NAME", Short: "Remove a cluster that was brought up", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := vocabulary().CheckCluster(args[0]); err != nil {
				return usage(err)
			}
			o, err := clusterOptions(g, io)
			if err != nil {
				return err
			}
			if err := testcluster.Down(c.Context(), args[0], o); err != nil {
				return usage(err)
			}
			_, err = fmt.Fprintf(io.out, "cluster %s is gone\n", args[0])
			return err
		},
	}
}

func clusterList(g *globals, io stdio) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the built-in clusters, and those on this machine", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := clusterOptions(g, io)
			if err != nil {
				return err
			}
			here, err := testcluster.List(c.Context(), o)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "CLUSTER\tWHAT")
			for _, k := range testcluster.Names() {
				fmt.Fprintf(w, "%s\t%s\n", k.Name, k.Summary)
			}
			if len(here) > 0 {
				fmt.Fprintln(w, "\nON THIS MACHINE\tRUN\tLIFETIME\tAGE\tPARTS RUNNING")
			}
			for _, s := range here {
				fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%d of %d\n", s.Name, s.Run, s.Lifetime, time.Since(s.Since).Round(time.Second), s.Running, s.Parts)
			}
			return w.Flush()
		},
	}
}

// clusterOptions are how this program starts clusters.
func clusterOptions(g *globals, io stdio) (testcluster.Options, error) {
	exe, err := self()
	if err != nil {
		return testcluster.Options{}, err
	}
	w := progress(g, io)
	return testcluster.Options{
		Keeper:   []string{exe, modeKeeper},
		Housed:   []string{exe, modeHoused},
		Member:   []string{exe, modeMember},
		Progress: func(line string) { fmt.Fprintln(w, line) },
	}, nil
}
