package mysql

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// What no setting decides (MySQL manual, "Responses to Failure Detection and Network
// Partitioning"; WL#13773).
const (
	// unheard is how long a member is not heard until it is suspected.
	unheard = 5 * time.Second
	// aliveEvery bounds how old a member's last sign of life may be when it dies:
	// without other messages it sends one a second.
	aliveEvery = time.Second
	// expelEvery is the manual's "further short period" until a suspicion that is old
	// enough is acted on (gcs_xcom_control_interface.cc,
	// SUSPICION_PROCESSING_THREAD_PERIOD).
	expelEvery = 15 * time.Second
)

const (
	// slack is for what the formulas leave out: round trips, the scheduler, the
	// period of our own polls.
	slack = 500 * time.Millisecond
	// backlog bounds what a new primary has still to apply, under the load of a drill.
	backlog = 2 * time.Second
	// startMost bounds the start of a server with little data, and its way back into
	// the group.
	startMost = 30 * time.Second
)

// Defaults of the contract for clients that declare nothing.
const (
	defaultConnect   = time.Second
	defaultStatement = 2 * time.Second
	longestBackoff   = 500 * time.Millisecond
)

// Expect predicts from the settings in effect what follows the loss, or the freezing,
// of a node's server. What a server does that something starts again at once is not
// modelled, nor is a cut of the network.
func (s *System) Expect(ctx context.Context, c probes.Cause) (map[string]probes.Range, bool, bool, error) {
	how := kindOf(c)
	if how == "" {
		return nil, false, false, nil
	}
	t, err := s.timing(ctx)
	if err != nil {
		return nil, false, false, err
	}
	m := model{timing: t, how: how, held: c.For, connect: orElse(s.bind.Clients.Connect, defaultConnect), statement: orElse(s.bind.Clients.Statement, defaultStatement)}
	ranges, failover, ok := m.expect(c.Roles)
	return ranges, failover, ok, nil
}

// kindOf says in which way the server ends: "refuses" connections, or "hangs"; "" if
// there is no model for it.
func kindOf(c probes.Cause) string {
	process, signal := orElse(c.Params["process"], "main"), orElse(c.Params["signal"], "KILL")
	whole := process == "main" || process == "all"
	switch {
	case c.Injector == "kill" && signal == "KILL" && whole:
		return "refuses"
	case c.Injector == "kill" && signal == "STOP" && (process == "all" || process == "server"):
		return "hangs"
	case c.Injector == "pause" && (whole || process == "server"):
		return "hangs"
	}
	return ""
}

func orElse[T comparable](v, absent T) T {
	var none T
	if v == none {
		return absent
	}
	return v
}

// A model is what an expectation rests on.
type model struct {
	timing
	how                      string
	held, connect, statement time.Duration
}

func (m model) expect(roles []string) (ranges map[string]probes.Range, failover, ok bool) {
	switch {
	case len(roles) != 1:
		return nil, false, false
	case !slices.Contains(roles, string(probes.Primary)):
		return m.secondary(), false, true
	case m.held == 0 || m.held > m.gone().Max:
		return m.lost(), true, true
	case m.held < unheard+m.expel:
		return m.back(), false, true
	}
	return nil, false, false // it may be back before, or after, it was expelled
}

// detection is until a member is first shown as UNREACHABLE.
func (m model) detection() probes.Range {
	return probes.Range{
		Min: unheard - aliveEvery, Max: unheard + aliveEvery + slack,
		Why: fmt.Sprintf("a member that is not heard for %v is suspected, which no setting changes; it says that it is alive every %v; + %v for scheduling", unheard, aliveEvery, slack),
	}
}

// election is from the suspicion until the others have expelled it and have chosen.
func (m model) election() probes.Range {
	return probes.Range{
		Min: max(0, m.expel-aliveEvery), Max: m.expel + expelEvery + slack,
		Why: fmt.Sprintf("group_replication_member_expel_timeout %v, then until suspicions are next looked at, every %v; the next primary is chosen in the view without it; + %v for scheduling", m.expel, expelEvery, slack),
	}
}

// gone is until it is expelled.
func (m model) gone() probes.Range {
	return probes.Range{Min: m.detection().Min + m.election().Min, Max: m.detection().Max + m.election().Max}
}

// promotion is until the chosen member takes writes.
func (m model) promotion() probes.Range {
	r := probes.Range{Max: backlog + slack, Why: fmt.Sprintf("it applies what it has received and clears super_read_only, within %v under this load", backlog)}
	if m.waits {
		r.Why += "; until then group_replication_consistency holds new transactions back"
	}
	return r
}

// routing is until clients are led there.
func (m model) routing() probes.Range {
	r := probes.Range{Max: m.connect + longestBackoff + slack, Why: fmt.Sprintf("clients ask the servers again within %v, and connect within %v", longestBackoff, m.connect)}
	if m.how == "hangs" {
		r.Max += m.statement
		r.Why += fmt.Sprintf("; those whose server hangs wait for their statement timeout %v first", m.statement)
	}
	return r
}

// total is the outage: the phases are bounded each by its own worst case.
func (m model) total() probes.Range {
	g := m.gone()
	return probes.Range{Min: g.Min, Max: g.Max + m.promotion().Max + m.routing().Max, Why: fmt.Sprintf("detection (%v) + group_replication_member_expel_timeout (%v) + promotion + routing", unheard, m.expel)}
}

func (m model) lost() map[string]probes.Range {
	return map[string]probes.Range{
		"detection": m.detection(), "election": m.election(), "promotion": m.promotion(), "routing": m.routing(),
		"outage": m.total(), "rto": m.total(),
	}
}

// back is a server that is back before it was expelled. One that hung goes on where it
// was; one that was killed has lost its place in the group, and the others replace it
// as soon as it asks to be let in again.
func (m model) back() map[string]probes.Range {
	out := probes.Range{
		Min: m.held, Max: m.held + m.statement + m.connect + longestBackoff + slack,
		Why: fmt.Sprintf("the server goes on after %v, before it is expelled (%v); clients are back within statement %v + connect %v + %v", m.held, unheard+m.expel, m.statement, m.connect, longestBackoff),
	}
	if m.how == "refuses" {
		out.Max += startMost + m.gone().Max
		out.Why = fmt.Sprintf("the server is started again after %v, before it is expelled (%v); it or another is primary once it is let in again, or expelled", m.held, unheard+m.expel)
	}
	return map[string]probes.Range{"outage": out, "rto": out}
}

// secondary is the loss of another member. Commits wait for a majority, which is
// there without it; messages to it are held back until it is expelled, for which there
// is room.
func (m model) secondary() map[string]probes.Range {
	out := probes.Range{Max: m.statement, Why: fmt.Sprintf("a majority is there without it; a commit that it was to lead through the group waits until another does, within a statement's %v", m.statement)}
	return map[string]probes.Range{"outage": out, "rto": out}
}
