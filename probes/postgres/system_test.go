package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/dapple-drills/dapple/probes/postgres"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
	"github.com/dapple-drills/dapple/probes/systemtest"
)

func TestPostgreSQLKeepsTheLawsOfASystem(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Standbys: 2})
	find := func(name string) (*postgrestest.Server, error) {
		for _, s := range c.Servers {
			if s.Name() == name {
				return s, nil
			}
		}
		return nil, fmt.Errorf("no server %s", name)
	}
	systemtest.Run(t, &systemtest.Bench{
		Kind: postgres.Kind, Binding: c.Binding(), Cases: classes(c),
		Stop: func(_ context.Context, name string) error {
			s, err := find(name)
			if err == nil {
				s.Kill()
			}
			return err
		},
		Start: func(ctx context.Context, name string) error {
			s, err := find(name)
			return errors.Join(err, s.Start(ctx))
		},
	})
}
