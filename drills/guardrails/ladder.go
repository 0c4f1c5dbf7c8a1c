package guardrails

import (
	"context"
	"fmt"
	"strings"

	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

// ladder says which rungs are missing below a drill in production.
func (c Case) ladder(ctx context.Context) error {
	past, err := c.Past(ctx, history.Query{Verdict: verdict.Pass})
	if err != nil {
		return fmt.Errorf("read the records of earlier drills: %w", err)
	}
	if missing := c.missing(past); len(missing) > 0 {
		return tripped("%s", strings.Join(missing, "; "))
	}
	return nil
}

// missing lists the rungs: the scenario passed in staging within the time; one node
// was drilled in production before many are; a system that is not critical before
// one that is.
func (c Case) missing(past []history.Run) []string {
	within := c.System.Guardrails.Ladder.D()
	if within == 0 {
		within = defaultLadder
	}
	var staging, single, uncritical bool
	for _, r := range past {
		if r.Verdict != verdict.Pass || c.Now().Sub(r.Finished) > within || r.Kind != c.System.Kind {
			continue
		}
		same := r.Scenario == c.Scenario.Name
		production := r.Environment == string(scenarios.Production)
		staging = staging || same && r.Environment == string(scenarios.Staging)
		single = single || production && r.System == c.System.Name && r.Digest.Touched == 1
		uncritical = uncritical || production && same && !r.Digest.Critical
	}
	var rungs []string
	if !staging {
		rungs = append(rungs, fmt.Sprintf("%q has not passed in staging within %s", c.Scenario.Name, scenarios.Duration(within)))
	}
	if c.Scenario.WithDefaults().BlastRadius.Nodes > 1 && !single {
		rungs = append(rungs, fmt.Sprintf("it may touch %d nodes, and no drill of one node has passed on %s within %s",
			c.Scenario.BlastRadius.Nodes, c.System.Name, scenarios.Duration(within)))
	}
	if bool(c.System.Guardrails.Critical) && !uncritical {
		rungs = append(rungs, fmt.Sprintf("%s is critical, and it has not passed in production on one that is not critical within %s", c.System.Name, scenarios.Duration(within)))
	}
	return rungs
}
