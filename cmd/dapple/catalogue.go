package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/drills/schedule"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	allinjectors "github.com/dapple-drills/dapple/injectors/all"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/probes"
	allprobes "github.com/dapple-drills/dapple/probes/all"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/host"
	"github.com/dapple-drills/dapple/targets/netns"
	"github.com/dapple-drills/dapple/targets/process"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

// openers are the places from which an agent can open a node again.
func openers() []targets.Opener {
	return []targets.Opener{docker.Opener(), host.Opener(), netns.Opener(), process.Opener}
}

// agentConfig is what this program's agent, and its revert, are made from. An
// agent is told its home by the runner: "".
func agentConfig(home string) agent.Config {
	return agent.Config{Kinds: allinjectors.Kinds(), Openers: openers(), Version: buildVersion(), Home: home, Params: params}
}

// kindOf finds a kind of system.
func kindOf(name string) (probes.Kind, error) {
	kinds := allprobes.Kinds()
	i := slices.IndexFunc(kinds, func(k probes.Kind) bool { return k.Name == name })
	if i < 0 {
		return probes.Kind{}, fmt.Errorf("no kind of system is called %q", name)
	}
	return kinds[i], nil
}

func injectorOf(name string) (injectors.Kind, error) {
	kinds := allinjectors.Kinds()
	i := slices.IndexFunc(kinds, func(k injectors.Kind) bool { return k.Name == name })
	if i < 0 {
		return injectors.Kind{}, fmt.Errorf("no injector is called %q", name)
	}
	return kinds[i], nil
}

// vocabulary is what scenario and system files may name.
func vocabulary() *scenarios.Vocabulary {
	v := &scenarios.Vocabulary{Times: schedule.Check}
	for _, k := range allinjectors.Kinds() {
		v.Injectors = append(v.Injectors, scenarios.InjectorWord{
			Name: k.Name, Summary: k.Summary, Params: k.Params, Excludes: k.Excludes,
			Check: func(p scenarios.Params) error {
				_, err := k.New(p.Decode)
				return err
			},
		})
	}
	for _, k := range allprobes.Kinds() {
		w := scenarios.KindWord{Name: k.Name, Summary: k.Summary, Phases: k.Lock, Settings: scenarios.Section{Params: k.Settings}}
		if k.Section != nil {
			w.HTTP = scenarios.Section{Params: k.Section.Params, Check: func(p scenarios.Params) error { return k.Section.Check(p.Decode) }}
		}
		v.Kinds = append(v.Kinds, w)
	}
	for _, c := range testcluster.Names() {
		v.Clusters = append(v.Clusters, c.Name)
	}
	v.Capabilities = map[string]string{}
	for _, c := range probes.Capabilities() {
		v.Capabilities[c.Name] = c.Summary
	}
	return v
}

// self is this program, for the children that it starts.
func self() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return exe, nil
}

// ready refuses while an earlier drill's fault may still be there, and locks the
// system.
func ready(home, system, run string) (func() error, error) {
	j, err := journal.Open(journal.Dir(home))
	if err != nil {
		return nil, err
	}
	left, torn, err := j.Outstanding()
	if err != nil {
		return nil, err
	}
	if len(left) > 0 {
		var faults []string
		for _, r := range left {
			faults = append(faults, fmt.Sprintf("%s: %s (drill %s)", r.Fault.Node, r.Fault.Does, r.Drill))
		}
		return nil, diag.Hint(fmt.Errorf("the journal %s holds faults of an earlier or a running drill: %s", j.Dir(), strings.Join(faults, "; ")),
			"if no drill is running, take them back with: dapple revert")
	}
	_ = torn // a torn record was never applied
	lock, err := journal.Take(home, system, run)
	if err != nil {
		return nil, err
	}
	return lock.Release, nil
}

// progress is where a command tells how it gets on.
func progress(g *globals, io2 stdio) io.Writer {
	if g.quiet {
		return io.Discard
	}
	return io2.err
}
