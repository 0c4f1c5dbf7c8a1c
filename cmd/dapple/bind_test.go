package main

import (
	"testing"

	"github.com/dapple-drills/dapple/probes/health"
	"github.com/dapple-drills/dapple/scenarios"
)

func TestEachWayToDeclareAHealthCheckIsOneThatCanBeWatched(t *testing.T) {
	for _, h := range []scenarios.Health{{TCP: "{node}:5432"}, {HTTP: "http://{node}:8008/primary"}} {
		if _, err := health.New(healthOf(h), nil); err != nil {
			t.Errorf("%+v: %v", h, err)
		}
	}
}
