package mysql

import (
	"context"
	"errors"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Role asks the server itself. One that is in offline mode (3032), as a member that
// was expelled goes by default, answers that it serves nobody.
func (s *System) Role(ctx context.Context, n targets.Node) probes.Claim {
	p, err := s.place(n)
	if err != nil {
		return probes.Claim{Role: probes.Silent, Detail: err.Error()}
	}
	v, err := s.look(ctx, p)
	switch {
	case number(err) == 3032:
		return probes.Claim{Role: probes.None, Detail: told(err)}
	case err != nil:
		return probes.Claim{Role: probes.Silent, Detail: said(because(ctx, err))}
	}
	return s.claim(v)
}

// said is told, with what the user lacks where that is the reason.
func said(err error) string {
	if n := number(err); n == 1142 || n == 1143 {
		return err.Error()
	}
	return told(err)
}

// Identity is the group's name, by which members know each other.
func (s *System) Identity(ctx context.Context, n targets.Node) (string, error) {
	c, err := s.dial(ctx, probes.Where{Node: n})
	if err != nil {
		return "", errors.New(said(because(ctx, err)))
	}
	defer c.close()
	v, err := c.view(ctx)
	if err != nil {
		return "", errors.New(said(because(ctx, err)))
	}
	if v.group == "" {
		return "", errors.New("the server has no group_replication_group_name: it is not set up for Group Replication")
	}
	return "group_replication_group_name " + v.group, nil
}
