package testcluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"github.com/dapple-drills/dapple/targets/docker"
)

// listContainers lists the clusters of the engine; none if none answers.
func listContainers(ctx context.Context, _ Options) ([]Status, error) {
	e, err := docker.Connect(ctx)
	if err != nil {
		return nil, ctx.Err()
	}
	runs, err := statuses(ctx, e.API())
	var all []Status
	for _, r := range runs {
		all = append(all, r.Status)
	}
	return all, errors.Join(err, e.Close())
}

// A runStatus is a Status with what tells an orphan.
type runStatus struct {
	Status
	reaper  string // its state; "" if there is none
	created time.Time
	things  int // containers and networks, the reaper excluded
}

// orphan says whether the starter of a bound run died together with its reaper
// (the engine was stopped). The reaper comes first and goes last, so what has
// things but no reaper at work has lost it.
func (s runStatus) orphan(now time.Time) bool {
	if s.Lifetime != Bound || s.reaper == "running" {
		return false
	}
	return s.things > 0 || now.Sub(s.created) > time.Minute
}

// statuses gathers what carries our labels, by run.
func statuses(ctx context.Context, api *client.Client) (map[string]runStatus, error) {
	ours := filters.NewArgs(filters.Arg("label", LabelRun), filters.Arg("label", LabelCluster))
	// Networks first: the reaper of a network that is seen is there already.
	nets, err := api.NetworkList(ctx, network.ListOptions{Filters: ours})
	if err != nil {
		return nil, fmt.Errorf("listing networks: %w", err)
	}
	cs, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	runs := map[string]runStatus{}
	see := func(labels map[string]string, created time.Time) runStatus {
		s, ok := runs[labels[LabelRun]]
		if !ok {
			s.Name, s.As = labels[LabelCluster], labels[LabelAs]
			s.Run, s.Lifetime = labels[LabelRun], Lifetime(labels[LabelLifetime])
		}
		if s.Since.IsZero() || created.Before(s.Since) {
			s.Since, s.created = created, created
		}
		return s
	}
	for _, c := range cs {
		s := see(c.Labels, time.Unix(c.Created, 0))
		if c.Labels[LabelPart] == partReaper {
			s.reaper = string(c.State)
		} else {
			s.things++
			s.Parts++
			if c.State == "running" {
				s.Running++
			}
		}
		runs[s.Run] = s
	}
	for _, n := range nets {
		s := see(n.Labels, n.Created)
		s.things++
		runs[s.Run] = s
	}
	return runs, nil
}

// sweep removes what is left of bound clusters whose reaper is gone too, and
// passwords of clusters that are no more.
func sweep(ctx context.Context, api *client.Client, o Options) error {
	runs, err := statuses(ctx, api)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	now := time.Now()
	for _, s := range runs {
		there[s.Run] = true
		if !s.orphan(now) {
			continue
		}
		o.Progress(fmt.Sprintf("removing what is left of cluster %s (run %s), whose starter is gone", s.Name, s.Run))
		if err := removeOrphan(ctx, api, s.Run); err != nil {
			return fmt.Errorf("removing what is left of cluster %s (run %s): %w", s.Name, s.Run, err)
		}
	}
	return sweepSecrets(o.Dir, there)
}

func removeOrphan(ctx context.Context, api *client.Client, run string) error {
	p := &place{api: api, id: run}
	if err := p.remove(ctx); err != nil {
		return err
	}
	reapers, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", LabelRun+"="+run), filters.Arg("label", LabelPart+"="+partReaper))})
	if err != nil {
		return fmt.Errorf("listing containers: %w", err)
	}
	for _, c := range reapers {
		r := &reaper{p: p, id: c.ID}
		if err := r.discard(ctx); err != nil {
			return err
		}
	}
	return nil
}
