package redis

import (
	"context"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Role asks the server itself. That it claims to be the primary does not mean that
// it takes writes: see the package comment.
func (s *System) Role(ctx context.Context, n targets.Node) probes.Claim {
	p, err := s.place(n)
	if err != nil {
		return probes.Claim{Role: probes.Silent, Detail: err.Error()}
	}
	i, err := s.look(ctx, p)
	if err != nil {
		return probes.Claim{Role: probes.Silent, Detail: told(because(ctx, err))}
	}
	return s.claim(i)
}

func (s *System) claim(i info) probes.Claim {
	if i.role == saysPrimary {
		return probes.Claim{Role: probes.Primary, Epoch: i.replid, Detail: "role:" + saysPrimary}
	}
	c := probes.Claim{Role: probes.Replica, Epoch: i.replid, Detail: "role:" + saysReplica + " of " + i.primary}
	if !i.linkUp {
		c.Detail += ", link down"
	}
	return c
}
