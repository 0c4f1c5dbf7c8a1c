package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/docker/selfrun"
)

// finders find what of dapple's own an engine of containers has, if the nodes are on
// one.
func finders(nodes []targets.Node) []agent.Finder {
	for _, n := range nodes {
		if _, is := n.(*docker.Node); is {
			return []agent.Finder{ourContainers}
		}
	}
	return nil
}

// ourContainers are dapple's helpers. Those of drills that went on before are there
// before and after. Clusters are none of it: a drill makes none while it looks, and
// one that somebody brings up meanwhile is not its leftover.
func ourContainers(ctx context.Context) (_ map[string]agent.Left, err error) {
	e, err := docker.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("containers of dapple's own: %w", err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	names, err := e.Labelled(ctx, selfrun.Label)
	if err != nil {
		return nil, fmt.Errorf("containers of dapple's own: %w", err)
	}
	found := map[string]agent.Left{}
	for id, name := range names {
		found[id] = agent.Left{What: fmt.Sprintf("the container %s (%s) is there", name, selfrun.Label), Command: "docker rm -f " + name}
	}
	return found, nil
}
