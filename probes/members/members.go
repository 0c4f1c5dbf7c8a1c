// Package members watches how the nodes take part in the redundancy of a system:
// who follows, who lags, who is gone, and what is left of it in one line.
//
// It does not know when redundancy is back; it says what it was at each look,
// and package verdict compares.
package members

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

const (
	// Period is how often the system is asked.
	Period = 200 * time.Millisecond
	// Deadline is how long one answer is waited for.
	Deadline = 2 * time.Second
)

// By is the stream of the Redundancy events; Member events are by
// "member/NODE".
const By = "members"

// The states of a member, as timeline.Member has them.
const (
	following = "following"
	absent    = "absent"
)

// Unknown is the Value of a Redundancy event when the system did not answer:
// that it is as redundant as before is then not known.
const Unknown = "unknown"

type probe struct {
	sys   probes.Membership
	names []string
}

// New makes the probe. names are all nodes of the system: one that an answer
// does not mention is absent in it.
func New(sys probes.Membership, names []string) probes.Probe {
	return &probe{sys, names}
}

// A watch is one run of the probe, by one goroutine.
type watch struct {
	names []string
	lines map[string]*line
	whole *line
	emit  timeline.Emit
}

type line struct {
	*timeline.Stream
	last timeline.Event
}

func (p *probe) Watch(ctx context.Context, emit timeline.Emit) error {
	w := &watch{names: p.names, lines: map[string]*line{}, emit: emit, whole: &line{Stream: timeline.NewStream(emit)}}
	defer w.flush()
	t := time.NewTicker(Period)
	defer t.Stop()
	for {
		asked := time.Now()
		all, err := p.ask(ctx)
		if ctx.Err() != nil {
			return nil
		}
		w.look(asked, time.Now(), all, err)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (p *probe) ask(ctx context.Context) ([]probes.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	return p.sys.Members(ctx)
}

func (w *watch) look(asked, told time.Time, all []probes.Member, err error) {
	if err != nil {
		w.whole.add(asked, told, timeline.Event{Kind: timeline.Redundancy, By: By, Value: Unknown, Evidence: err.Error()})
		return
	}
	seen := map[string]bool{}
	for _, m := range all {
		seen[m.Node] = true
		w.member(asked, told, m)
	}
	for _, n := range w.names {
		if !seen[n] {
			w.member(asked, told, probes.Member{Node: n, State: absent, Said: "not among the members that the system lists"})
		}
	}
	w.whole.add(asked, told, timeline.Event{Kind: timeline.Redundancy, By: By, Value: Line(all)})
}

func (w *watch) member(asked, told time.Time, m probes.Member) {
	l := w.lines[m.Node]
	if l == nil {
		l = &line{Stream: timeline.NewStream(w.emit)}
		w.lines[m.Node] = l
	}
	data, err := json.Marshal(map[string]any{"lag": m.Lag, "sync": m.Sync})
	if err != nil {
		panic("dapple: internal error: a number and a truth value have no JSON: " + err.Error())
	}
	e := timeline.Event{
		Kind: timeline.Member, Node: m.Node, By: "member/" + m.Node,
		Value: m.State, Epoch: m.Epoch, Evidence: m.Said, N: m.Lag, Data: data,
	}
	// The reply may hold what moves all the time: equal states keep the evidence
	// of the first of their run.
	if e.Value == l.last.Value && e.Epoch == l.last.Epoch {
		e.Evidence = l.last.Evidence
	}
	l.add(asked, told, e)
}

func (l *line) add(lo, hi time.Time, e timeline.Event) {
	l.last = e
	l.Add(lo, hi, e)
}

func (w *watch) flush() {
	for _, l := range w.lines {
		l.Flush()
	}
	w.whole.Flush()
}

// Line is the redundancy of a system in one canonical line:
// "3 members, 2 following, 1 synchronous". Absent nodes are not members, and
// only what follows counts as synchronous.
func Line(all []probes.Member) string {
	var present, follow, sync int
	for _, m := range all {
		if m.State == absent {
			continue
		}
		present++
		if m.State == following {
			follow++
			if m.Sync {
				sync++
			}
		}
	}
	return fmt.Sprintf("%d members, %d following, %d synchronous", present, follow, sync)
}
