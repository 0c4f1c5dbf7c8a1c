package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/dapple-drills/dapple/injectors"
	allinjectors "github.com/dapple-drills/dapple/injectors/all"
	"github.com/dapple-drills/dapple/internal/mechanism"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/netns"
	"github.com/dapple-drills/dapple/targets/process"
)

// A place is a kind of node, by a value that is asked for its type alone.
type place struct {
	name string
	node targets.Node
}

// places are the kinds of node, by the names of their openers.
func places() []place {
	return []place{
		{docker.Kind, (*docker.Node)(nil)},
		{netns.Kind, (*netns.Node)(nil)},
		{process.Kind, (*process.Node)(nil)},
	}
}

// faultExaminations try every fault of the catalogue as far as it can be tried
// without a node.
func faultExaminations() []examination {
	var all []examination
	for _, k := range allinjectors.Kinds() {
		all = append(all, examination{what: "fault " + k.Name, try: func(ctx context.Context) (string, error) {
			if k.Here != nil {
				if err := k.Here(ctx); err != nil {
					return "", err
				}
			}
			return carriers(k) + "; ended by: " + k.Layers, nil
		}})
	}
	return all
}

// mechanismExaminations try what of the kernel faults are made of.
func mechanismExaminations() []examination {
	var all []examination
	for _, m := range mechanism.List() {
		all = append(all, examination{what: "kernel: " + m.Name, try: func(ctx context.Context) (string, error) {
			return "for " + m.For, m.Try(ctx)
		}})
	}
	return all
}

// carriers says on which kinds of node the fault can land, and why not on others.
func carriers(k injectors.Kind) string {
	var can, cannot []string
	for _, p := range places() {
		if k.Carries(p.node) == nil {
			can = append(can, p.name)
		} else {
			cannot = append(cannot, p.name)
		}
	}
	says := "on nodes of kind " + strings.Join(can, ", ")
	if len(cannot) > 0 {
		says += fmt.Sprintf(" (not %s: %s)", strings.Join(cannot, ", "), needs(k))
	}
	return says
}

func needs(k injectors.Kind) string {
	var list []string
	for _, n := range k.Needs {
		list = append(list, string(n))
	}
	return "needed is that " + strings.Join(list, " and ")
}

// carried says which faults a node can carry, by what it is, and which not.
func carried(n targets.Node) string {
	var can, cannot []string
	for _, k := range allinjectors.Kinds() {
		_, restarts := n.(targets.Starter)
		switch {
		case k.Carries(n) != nil:
			cannot = append(cannot, k.Name)
		case k.Name == "kill" && !restarts:
			can = append(can, "kill (STOP only: nothing could start it again)")
		default:
			can = append(can, k.Name)
		}
	}
	says := strings.Join(can, ", ")
	if len(cannot) > 0 {
		says += "; not " + strings.Join(cannot, ", ")
	}
	return says
}
