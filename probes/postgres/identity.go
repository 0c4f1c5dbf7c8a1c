package postgres

import (
	"context"
	"fmt"

	"github.com/dapple-drills/dapple/targets"
)

// Identity is the system identifier that initdb made: standbys, and backups that
// were restored, share it; another cluster has another (PostgreSQL manual,
// "pg_control_system").
func (s *System) Identity(ctx context.Context, n targets.Node) (string, error) {
	var p *place
	if n != nil {
		p = s.place(n)
	}
	c, err := s.reader(ctx, p)
	if err != nil {
		return "", err
	}
	defer bye(ctx, c)
	var id string
	if err := c.QueryRow(ctx, "select system_identifier::text from pg_control_system()").Scan(&id); err != nil {
		return "", fmt.Errorf("reading the system identifier: %s", reason(because(ctx, err)))
	}
	return "PostgreSQL system identifier " + id, nil
}
