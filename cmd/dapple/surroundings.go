package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/docker/selfrun"
	"github.com/dapple-drills/dapple/targets/testcluster"
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

// ourContainers are helpers and clusters of dapple's. Those of other drills and of
// clusters that stay are there before and after.
func ourContainers(ctx context.Context) (_ map[string]agent.Left, err error) {
	e, err := docker.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("containers of dapple's own: %w", err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	found := map[string]agent.Left{}
	for _, label := range []string{selfrun.Label, testcluster.LabelRun} {
		names, err := e.Labelled(ctx, label)
		if err != nil {
			return found, fmt.Errorf("containers of dapple's own: %w", err)
		}
		for id, name := range names {
			found[id] = agent.Left{What: fmt.Sprintf("the container %s (%s) is there", name, label), Command: "docker rm -f " + name}
		}
	}
	return found, nil
}
