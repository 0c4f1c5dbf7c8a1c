package http

import (
	"context"
	"fmt"
	"slices"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Role asks the node itself. A status that is not from 200 to 299 is no claim.
//
// The epoch is asked for beside the role; one that is not told within the same
// time is "".
func (s *System) Role(ctx context.Context, n targets.Node) probes.Claim {
	p, err := s.place(n)
	if err != nil {
		return probes.Claim{Role: probes.Silent, Detail: err.Error()}
	}
	r := s.svc.role
	if r == nil {
		return probes.Claim{Role: probes.Untold, Detail: s.Untold()[probes.UntoldRoles]}
	}
	told := make(chan string, 1)
	go func() { told <- s.epochOf(ctx, p) }()
	got, err := s.look(ctx, p, r.request)
	epoch := <-told
	if err != nil {
		return probes.Claim{Role: probes.Silent, Detail: reason(err)}
	}
	c := probes.Claim{Epoch: epoch}
	value, said := r.value(got)
	c.Role, c.Detail = r.claim(value, good(got.resp)), said
	return c
}

func (r *role) claim(value string, good bool) probes.Role {
	switch {
	case !good || value == "":
		return probes.None
	case value == r.primary:
		return probes.Primary
	case r.replica == "" || value == r.replica:
		return probes.Replica
	}
	return probes.None
}

// epochOf is the lineage of a node by its own word; "" if it is not declared or
// not told.
func (s *System) epochOf(ctx context.Context, p *place) string {
	if s.svc.epoch == nil {
		return ""
	}
	got, err := s.look(ctx, p, s.svc.epoch.request)
	if err != nil || !good(got.resp) {
		return ""
	}
	value, _ := s.svc.epoch.value(got)
	return clip(value)
}

// Health asks the node's health check as a load balancer does: on a connection of
// its own.
func (s *System) Health(ctx context.Context, n targets.Node) (ok bool, said string) {
	p, err := s.place(n)
	if err != nil || s.svc.health == nil {
		return false, fmt.Sprintf("no health check of %s is declared", n.Name())
	}
	got, err := s.anew(ctx, p, s.svc.health.request)
	if err != nil {
		return false, reason(err)
	}
	return slices.Contains(s.svc.health.ok, got.resp.StatusCode), status(got.resp)
}
