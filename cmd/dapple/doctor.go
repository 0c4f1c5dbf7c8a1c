package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/probes"
	allprobes "github.com/dapple-drills/dapple/probes/all"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/docker/selfrun"
	"github.com/dapple-drills/dapple/targets/host"
)

// A finding of the doctor: what was tried, whether it works here, and if not, why
// and what to do.
type finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Says string `json:"says,omitempty"`
	Hint string `json:"hint,omitempty"`
}

// An examination tries one thing and says in words what it found.
type examination struct {
	what   string
	try    func(ctx context.Context) (says string, err error)
	within time.Duration // 20 s if zero
}

func doctorCmd(g *globals, io stdio) *cobra.Command {
	var asJSON bool
	var on string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this place can do: yes, or no with the reason and the way to get it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var findings []finding
			for _, e := range slices.Concat(examinations(), systemExaminations(g, io, on), nodeExaminations(on)) {
				findings = append(findings, examine(c.Context(), e))
			}
			if asJSON {
				return json.NewEncoder(io.out).Encode(findings)
			}
			return printFindings(io, findings)
		},
	}
	c.Flags().StringVar(&on, "on", "", "look at this system too: a system file, or cluster:NAME that is up")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func examine(ctx context.Context, e examination) finding {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(e.within, 20*time.Second))
	defer cancel()
	says, err := e.try(ctx)
	f := finding{What: e.what, OK: err == nil, Says: says}
	if err != nil {
		f.Says, f.Hint = err.Error(), strings.Join(diag.Hints(err), "; ")
	}
	return f
}

func printFindings(io stdio, findings []finding) error {
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		word := "yes"
		if !f.OK {
			word = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.What, word, f.Says)
		if f.Hint != "" {
			fmt.Fprintf(w, "\t\t%s\n", f.Hint)
		}
	}
	return w.Flush()
}

func examinations() []examination {
	all := []examination{
		{what: "system: linux", try: func(context.Context) (string, error) {
			if runtime.GOOS != "linux" {
				return "", diag.Hint(fmt.Errorf("this is %s", runtime.GOOS), "check, schema, judge and report work here; run drills from a Linux machine")
			}
			return runtime.GOOS + "/" + runtime.GOARCH, nil
		}},
		{what: "journal: clean", try: examineJournal},
		{what: "agent: starts", try: examineAgent},
		{what: "processes: held by descriptor", try: examinePidfd},
		{what: "processes: of other users", try: examineCaps(kernel.CapKill, kernel.CapSysPtrace)},
		{what: "sessions from inside a node", try: examineCaps(kernel.CapSysAdmin)},
		{what: "target docker", try: examineDocker},
		{what: "target host: units", try: examineHost},
		{what: "target netns: as this user", within: time.Minute, try: examineNetns},
		{what: "target ssh", try: examineSSH},
		{what: "agent: in a helper container", try: examineHelper},
	}
	all = append(append(all, mechanismExaminations()...), faultExaminations()...)
	for _, k := range allprobes.Kinds() {
		all = append(all, examination{what: "system " + k.Name, try: func(context.Context) (string, error) { return k.Summary, nil }})
	}
	return all
}

func examineJournal(context.Context) (string, error) {
	home, err := homeDir()
	if err != nil {
		return "", err
	}
	j, err := journal.Open(journal.Dir(home))
	if err != nil {
		return "", diag.Hint(err, "set DAPPLE_HOME to a directory that you may write to")
	}
	left, _, err := j.Outstanding()
	if err != nil {
		return "", err
	}
	if len(left) > 0 {
		return "", diag.Hint(fmt.Errorf("%d faults in %s", len(left), j.Dir()), "if no drill is running: dapple revert")
	}
	return j.Dir(), nil
}

// examineAgent starts an agent that holds nothing, and ends it.
func examineAgent(ctx context.Context) (string, error) {
	exe, err := self()
	if err != nil {
		return "", err
	}
	home, err := homeDir()
	if err != nil {
		return "", err
	}
	c, err := agent.Start(ctx, agent.Options{Argv: []string{exe, modeAgent}, Lease: leaseTime, Drill: "doctor", System: "doctor", Config: agentConfig(home)})
	if err != nil {
		return "", err
	}
	eps := c.Epsilon()
	if err := c.Close(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("lease %v, clocks agree within %v", leaseTime, eps), nil
}

func examinePidfd(ctx context.Context) (string, error) {
	me, err := kernel.Self()
	if err != nil {
		return "", err
	}
	h, err := kernel.Hold(ctx, me)
	if err != nil {
		return "", err
	}
	return "pidfd_open(2)", h.Close()
}

func examineCaps(caps ...kernel.Cap) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		missing, err := kernel.Missing(caps...)
		if err != nil {
			return "", err
		}
		if len(missing) > 0 {
			return "", diag.Hint(fmt.Errorf("this process has no %v", missing), "nodes in Docker: the agent runs in a helper container; others: run dapple as root (sudo)")
		}
		return fmt.Sprint(caps), nil
	}
}

func examineDocker(ctx context.Context) (string, error) {
	e, err := docker.Connect(ctx)
	if err != nil {
		return "", err
	}
	return e.Endpoint().String(), e.Close()
}

// examineHelper says whether a helper container could be had: the program must be
// static, and the engine this machine's. None is started.
func examineHelper(ctx context.Context) (says string, err error) {
	e, err := docker.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := selfrun.Usable(e); err != nil {
		return "", err
	}
	exe, err := self()
	if err != nil {
		return "", err
	}
	if err := selfrun.Static(agentBinary(exe)); err != nil {
		return "", err
	}
	return "for nodes in Docker, where this process lacks the rights", nil
}

// systemExaminations look at a system that was named: nodes, roles, settings.
func systemExaminations(g *globals, io stdio, on string) []examination {
	if on == "" {
		return nil
	}
	// Machines behind ssh may be far away, and get a program that they have not got.
	return []examination{{what: "on " + on, within: 2 * time.Minute, try: func(ctx context.Context) (says string, err error) {
		s, err := openSystem(ctx, g, io, on)
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, s.end(ctx)) }()
		var parts []string
		if f, ok := s.at.(*fleet); ok {
			parts = f.says()
		}
		for _, n := range s.plan.Nodes {
			c := s.plan.System.Role(ctx, n)
			parts = append(parts, fmt.Sprintf("%s %s", n.Name(), c.Role))
		}
		if set, ok := s.plan.System.(probes.Settings); ok {
			if _, notes, err := set.Settings(ctx); err == nil {
				parts = append(parts, notes...)
			}
		}
		return strings.Join(parts, ", "), nil
	}}}
}

// nodeExaminations say of each node of a system which faults it can carry.
func nodeExaminations(on string) []examination {
	if on == "" || strings.HasPrefix(on, clusterPrefix) {
		return nil // the nodes of a built-in cluster are of a kind that was said above
	}
	files, err := loadSystem(on)
	if err != nil {
		return nil // said by the examination of the system
	}
	var all []examination
	for _, h := range files.system.Nodes.Hosts {
		all = append(all, examination{what: "faults on " + h.Name, try: func(context.Context) (string, error) {
			n, err := host.New(h.Name, hostConfig(h))
			if err != nil {
				return "", err
			}
			return carried(n), nil
		}})
	}
	return all
}

// openSystem opens a system without a scenario.
func openSystem(ctx context.Context, g *globals, io stdio, on string) (*bound, error) {
	files, err := loadSystem(on)
	if err != nil {
		return nil, err
	}
	b := &bound{g: g, io: io}
	system, _, nodes, err := b.system(ctx, files)
	if err == nil {
		b.plan = &drills.Plan{Target: system.WithDefaults(), Nodes: nodes}
		err = b.choose(ctx, nodes)
	}
	if err == nil {
		err = b.open(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.end(ctx))
	}
	return b, nil
}
