package drills

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/probes"
)

// cleanup bounds what is done after a trial whatever became of it. It does not
// depend on the trial's own context: an interrupted trial must still clean up.
const cleanup = 60 * time.Second

// A trial is one inject-to-recovery cycle.
type trial struct {
	p     *Plan
	n     int
	hold  Holder
	rec   *timeline.Recorder
	watch *watch
	work  Workload

	preview  Preview
	renewed  *renewals // nil: no step asks for a phase
	mu       sync.Mutex
	nodeDead map[string]bool // by fault key
}

func newTrial(d *drill, n, firstEvent int, out io.Writer) *trial {
	t := &trial{p: d.p, n: n, hold: d.hold, watch: newWatch(), preview: d.preview, nodeDead: map[string]bool{}}
	t.rec = timeline.NewRecorder(time.Now(), n, firstEvent, out)
	t.rec.Subscribe(t.watch.see)
	if d.p.Watch != nil {
		t.rec.Subscribe(d.p.Watch)
	}
	return t
}

// run takes the trial from the first look to the last. An error is something
// that kept dapple from its work; what the system did wrong is in the timeline.
func (t *trial) run(ctx context.Context) (err error) {
	before, err := t.p.Surroundings(ctx)
	if err != nil {
		return fmt.Errorf("look at the surroundings before the trial: %w", err)
	}
	observed, stop, err := t.observe(ctx)
	if err == nil {
		err = t.drill(observed)
	}
	if err := t.interrupted(err); err != nil {
		return errors.Join(err, t.end(ctx, stop, before))
	}
	err = errors.Join(t.audit(ctx), t.end(ctx, stop, before))
	t.phase("end")
	return err
}

// end stops what observe started, cleans up, and looks at what is left, also if
// the drill was interrupted.
func (t *trial) end(ctx context.Context, stop func() error, before agent.Traces) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	return errors.Join(stop(), t.close(ctx), t.leftovers(ctx, before))
}

// interrupted records why the trial was cut short, and returns what is not the
// trial's own affair.
func (t *trial) interrupted(err error) error {
	var abort *AbortError
	switch {
	case err == nil || errors.Is(err, errUnsteady) || errors.Is(err, errInvalid):
		return nil
	case errors.As(err, &abort):
		t.rec.Now(timeline.Event{Kind: timeline.Aborted, By: "engine", Value: abort.Why})
		return nil
	default:
		t.rec.Now(timeline.Event{Kind: timeline.Aborted, By: "engine", Value: err.Error()})
		t.phase("end")
		return err
	}
}

// drill is the part between the first fault and the last look.
func (t *trial) drill(ctx context.Context) error {
	if err := t.steady(ctx); err != nil {
		return err
	}
	if err := t.play(ctx); err != nil {
		return err
	}
	return t.settle(ctx)
}

// observe starts the workload and every probe: the only place of the engine
// where goroutines are started for a trial. The context it returns ends when a
// guardrail trips. stop ends the probes and waits for them.
func (t *trial) observe(ctx context.Context) (context.Context, func() error, error) {
	t.phase("observe")
	guarded, abort := context.WithCancelCause(ctx)
	probing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	start := func(watch func(context.Context, timeline.Emit) error) {
		wg.Go(func() {
			if err := watch(probing, t.rec.Emit); err != nil && probing.Err() == nil {
				t.rec.Now(timeline.Event{Kind: timeline.Note, By: "engine", Value: "a probe stopped looking: " + err.Error()})
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	for _, p := range t.p.Probes {
		start(p.Watch)
	}
	ready := make(chan struct{})
	if o, ok := t.p.System.(probes.Observer); ok {
		start(func(ctx context.Context, emit timeline.Emit) error {
			return o.Observe(ctx, emit, sync.OnceFunc(func() { close(ready) }))
		})
	} else {
		close(ready)
	}
	start(t.sightings)
	start(func(ctx context.Context, _ timeline.Emit) error { t.guard(ctx, abort); return nil })
	for _, g := range t.p.Guards {
		if g.During > 0 {
			start(func(ctx context.Context, _ timeline.Emit) error { g.keep(ctx, abort); return nil })
		}
	}
	stop := func() error {
		cancel()
		wg.Wait()
		abort(nil)
		return errors.Join(errs...)
	}
	if err := t.watchRenewals(ctx, start); err != nil {
		return guarded, stop, err
	}
	return guarded, stop, t.begin(ctx, ready)
}

// begin starts the clients, and waits for the first view of the control plane.
func (t *trial) begin(ctx context.Context, ready <-chan struct{}) error {
	work, err := t.p.NewWorkload(t.n, t.rec.Base())
	if err != nil {
		return fmt.Errorf("make the workload: %w", err)
	}
	t.work = work
	if err := work.Prepare(ctx); err != nil {
		return fmt.Errorf("prepare the ledger: %w", err)
	}
	if err := work.Start(ctx, t.rec.Emit); err != nil {
		return fmt.Errorf("start the clients: %w", err)
	}
	select {
	case <-ready:
		return nil
	case <-time.After(observerDeadline):
		return fmt.Errorf("the observer of kind %s had no view of the control plane within %v", t.p.Kind.Name, observerDeadline)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// observerDeadline bounds how long a control plane may take to be seen first.
const observerDeadline = 15 * time.Second

// sightings passes on what the agent sees of the faults that it holds.
func (t *trial) sightings(ctx context.Context, emit timeline.Emit) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case s, ok := <-t.hold.Sightings():
			if !ok {
				return nil
			}
			emit(s.Lo, s.Hi, sighted(s))
		}
	}
}

func sighted(s agent.Sighted) timeline.Event {
	e := timeline.Event{Kind: timeline.Note, Node: s.Node, By: "agent", Value: s.What, Evidence: s.Evidence}
	switch s.What {
	case "restart":
		e.Kind, e.Value = timeline.Restarted, s.By
	case "hole":
		e.Kind = timeline.FaultHole
	}
	return e
}

func (t *trial) phase(name string) {
	t.rec.Now(timeline.Event{Kind: timeline.Phase, By: "engine", Value: name})
}

// judge asks for the verdict on the trial, which is over.
func (t *trial) judge() verdict.Trial { return verdict.Judge(t.input()) }

// sofar asks for the verdict on what was recorded up to now.
func (t *trial) sofar() verdict.Trial {
	in := t.input()
	in.Now = t.rec.Since(time.Now())
	return verdict.Judge(in)
}

func (t *trial) input() verdict.Input {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.p.input(t.n, t.rec.Timeline(), t.preview, t.nodeDead, t.hold.Epsilon())
}
