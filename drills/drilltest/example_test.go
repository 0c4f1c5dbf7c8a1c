package drilltest_test

import (
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/drilltest"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

// TestTheLeaderOfEtcdMayDie is the ten-line test of the documentation, on a real
// cluster: it is built, started, drilled and gone again.
func TestTheLeaderOfEtcdMayDie(t *testing.T) {
	rec := drilltest.Run(t, drilltest.Drill{
		Scenario: "etcd/leader-kill.yaml", On: "cluster:etcd",
		Tolerate: []verdict.Verdict{verdict.Inconclusive}, // on a busy machine of CI
	})
	if rto := rec.Series.Metrics["rto"]; rto.N == 0 || rto.Max[0] > 10_000 {
		t.Errorf("the outage: %+v ms", rto.Max)
	}
}

// A drill of a test of your own: the scenario is made in Go, the system is
// described by a file.
func ExampleRun() {
	_ = func(t *testing.T) {
		drilltest.Run(t, drilltest.Drill{
			Made: &scenarios.Scenario{
				Name:  "the primary dies",
				Steps: []scenarios.Step{{Inject: "kill", On: scenarios.Strings{"primary"}, For: scenarios.Duration(20 * time.Second)}},
			},
			On: "testdata/orders-db.yaml",
		})
	}
}

// PostgreSQL under Patroni, in containers that the test started itself: they are
// handed over by their names.
func ExampleRun_containers() {
	_ = func(t *testing.T, containers ...string) {
		settings, err := scenarios.NewParams(map[string]any{"scope": "orders", "etcd": []string{"http://127.0.0.1:2379"}})
		if err != nil {
			t.Fatal(err)
		}
		rto := scenarios.Duration(time.Minute)
		drilltest.Run(t, drilltest.Drill{
			Scenario: "patroni/primary-kill.yaml",
			System: &scenarios.System{
				Name: "orders-db", Kind: "patroni", Environment: scenarios.CI,
				Nodes:      scenarios.Nodes{Docker: &scenarios.DockerNodes{Names: containers}},
				Clients:    scenarios.Clients{DSN: "postgres://app@127.0.0.1:5000/orders", Password: scenarios.Secret{Env: "ORDERS_PW"}},
				Objectives: scenarios.Objectives{RTO: &rto},
				Settings:   settings,
			},
		})
	}
}

// A replicated service of one's own, drilled by its URLs: the nodes are containers
// that the test started, and the requests are those of its clients.
func ExampleRun_http() {
	_ = func(t *testing.T, balancer string, containers ...string) {
		requests, err := scenarios.NewParams(map[string]any{
			"url":   "http://{node}:8080",
			"write": map[string]any{"method": "POST", "path": "/items", "body": `{"id":"{{.ID}}"}`, "acked": []int{201}, "refused": []int{503}},
			"ids":   map[string]any{"path": "/items?client={{.Client}}", "lines": true},
			"role":  map[string]any{"path": "/role", "primary": "primary"},
		})
		if err != nil {
			t.Fatal(err)
		}
		drilltest.Run(t, drilltest.Drill{
			Made: &scenarios.Scenario{
				Name:  "a node of orders dies",
				Steps: []scenarios.Step{{Inject: "kill", On: scenarios.Strings{"primary"}, For: scenarios.Duration(15 * time.Second)}},
			},
			System: &scenarios.System{
				Name: "orders", Kind: "http", Environment: scenarios.CI,
				Nodes:   scenarios.Nodes{Docker: &scenarios.DockerNodes{Names: containers}},
				Clients: scenarios.Clients{URL: balancer},
				HTTP:    requests,
			},
		})
	}
}
