package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
)

// A Container is one that runs, as the engine lists it: for who looks for systems.
type Container struct {
	Name      string
	Image     string
	Labels    map[string]string
	Addresses []string // in its networks
}

// Running lists the containers that run, by name.
func (e *Engine) Running(ctx context.Context) ([]Container, error) {
	cs, err := e.api.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var all []Container
	for _, c := range cs {
		i := slices.IndexFunc(c.Names, func(n string) bool { return strings.Count(n, "/") == 1 })
		if i < 0 {
			continue
		}
		one := Container{Name: strings.TrimPrefix(c.Names[i], "/"), Image: c.Image, Labels: c.Labels}
		if c.NetworkSettings != nil {
			for _, n := range c.NetworkSettings.Networks {
				if n != nil && n.IPAddress != "" {
					one.Addresses = append(one.Addresses, n.IPAddress)
				}
			}
		}
		slices.Sort(one.Addresses)
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
