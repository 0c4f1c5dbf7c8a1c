package drills

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// A watch keeps what the latest events say of the system: it is what guardrails
// and the steady state are asked of. It judges nothing that ends up in a record.
type watch struct {
	mu      sync.Mutex
	streams map[string]streamNow // client streams (app/…, fresh) by name
	roles   map[string]string    // what each node says of itself
	members map[string]string
}

type streamNow struct {
	acked bool
	since time.Duration
	reply string
}

func newWatch() *watch {
	return &watch{streams: map[string]streamNow{}, roles: map[string]string{}, members: map[string]string{}}
}

// see is called for each event, in order.
func (w *watch) see(e timeline.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case timeline.Write:
		if isClient(e.By) {
			w.write(e)
		}
	case timeline.Role:
		w.roles[e.Node] = e.Value
	case timeline.Member:
		w.members[e.Node] = e.Value
	}
}

func (w *watch) write(e timeline.Event) {
	ok := probes.Class(e.Value) == probes.Acked
	now, known := w.streams[e.By]
	if !known || now.acked != ok {
		w.streams[e.By] = streamNow{ok, e.At.Hi, e.Evidence}
	}
}

func isClient(by string) bool { return by == "fresh" || strings.HasPrefix(by, "app/") }

// outage is how long the client stream that fares worst has not had a success.
func (w *watch) outage(now time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var worst time.Duration
	for _, s := range w.streams {
		if !s.acked {
			worst = max(worst, now-s.since)
		}
	}
	return worst
}

// hiccup is how long a client of a healthy system may be without a success: a
// checkpoint's fsync, a stall of the machine. What is at risk at the moment of
// the effect is counted by the ledger, so a slow system cannot pass for a steady
// one.
const hiccup = time.Second

// wrong says why the steady-state hypothesis does not hold at the given moment,
// or "", and whether that is because a node was lost.
func (w *watch) wrong(p *Plan, now time.Duration) (why string, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if why := w.wrongNodes(p); why != "" {
		return why, true
	}
	for _, by := range slices.Sorted(maps.Keys(w.streams)) {
		if s := w.streams[by]; !s.acked && now-s.since > hiccup {
			return fmt.Sprintf("client %s has had no success for %v: %s", by, hiccup, s.reply), false
		}
	}
	if want := p.Scenario.Workload.Clients + 1; len(w.streams) < want {
		return fmt.Sprintf("%d of %d client streams have had a reply", len(w.streams), want), false
	}
	return "", false
}

func (w *watch) wrongNodes(p *Plan) string {
	primaries := 0
	untold := p.Untold()[probes.UntoldRoles] != ""
	for _, n := range p.Nodes {
		role := w.roles[n.Name()]
		switch {
		case p.away(n.Name()):
			continue
		case probes.Role(role) == probes.Primary:
			primaries++
		case probes.Role(role) != probes.Replica && !untold:
			return fmt.Sprintf("node %s says %q of its role", n.Name(), role)
		}
		if m := w.members[n.Name()]; m == "absent" {
			return fmt.Sprintf("node %s does not take part in replication", n.Name())
		}
	}
	if primaries != 1 && !p.Kind.MultiPrimary && !untold {
		return fmt.Sprintf("%d nodes say that they are primary", primaries)
	}
	return ""
}
