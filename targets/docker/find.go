package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/dapple-drills/dapple/targets"
)

// Labels that docker compose gives to its containers.
const (
	composeProject = "com.docker.compose.project"
	composeService = "com.docker.compose.service"
	composeOneOff  = "com.docker.compose.oneoff"
)

// A Query selects containers. Its parts narrow: a container must fit all that
// are given.
type Query struct {
	// Names are containers, nodes (see LabelNode) or, with Compose, services.
	// Each must mean exactly one container.
	Names []string
	// Labels are KEY=VALUE, or KEY for any value.
	Labels []string
	// Compose is a project of docker compose.
	Compose string
}

func (q Query) String() string {
	var parts []string
	for _, l := range q.Labels {
		parts = append(parts, "label "+l)
	}
	if q.Compose != "" {
		parts = append(parts, "compose project "+q.Compose)
	}
	if len(q.Names) > 0 {
		parts = append(parts, "name "+strings.Join(q.Names, ", "))
	}
	return strings.Join(parts, " and ")
}

// Find returns the nodes that q selects, by name. Containers that have stopped
// count: a member that is down is still a member. No match is an error that
// says what is running.
func (e *Engine) Find(ctx context.Context, q Query) ([]targets.Node, error) {
	if len(q.Names) == 0 && len(q.Labels) == 0 && q.Compose == "" {
		return nil, errors.New("docker nodes: nothing is selected: give names, a label or a compose project")
	}
	all, err := e.list(ctx)
	if err != nil {
		return nil, err
	}
	chosen := slices.DeleteFunc(slices.Clone(all), func(c found) bool { return !c.fits(q) })
	if len(q.Names) > 0 {
		if chosen, err = byName(chosen, q, all); err != nil {
			return nil, err
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no node matches %s; containers that are running: %s", q, running(all))
	}
	return e.nodes(chosen)
}

// found is one container, as the engine lists it.
type found struct {
	name   string // without the leading slash
	state  string
	labels map[string]string
}

// node is what its node is called.
func (c found) node() string {
	if n := c.labels[LabelNode]; n != "" {
		return n
	}
	return c.name
}

func (e *Engine) list(ctx context.Context) ([]found, error) {
	cs, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs()})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var all []found
	for _, c := range cs {
		// Not yet, or no longer, a machine.
		if len(c.Names) == 0 || slices.Contains([]string{"created", "removing", "dead"}, string(c.State)) {
			continue
		}
		// Names also holds the aliases of legacy links, "/other/alias".
		i := slices.IndexFunc(c.Names, func(n string) bool { return strings.Count(n, "/") == 1 })
		if i < 0 {
			continue
		}
		all = append(all, found{strings.TrimPrefix(c.Names[i], "/"), string(c.State), c.Labels})
	}
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// fits looks at everything but names.
func (c found) fits(q Query) bool {
	for _, l := range q.Labels {
		key, want, exact := strings.Cut(l, "=")
		got, there := c.labels[key]
		if !there || exact && got != want {
			return false
		}
	}
	if q.Compose == "" {
		return true
	}
	return c.labels[composeProject] == q.Compose && c.labels[composeOneOff] != "True"
}

// byName picks one container per name, and refuses a name that means none or
// several.
func byName(from []found, q Query, all []found) ([]found, error) {
	var chosen []found
	for _, name := range q.Names {
		c, err := named(from, name, q, all)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(chosen, func(o found) bool { return o.name == c.name }) {
			return nil, fmt.Errorf("docker nodes: %q means container %s, which another name means already", name, c.name)
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}

func named(from []found, name string, q Query, all []found) (found, error) {
	// A container's own name is unmistakable and wins.
	for _, c := range from {
		if c.name == name {
			return c, nil
		}
	}
	var fit []found
	for _, c := range from {
		if c.node() == name || q.Compose != "" && c.labels[composeService] == name {
			fit = append(fit, c)
		}
	}
	switch len(fit) {
	case 0:
		q.Names = []string{name}
		return found{}, fmt.Errorf("no node matches %s; containers that are running: %s", q, running(all))
	case 1:
		return fit[0], nil
	}
	return found{}, fmt.Errorf("docker nodes: %q is ambiguous: it means %s; give the names of containers", name, list(fit))
}

// nodes refuses two nodes of one name: records and reports could not tell them
// apart.
func (e *Engine) nodes(chosen []found) ([]targets.Node, error) {
	slices.SortFunc(chosen, func(a, b found) int {
		return strings.Compare(a.node()+"\x00"+a.name, b.node()+"\x00"+b.name)
	})
	nodes := make([]targets.Node, len(chosen))
	for i, c := range chosen {
		if i > 0 && chosen[i-1].node() == c.node() {
			return nil, fmt.Errorf("docker nodes: containers %s and %s are both called %q (label %s): narrow the selection, for example by another label",
				chosen[i-1].name, c.name, c.node(), LabelNode)
		}
		nodes[i] = &Node{engine: e, name: c.node(), container: c.name}
	}
	return nodes, nil
}

func running(all []found) string {
	return list(slices.DeleteFunc(slices.Clone(all), func(c found) bool { return c.state != "running" }))
}

// list names at most 20 containers.
func list(cs []found) string {
	if len(cs) == 0 {
		return "none"
	}
	const most = 20
	var names []string
	for _, c := range cs[:min(len(cs), most)] {
		names = append(names, c.name)
	}
	if more := len(cs) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
