// Package roles asks every node, all the time, what it claims to be.
//
// It asks the node itself and never a coordinator: a node that was voted out and
// does not know it yet is exactly what it is there to see. It does not judge two
// claims at once; that is package verdict's business.
package roles

import (
	"context"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

const (
	// Period is how often each node is asked (measurement rules, "Vantage
	// points": role, poll ≤ 50 ms).
	Period = 50 * time.Millisecond
	// Deadline is how long one answer is waited for before the node counts as
	// unreachable at that look.
	Deadline = time.Second
)

type probe struct {
	sys   probes.System
	nodes []targets.Node
}

// New makes the probe. It emits timeline.Role events as runs, by "role/NODE".
//
// Each node is asked by a goroutine of its own, one question at a time, so that
// a silent node delays no other. The bound: while a node answers within Period,
// a claim that lasts Period plus the time of an answer is seen; while it does
// not answer, it is asked again every Deadline, and the first claim after that
// is seen at most Deadline late. Each look is an interval from question to
// answer, so a skipped state is bounded by its neighbours either way.
func New(sys probes.System, nodes []targets.Node) probes.Probe {
	return &probe{sys, nodes}
}

func (p *probe) Watch(ctx context.Context, emit timeline.Emit) error {
	var wg sync.WaitGroup
	for _, n := range p.nodes {
		wg.Go(func() { p.watch(ctx, n, timeline.NewStream(emit)) })
	}
	wg.Wait()
	return nil
}

func (p *probe) watch(ctx context.Context, n targets.Node, line *timeline.Stream) {
	defer line.Flush()
	t := time.NewTicker(Period)
	defer t.Stop()
	var last timeline.Event
	for {
		asked := time.Now()
		c := p.ask(ctx, n)
		if ctx.Err() != nil {
			return // what the end of the watch cut off is no answer
		}
		last = event(n, c, last)
		line.Add(asked, time.Now(), last)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (p *probe) ask(ctx context.Context, n targets.Node) probes.Claim {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	return p.sys.Role(ctx, n)
}

// event is c as an event. A reply may hold what moves all the time (a position
// in the log), so equal claims keep the evidence of the first of their run; why
// a node is silent does not move, and tells a dead process from a cut line.
func event(n targets.Node, c probes.Claim, last timeline.Event) timeline.Event {
	e := timeline.Event{
		Kind: timeline.Role, Node: n.Name(), By: "role/" + n.Name(),
		Value: string(c.Role), Epoch: c.Epoch, Evidence: c.Detail,
	}
	if c.Role != probes.Silent && e.Value == last.Value && e.Epoch == last.Epoch {
		e.Evidence = last.Evidence
	}
	return e
}
