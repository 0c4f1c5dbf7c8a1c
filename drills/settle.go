package drills

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// settleLook is how often the engine asks the verdict whether the system is
// itself again.
const settleLook = time.Second

// settle waits until the system is stable, rejoined, redundant and full, or the
// window ends.
func (t *trial) settle(ctx context.Context) error {
	t.phase("settle")
	end := time.Now().Add(t.p.Scenario.Settle.D())
	for time.Now().Before(end) {
		if err := wait(ctx, settleLook); err != nil {
			return err
		}
		if so := t.sofar(); t.settled(so.Metrics) && alerted(so.Findings) {
			return nil
		}
	}
	return nil
}

// settled says whether everything is as it was, and no client has met an outage
// for the time that the scenario calls stable.
func (t *trial) settled(m verdict.Metrics) bool {
	now := ms(t.rec.Since(time.Now()))
	for _, o := range m.Outages {
		if now-o.At[1] < ms(t.p.Scenario.StableFor.D()) {
			return false
		}
	}
	return m.Stable != nil && m.Full != nil && m.Rejoin != nil && m.Redundancy != nil
}

// alerted says that an alert, if one is wanted, has come, or can only be late.
func alerted(findings []verdict.Finding) bool {
	return !slices.ContainsFunc(findings, func(f verdict.Finding) bool { return f.Objective == "alert" && f.Outcome == verdict.Unproven })
}

// evidenceDeadline bounds asking the system for a proof of its own. The first one
// is asked for before the end of a fault, which it does not put off; of a fault that
// is ended before its time, it may.
const evidenceDeadline = 2 * time.Second

// forks asks the system for its own proof that two histories exist, before the
// revert: a node that rejoins erases it.
func (t *trial) forks(ctx context.Context, by time.Time) {
	f, ok := t.p.System.(probes.Forker)
	if !ok {
		return
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), by)
	defer cancel()
	if err := f.Fork(ctx, t.rec.Emit); err != nil {
		t.note("whether the histories forked could not be asked before the revert: " + err.Error())
	}
}

// dates asks for the dates of promotions from a source other than the probes.
func (t *trial) dates(ctx context.Context) {
	d, ok := t.p.System.(probes.Dater)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, roleDeadline)
	defer cancel()
	if err := d.Promotions(ctx, t.rec.Base(), t.rec.Emit); err != nil {
		t.note("no independent date of a promotion could be had: " + err.Error())
	}
}

func (t *trial) note(text string) {
	t.rec.Now(timeline.Event{Kind: timeline.Note, By: "engine", Value: text})
}

// audit looks for every acknowledged write: at once (A1), again after rejoin
// (A2), and on each replica (A3). It is done after an aborted or invalid trial
// too: what was lost is lost.
func (t *trial) audit(ctx context.Context) error {
	t.dates(ctx)
	t.phase("audit")
	if err := t.stopClients(ctx); err != nil {
		return err
	}
	if _, err := t.work.Audit(ctx, "A1", nil, t.rec.Emit); err != nil {
		return t.noAudit("A1", err)
	}
	if t.sofar().Metrics.Rejoin == nil {
		t.note("audit A2 was not possible: no node was seen to rejoin")
		return nil
	}
	if _, err := t.work.Audit(ctx, "A2", nil, t.rec.Emit); err != nil {
		return t.noAudit("A2", err)
	}
	return t.auditReplicas(ctx)
}

func (t *trial) stopClients(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	if err := t.work.StopClients(ctx); err != nil {
		return fmt.Errorf("stop the clients: %w", err)
	}
	if err := t.work.StopOld(ctx); err != nil {
		return fmt.Errorf("stop the old sessions: %w", err)
	}
	return nil
}

func (t *trial) auditReplicas(ctx context.Context) error {
	for _, n := range t.replicas(ctx) {
		if _, err := t.work.Audit(ctx, "A3", n, t.rec.Emit); err != nil {
			if err := t.noAudit("A3 on "+n.Name(), err); err != nil {
				return err
			}
		}
	}
	return nil
}

// replicas are the nodes that say that they are; where none says anything, all.
func (t *trial) replicas(ctx context.Context) []targets.Node {
	if t.p.Untold()[probes.UntoldRoles] != "" {
		return t.p.Nodes
	}
	return withRole(t.p, askRoles(ctx, t.p), probes.Replica)
}

// noAudit notes that an audit could not be had: the verdict is then
// inconclusive about loss, which is no error of dapple's.
func (t *trial) noAudit(name string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	t.note(fmt.Sprintf("audit %s could not be done: %v", name, err))
	return nil
}

// close ends the clients and removes the ledger's rows from the system. That
// these could not be removed is a leftover, not an error; and no leftover where the
// system itself is removed next: whoever cannot do that says so.
func (t *trial) close(ctx context.Context) error {
	if t.work == nil {
		return nil
	}
	err := t.work.Close(ctx)
	switch cerr := t.clean(ctx); {
	case cerr == nil:
	case t.p.ThrownAway:
		t.note("the ledger could not be removed, and goes with the system: " + cerr.Error())
	default:
		t.rec.Now(timeline.Event{
			Kind: timeline.Leftover, By: "engine", Value: cerr.Error(),
			Evidence: "remove the table or the keys of run " + t.p.Run + " by hand once the system is back",
		})
	}
	return err
}

// cleanAgain is how long the engine waits before it asks again for the ledger's
// rows to be removed, and cleanFor how long it asks: a system whose fault was
// just taken back may have no primary yet, by its lease (30 s for Patroni).
const (
	cleanAgain = 500 * time.Millisecond
	cleanFor   = 45 * time.Second
)

// clean removes the ledger's rows, as soon as the system takes it. Of one that is
// removed next it is asked once.
func (t *trial) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cleanFor)
	defer cancel()
	for {
		err := t.work.Clean(ctx)
		if err == nil || t.p.ThrownAway || wait(ctx, cleanAgain) != nil {
			return err
		}
	}
}

// leftovers compares the surroundings with what they were.
func (t *trial) leftovers(ctx context.Context, before agent.Traces) error {
	t.phase("leftovers")
	after, err := t.p.Surroundings(ctx)
	if err != nil {
		return fmt.Errorf("look at the surroundings after the trial: %w", err)
	}
	for _, what := range after.Unseen {
		t.note("whether something is left could not be seen everywhere: " + what)
	}
	for _, l := range agent.Diff(before, after) {
		t.rec.Now(timeline.Event{Kind: timeline.Leftover, By: "engine", Node: l.Node, Value: l.What, Evidence: l.Command})
	}
	return nil
}
