package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

func killed(role string, held time.Duration) probes.Cause {
	return probes.Cause{Injector: "kill", Params: map[string]string{"signal": "KILL", "process": "main"}, Roles: []string{role}, For: held}
}

// modelled is three nodes as the built-in clusters have them.
func modelled(t *testing.T, failover string, held time.Duration) *model {
	t.Helper()
	s, err := scriptOf(failover)
	if err != nil {
		t.Fatal(err)
	}
	return &model{script: s, connect: time.Second, hosts: 3, nodes: 3, held: held, synchronous: true}
}

func TestNobodyButAPersonPromotesAndWhenIsNotPredicted(t *testing.T) {
	for _, failover := range []string{"", "person"} {
		ranges, moves, ok := modelled(t, failover, time.Minute).expect(killed("primary", time.Minute))
		if !ok || moves {
			t.Errorf("%q: failover %v, a model %v", failover, moves, ok)
		}
		// At any time, until the node is back.
		if r := ranges["rto"]; r.Min != 0 || r.Max < time.Minute || r.Max > 80*time.Second {
			t.Errorf("%q: %+v", failover, r)
		}
	}
	if ranges, moves, ok := modelled(t, "", 0).expect(killed("primary", 0)); !ok || moves || len(ranges) > 0 {
		t.Errorf("for ever: %v, %v, %v", ranges, moves, ok)
	}
}

func TestAScriptPromotesAfterItsQuestionsWentUnanswered(t *testing.T) {
	const said = "every 1s failures 3 timeout 1s"
	ranges, moves, ok := modelled(t, said, time.Minute).expect(killed("primary", time.Minute))
	if !ok || !moves {
		t.Fatalf("failover %v, a model %v", moves, ok)
	}
	// The first question may come at once, and each may be refused at once; or each
	// comes a second after the last, and two nodes are waited for.
	if r := ranges["outage"]; r.Min != 2*time.Second || r.Max != 9*time.Second+promoteMost+3500*time.Millisecond || !strings.Contains(r.Why, said) {
		t.Errorf("%+v", r)
	}
	if _, moves, ok := modelled(t, said, time.Second).expect(killed("primary", time.Second)); !ok || moves {
		t.Error("a node that is back before the script acts is the primary again")
	}
	if _, _, ok := modelled(t, said, 5*time.Second).expect(killed("primary", 5*time.Second)); ok {
		t.Error("whether the script or the node is faster is not known")
	}
}

func TestALostStandbyHoldsCommitsUpOnlyIfItIsTheOnlyOneTheyWaitFor(t *testing.T) {
	m := modelled(t, "", time.Minute)
	for nodes, most := range map[int]time.Duration{3: 4 * time.Second, 2: 2 * time.Minute} {
		m.nodes = nodes
		ranges, moves, ok := m.expect(killed("replica", time.Minute))
		if r := ranges["rto"]; !ok || moves || r.Max > most || nodes == 2 && r.Max < time.Minute {
			t.Errorf("%d nodes: %+v, %v, %v", nodes, r, moves, ok)
		}
	}
}

func TestThereIsNoModelOfWhatWasNotThoughtThrough(t *testing.T) {
	m := modelled(t, "", time.Minute)
	for name, c := range map[string]probes.Cause{
		"another fault":   {Injector: "partition", Roles: []string{"primary"}},
		"two nodes":       {Injector: "kill", Roles: []string{"primary", "replica"}},
		"a frozen server": {Injector: "kill", Params: map[string]string{"signal": "STOP"}, Roles: []string{"primary"}},
		"a part of it":    {Injector: "kill", Params: map[string]string{"process": "walwriter"}, Roles: []string{"primary"}},
	} {
		if _, _, ok := m.expect(c); ok {
			t.Errorf("%s has a model", name)
		}
	}
}

func TestAScriptThatCannotBeReadIsRefusedWithAnExample(t *testing.T) {
	for _, text := range []string{"every 1s", "every 1s failures 0 timeout 1s", "every soon failures 3 timeout 1s", "often", "every 1s failures 3 timeout", "every 1s failures 3 patience 1s"} {
		if s, err := scriptOf(text); err == nil || !strings.Contains(err.Error(), `"every 1s failures 3 timeout 1s"`) {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}
