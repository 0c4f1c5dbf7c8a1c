package docker

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
)

// Labelled lists the containers that have the label, running or not: their names
// by their ids.
func (e *Engine) Labelled(ctx context.Context, label string) (map[string]string, error) {
	list, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return nil, fmt.Errorf("listing containers with label %s: %w", label, err)
	}
	names := map[string]string{}
	for _, c := range list {
		names[c.ID] = c.ID[:min(12, len(c.ID))]
		if len(c.Names) > 0 {
			names[c.ID] = strings.TrimPrefix(c.Names[0], "/")
		}
	}
	return names, nil
}
