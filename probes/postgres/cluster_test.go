package postgres_test

import (
	"testing"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/postgres"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
)

// open opens c as a system, with changes to how it is bound.
func open(t testing.TB, c *postgrestest.Cluster, change ...func(*probes.Binding)) *postgres.System {
	t.Helper()
	b := c.Binding()
	for _, f := range change {
		f(&b)
	}
	s, err := postgres.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
