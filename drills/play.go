package drills

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
)

// revertDeadline bounds taking one step back. It does not depend on the drill's
// context.
const revertDeadline = 30 * time.Second

// errInvalid is why a trial does not count: a fault was not proven, or had a
// hole.
var errInvalid = errors.New("the fault did not hold as declared")

// A held step is one whose faults are in effect, or may be.
type heldStep struct {
	step   Step
	faults map[string]injectors.Fault // by key
	until  time.Time
	asked  bool // for a proof of two histories
	over   bool
}

// play injects each step at its time, holds it, and takes it back. Whatever
// happens, it takes back all that it injected, newest first, before it returns.
func (t *trial) play(ctx context.Context) (err error) {
	var held []*heldStep
	defer func() {
		for _, h := range slices.Backward(held) {
			err = errors.Join(err, t.revert(ctx, h))
		}
	}()
	steps := slices.Clone(t.p.Steps)
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	begin := time.Now()
	for i, s := range steps {
		if err := t.holdUntil(ctx, held, begin.Add(s.At.D()), t.p.sooner(i)); err != nil {
			return err
		}
		if t.p.over() {
			return nil
		}
		h, err := t.inject(ctx, i, s)
		if h != nil {
			held = append(held, h)
		}
		if err != nil {
			return err
		}
		if i == 0 {
			begin = time.Now() // `at` counts from the first step's effect
		}
	}
	t.phase("hold")
	last := begin
	for _, h := range held {
		if h.until.After(last) {
			last = h.until
		}
	}
	return t.holdUntil(ctx, held, last, t.p.sooner(len(steps)))
}

// holdUntil waits until the given time, or until a person wants it sooner, and takes
// back the steps whose time is over meanwhile.
func (t *trial) holdUntil(ctx context.Context, held []*heldStep, until time.Time, sooner <-chan struct{}) error {
	for {
		next := until
		for _, h := range held {
			if !h.over && h.until.Before(next) {
				next = h.until
			}
		}
		early, err := t.askBefore(ctx, held, next, sooner)
		if err == nil && !early {
			early, err = waitUnless(ctx, time.Until(next), sooner)
		}
		if early || err != nil {
			return err
		}
		for _, h := range slices.Backward(held) {
			if !h.over && !h.until.After(time.Now()) {
				if err := t.revert(ctx, h); err != nil {
					return err
				}
			}
		}
		if !next.Before(until) {
			return nil
		}
	}
}

// askBefore asks for a proof of two histories shortly before a step ends at next, so
// that the question, which a frozen node lets wait, does not prolong the fault.
func (t *trial) askBefore(ctx context.Context, held []*heldStep, next time.Time, sooner <-chan struct{}) (early bool, err error) {
	for _, h := range held {
		if h.over || h.asked || h.until.After(next) {
			continue
		}
		left := time.Until(next)
		if early, err := waitUnless(ctx, left-min(evidenceDeadline, left/2), sooner); early || err != nil {
			return early, err
		}
		h.asked = true
		t.forks(ctx, next)
	}
	return false, nil
}

// inject aims, plans, and makes the step's faults on all its nodes at once.
func (t *trial) inject(ctx context.Context, no int, s Step) (*heldStep, error) {
	t.phase("inject")
	aim, _, err := t.p.aim(ctx, s)
	if err != nil {
		return nil, t.unsteady(err.Error())
	}
	faults, err := s.Injector.Plan(ctx, aim)
	if err != nil {
		return nil, t.unsteady(err.Error())
	}
	h := &heldStep{step: s, faults: map[string]injectors.Fault{}}
	for i, f := range faults {
		key := fmt.Sprintf("%s-t%d-s%d-f%d", t.p.Run, t.n, no+1, i+1)
		h.faults[key] = f
		t.planned(key, f, bool(s.Prepares))
	}
	if phase := t.p.phaseOf(s); phase != scenarios.Random {
		if err := t.renewed.await(ctx, phase); err != nil {
			return nil, err
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for key, f := range h.faults {
		wg.Go(func() {
			if err := t.injectOne(ctx, key, f); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	h.until = time.Now().Add(s.For.D())
	return h, errors.Join(errs...)
}

func (t *trial) planned(key string, f injectors.Fault, prepares bool) {
	t.mu.Lock()
	t.nodeDead[key] = f.NodeDead
	t.mu.Unlock()
	e := t.faultEvent(timeline.FaultPlanned, key, f)
	if prepares {
		e.Data = faultData(map[string]any{"fault": key, "prepares": true})
	}
	t.rec.Now(e)
}

func (t *trial) faultEvent(k timeline.Kind, key string, f injectors.Fault) timeline.Event {
	return timeline.Event{Kind: k, Node: f.Node, By: f.Kind, Value: f.Does, Data: faultData(map[string]any{"fault": key})}
}

func faultData(d map[string]any) json.RawMessage {
	data, err := json.Marshal(d)
	if err != nil {
		panic("dapple: internal error: " + err.Error()) // texts and truths always marshal
	}
	return data
}

func (t *trial) injectOne(ctx context.Context, key string, f injectors.Fault) error {
	node, ok := t.p.node(f.Node).(targets.Portable)
	if !ok {
		return fmt.Errorf("%s on %s: the node cannot be reached by an agent", f.Kind, f.Node)
	}
	held, err := t.hold.Inject(ctx, key, node.Spec(), f)
	if err != nil {
		e := t.faultEvent(timeline.FaultNoEffect, key, f)
		e.Evidence = err.Error()
		t.rec.Now(e)
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	t.rec.Emit(held.Inject.Lo, held.Inject.Hi, t.faultEvent(timeline.FaultInjected, key, f))
	e := t.faultEvent(timeline.FaultEffect, key, f)
	e.Evidence = held.Proof
	if !held.OK {
		e.Kind = timeline.FaultNoEffect
	}
	t.rec.Emit(held.Effect.Lo, held.Effect.Hi, e)
	if !held.OK {
		return fmt.Errorf("%w: %s on %s: no effect was proven: %s", errInvalid, f.Kind, f.Node, held.Proof)
	}
	t.work.AtRisk(held.Effect.Lo, t.rec.Emit)
	return nil
}

// revert takes all faults of a step back, all of them even if one fails.
func (t *trial) revert(ctx context.Context, h *heldStep) error {
	if h.over {
		return nil
	}
	h.over = true
	if !h.asked {
		t.forks(ctx, time.Now().Add(evidenceDeadline))
	}
	t.phase("revert")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revertDeadline)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for key, f := range h.faults {
		wg.Go(func() {
			if err := t.revertOne(ctx, key, f); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (t *trial) revertOne(ctx context.Context, key string, f injectors.Fault) error {
	span, err := t.hold.Revert(ctx, key)
	if err == nil {
		t.rec.Emit(span.Lo, span.Hi, t.faultEvent(timeline.FaultReverted, key, f))
		return nil
	}
	e := t.faultEvent(timeline.Leftover, key, f)
	e.By, e.Evidence = "engine", f.Undo
	e.Value = fmt.Sprintf("%s: not reverted: %v", f.Does, err)
	t.rec.Now(e)
	return fmt.Errorf("revert %s on %s: %w", f.Kind, f.Node, err)
}
