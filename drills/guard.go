package drills

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// A Guard is a condition under which no drill begins, and some under which one that
// runs is ended. Its Check changes nothing; it is called from a goroutine of its
// own, never twice at once.
type Guard struct {
	Name string // "freeze", "error budget": how a refusal is called
	// Check says why no drill may begin or go on, or nil. An error that is no
	// *Tripped says that it could not be found out.
	Check func(ctx context.Context) error
	// During is how often it is asked during the drill; 0: only before.
	During time.Duration
}

// Tripped is what a guard found.
type Tripped struct{ Why string }

func (t *Tripped) Error() string { return t.Why }

const (
	// guardDeadline bounds one question of a guard.
	guardDeadline = 10 * time.Second
	// unanswered is how often in a row a guard may have no answer during a drill,
	// which may have to do with the drill. Before it, once is too often.
	unanswered = 3
)

// guarded asks all guards at once, and says which refuse.
func guarded(ctx context.Context, p *Plan) []error {
	ctx, cancel := context.WithTimeout(ctx, guardDeadline)
	defer cancel()
	found := make([]error, len(p.Guards))
	var wg sync.WaitGroup
	for i, g := range p.Guards {
		wg.Go(func() {
			if err := g.Check(ctx); err != nil {
				found[i] = fmt.Errorf("guardrail %s: %w", g.Name, err)
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(found, func(err error) bool { return err == nil })
}

// redundant is the guardrail of nodes that are missing before the drill, or there
// although they are said to be in maintenance.
func redundant(p *Plan, claims map[string]probes.Claim) []error {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("guardrail redundancy: "+format, args...))
	}
	want := p.Target.Guardrails.Replicas
	for _, n := range p.Nodes {
		role := claims[n.Name()].Role
		up := role == probes.Primary || role == probes.Replica
		switch {
		case p.away(n.Name()) && up:
			refuse("%s is declared to be in maintenance, and says %s", n.Name(), role)
		case !p.away(n.Name()) && !up && want > 0:
			refuse("%s says %s (%s); a drill with a node down is one of its own: maintenance: [%s] in the scenario", n.Name(), role, claims[n.Name()].Detail, n.Name())
		}
	}
	if got := len(withRole(p, claims, probes.Replica)); got+len(p.Scenario.Maintenance) < want {
		refuse("%d replicas, and %d are declared", got, want)
	}
	return errs
}

// away says whether a node is declared to be down on purpose.
func (p *Plan) away(node string) bool { return slices.Contains(p.Scenario.Maintenance, node) }

// keep asks a guard again and again, until ctx ends or it trips.
func (g Guard) keep(ctx context.Context, abort context.CancelCauseFunc) {
	for silent := 0; wait(ctx, g.During) == nil; {
		err := g.ask(ctx)
		var tripped *Tripped
		switch {
		case err == nil:
			silent = 0
			continue
		case ctx.Err() != nil:
			return
		case errors.As(err, &tripped):
		default:
			if silent++; silent < unanswered {
				continue
			}
		}
		abort(&AbortError{fmt.Sprintf("guardrail %s: %v", g.Name, err)})
		return
	}
}

func (g Guard) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, guardDeadline)
	defer cancel()
	return g.Check(ctx)
}

// An AbortError says which guardrail ended the drill.
type AbortError struct{ Why string }

func (e *AbortError) Error() string { return "aborted: " + e.Why }

// guard watches the scenario's abort conditions until ctx ends.
func (t *trial) guard(ctx context.Context, abort context.CancelCauseFunc) {
	for wait(ctx, tick) == nil {
		now := t.rec.Since(time.Now())
		for _, a := range t.p.Scenario.Abort {
			limit := a.Outage.D()
			if got := t.watch.outage(now); limit > 0 && got > limit {
				abort(&AbortError{fmt.Sprintf("an outage of %.1f s, over the limit of %v", got.Seconds(), limit)})
				return
			}
		}
	}
}
