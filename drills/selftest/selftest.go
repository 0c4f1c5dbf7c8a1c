// Package selftest puts known truth under dapple's own pipeline, and looks
// whether every number that comes out holds it (measurement rules, section 12).
//
// A run is a whole drill: package drills with the agent as a process of its own,
// the real ledger, the real probes and the real verdict, on a system of three
// nodes in this process, behind real sockets on loopback. The system does what a
// script says, which follows from a seed, and writes down what it did when. A run
// of a pipeline that is broken on purpose is a control: it must be found wrong, or
// the selftest proves nothing.
//
// It proves nothing about any real system, nor about the injectors, nor about how
// the kinds of systems class the replies of their servers: those have tests of
// their own.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Options say how much is run, and how.
type Options struct {
	Runs     int
	Seed     uint64                // of the first run; the next has the next one
	Parallel int                   // runs at a time
	Agent    []string              // starts AgentMain
	Worker   []string              // starts WorkerMain; without it no run can be held up
	Dir      string                // a place for what the runs write; they remove it again
	Done     func(n int, r Result) // called for each run, one at a time; may be nil
	// Keep says that what a run wrote stays in Dir if it was wrong.
	Keep bool
	// Controls says to run them too.
	Controls bool
}

// A Result is what came of one run.
type Result struct {
	Case     Case      `json:"case"`
	Readings []Reading `json:"readings"`
	// Why says that the run does not count, since the drill was not made.
	Why  string        `json:"why,omitempty"`
	Took time.Duration `json:"took_ns"`
}

// patience is how long one run may take.
const patience = 90 * time.Second

// Run runs the controls and the runs. An error is something that kept dapple from
// its work; what the runs found is in the Report.
func Run(ctx context.Context, o Options) (Report, error) {
	rep := newReport(o)
	var jobs []job
	if o.Controls {
		for _, c := range controls() {
			jobs = append(jobs, job{seed: c.seed, control: c.name})
		}
	}
	for i := range o.Runs {
		jobs = append(jobs, job{seed: o.Seed + uint64(i)})
	}
	err := o.each(ctx, jobs, func(j job, r Result) {
		if j.control != "" {
			rep.control(j.control, r)
			return
		}
		rep.add(r)
		if o.Done != nil {
			o.Done(rep.Runs, r)
		}
	})
	rep.finish()
	return rep, err
}

// A job is one run, or one control.
type job struct {
	seed    uint64
	control string // its name
}

// each runs the jobs, some at a time, and hands over what came of them one at a
// time. The first error ends it.
func (o Options) each(ctx context.Context, jobs []job, done func(job, Result)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan job)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range max(1, o.Parallel) {
		wg.Go(func() {
			for j := range todo {
				r, err := o.one(ctx, j)
				mu.Lock()
				if err != nil {
					cancel(fmt.Errorf("run with seed %d: %w", j.seed, err))
				} else {
					done(j, r)
				}
				mu.Unlock()
			}
		})
	}
	for _, j := range jobs {
		select {
		case todo <- j:
		case <-ctx.Done():
		}
	}
	close(todo)
	wg.Wait()
	return context.Cause(ctx)
}

// one does one job: here, or in a process of its own if that is to be held up.
// What kept it from being done is told in the Result; only the end of ctx is an
// error.
func (o Options) one(ctx context.Context, j job) (Result, error) {
	timed, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the run does not come to its end"))
	defer cancel()
	begin := time.Now()
	c := caseOf(j.seed)
	var r Result
	var err error
	if c.Stop != nil {
		r, err = o.apart(timed, j)
	} else {
		r, err = o.run(timed, j, nil)
	}
	r.Case, r.Took = c, time.Since(begin)
	switch {
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	case err != nil:
		r.Readings, r.Why = nil, errors.Join(context.Cause(timed), err).Error()
	}
	return r, nil
}

// run does one job in this process; stop is called when it is to be held up.
func (o Options) run(ctx context.Context, j job, stop func(time.Duration)) (res Result, err error) {
	dir, err := os.MkdirTemp(o.Dir, fmt.Sprintf("run-%d-", j.seed))
	if err != nil {
		return res, fmt.Errorf("make a place for the run: %w", err)
	}
	r := &trialRun{c: caseOf(j.seed), agent: o.Agent, dir: dir, stop: stop}
	if j.control != "" {
		c, err := controlOf(j.control)
		if err != nil {
			return res, err
		}
		r.tamper = c.tamper
	}
	out, err := do(ctx, r)
	if err == nil {
		res.Readings, res.Why = check(out, r.base)
	}
	wrong := slices.ContainsFunc(res.Readings, func(x Reading) bool { return x.Wrong != "" })
	if o.Keep && (wrong || res.Why != "") {
		return res, err
	}
	return res, errors.Join(err, os.RemoveAll(dir))
}
