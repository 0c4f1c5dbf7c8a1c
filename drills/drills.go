// Package drills is the engine: it takes a scenario that was bound to a real
// system through preflight, injects, holds and reverts its faults while the
// probes watch, has the ledger audited, and leaves a Record.
//
// The order is the same for every fault and every system (Plan, write down,
// Inject, prove the effect, hold, Revert, verify, clear), and the engine knows
// no concrete injector, probe or place: cmd/dapple binds those. It judges
// nothing by itself; package verdict does, from the timeline alone.
package drills

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/dapple-drills/dapple/drills/verdict"
)

// A drill is one execution of a plan.
type drill struct {
	p       *Plan
	preview Preview
	hold    Holder
	rec     Record
	out     *os.File // timeline.jsonl
	next    int      // index of the next event
}

// Run does the drill of p. An error that is a *Refusal means that nothing was
// touched, and there is no record. Any other error says that dapple could not do
// its work; how the system did is in the Record's verdict, which is worth
// keeping in either case. Everything that was injected has been reverted when
// Run returns, or is named in the record's leftovers.
func Run(ctx context.Context, p *Plan) (rec Record, err error) {
	release, err := p.Ready(ctx)
	if err != nil {
		return rec, asRefusal(err)
	}
	defer func() { err = errors.Join(err, release()) }()
	preview, err := Preflight(ctx, p)
	if err != nil {
		return rec, err
	}
	d := &drill{p: p, preview: preview, rec: p.newRecord(preview)}
	if err := d.begin(); err != nil {
		return rec, err
	}
	if d.hold, err = p.Hold(ctx); err != nil {
		return rec, asRefusal(fmt.Errorf("start the agent: %w", err))
	}
	err = d.trials(ctx)
	err = errors.Join(err, d.release(ctx), d.out.Close())
	return d.rec, errors.Join(err, d.finish(err))
}

// release ends the agent, which reverts whatever it still holds.
func (d *drill) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	if err := d.hold.Close(ctx); err != nil {
		return fmt.Errorf("end the agent: %w", err)
	}
	return nil
}

// begin writes down what the drill is before it does anything.
func (d *drill) begin() error {
	for name, data := range map[string][]byte{"scenario.yaml": d.p.Files.Scenario, "system.yaml": d.p.Files.System} {
		if err := os.WriteFile(filepath.Join(d.p.Dir, name), data, 0o600); err != nil {
			return fmt.Errorf("keep %s with the run: %w", name, err)
		}
	}
	out, err := os.OpenFile(filepath.Join(d.p.Dir, "timeline.jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the timeline: %w", err)
	}
	d.out = out
	return WriteRecord(d.p.Dir, d.rec)
}

// trials runs them one after the other. What keeps dapple from its work ends the
// series; a trial that was not begun or does not count does not.
func (d *drill) trials(ctx context.Context) error {
	for n := 1; n <= d.p.Scenario.Trials; n++ {
		started := time.Now()
		t := newTrial(d, n, d.next, d.out)
		d.p.Log.Debug("trial", zap.Int("n", n))
		err := t.run(ctx)
		judged := t.judge()
		judged.Started = started.Format(time.RFC3339Nano)
		d.next = t.rec.Next()
		d.keepDead(t)
		d.rec.Trials = append(d.rec.Trials, judged)
		d.sum()
		err = errors.Join(err, t.rec.Flush(), WriteRecord(d.p.Dir, d.rec))
		if err != nil {
			return fmt.Errorf("trial %d: %w", n, err)
		}
		if judged.Verdict == verdict.Aborted || len(judged.Leftovers) > 0 {
			return nil
		}
	}
	return nil
}

// keepDead notes which faults meant the death of their node, for later verdicts
// on this record.
func (d *drill) keepDead(t *trial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d.rec.Scenario.NodeDead == nil {
		d.rec.Scenario.NodeDead = map[string]bool{}
	}
	maps.Copy(d.rec.Scenario.NodeDead, t.nodeDead)
}

// sum brings what the trials say together into the record.
func (d *drill) sum() { Summarize(&d.rec) }

// finish writes the record for good.
func (d *drill) finish(err error) error {
	d.rec.Finished = time.Now()
	if err != nil && len(d.rec.Trials) == 0 {
		d.rec.Verdict, d.rec.Reason = verdict.Aborted, err.Error()
	}
	d.rec.ExitCode = verdict.ExitCode(d.rec.Verdict, d.rec.Left())
	return WriteRecord(d.p.Dir, d.rec)
}

// Left says whether any trial left something behind.
func (r Record) Left() bool {
	for _, t := range r.Trials {
		if len(t.Leftovers) > 0 {
			return true
		}
	}
	return false
}
