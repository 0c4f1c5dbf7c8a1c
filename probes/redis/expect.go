package redis

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// The periods of a Sentinel that no setting decides (redis, src/sentinel.c).
const (
	pingPeriod = time.Second      // SENTINEL_PING_PERIOD; down-after if that is less
	askPeriod  = time.Second      // SENTINEL_ASK_PERIOD: the others are asked whether they agree
	desync     = time.Second      // SENTINEL_MAX_DESYNC: what is added at random before an election
	infoPeriod = time.Second      // INFO to a replica while a failover is on
	publish    = 2 * time.Second  // SENTINEL_PUBLISH_PERIOD: what the others hear of
	tiltFor    = 30 * time.Second // SENTINEL_TILT_PERIOD
	timer      = 100 * time.Millisecond
	giveUp     = 10 * time.Second // SENTINEL_ELECTION_TIMEOUT, or failover-timeout if that is less
)

const (
	// slack is for what the formulas leave out: round trips, the scheduler, the
	// period of our own polls.
	slack = 300 * time.Millisecond
	// replicaCron is how often a replica tries to connect, and a primary counts
	// those that it has (replication.c, replicationCron).
	replicaCron = time.Second
	// loadMost bounds the start of a server with little data.
	loadMost = 2 * time.Second
)

// Defaults of the contract for clients that declare nothing.
const (
	defaultConnect   = time.Second
	defaultStatement = 2 * time.Second
	longestBackoff   = 500 * time.Millisecond
)

// Expect predicts from the settings in effect what follows the loss, or the
// freezing, of a node's server, and the loss of a replica. What a server does that
// something starts again at once is not modelled, nor is a cut of the network.
func (s *System) Expect(ctx context.Context, c probes.Cause) (map[string]probes.Range, bool, bool, error) {
	how := kindOf(c)
	if how == "" {
		return nil, false, false, nil
	}
	t, err := s.timing(ctx)
	if err != nil {
		return nil, false, false, err
	}
	m := model{timing: t, how: how, held: c.For, connect: s.bind.Clients.Connect, statement: s.bind.Clients.Statement, replicas: len(s.places) - 1}
	if m.connect == 0 {
		m.connect = defaultConnect
	}
	if m.statement == 0 {
		m.statement = defaultStatement
	}
	ranges, failover, ok := m.expect(c.Roles)
	return ranges, failover, ok, nil
}

// kindOf says in which way the server ends: "refuses" connections, or "hangs"; ""
// if there is no model for it.
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

func orElse(v, absent string) string {
	if v == "" {
		return absent
	}
	return v
}

// A model is what an expectation rests on.
type model struct {
	timing
	how                      string
	held, connect, statement time.Duration
	replicas                 int
}

func (m model) expect(roles []string) (ranges map[string]probes.Range, failover, ok bool) {
	switch {
	case len(roles) != 1:
		return nil, false, false
	case !slices.Contains(roles, string(probes.Primary)):
		return m.replica(), false, true
	}
	d := m.detection()
	switch {
	case m.held == 0 || m.held > m.total().Max:
		return m.lost(), true, true
	case m.held < d.Min:
		return m.back(), false, true
	}
	return nil, false, false // it may be back before, or after, somebody else was chosen
}

// detection is +sdown of the first Sentinel. A server that hangs is measured from
// the first ping that it did not answer, one that refuses from the last that it
// did (sentinelCheckSubjectivelyDown).
func (m model) detection() probes.Range {
	period := min(pingPeriod, m.downMost)
	d := probes.Range{
		Min: max(0, m.downLeast-min(pingPeriod, m.downLeast)-timer), Max: m.downMost + period + timer + slack,
		Why: fmt.Sprintf("down-after-milliseconds %v, counted from the last good answer to a ping, or the first ping without one: a ping every %v, a timer of %v (sentinel.c, sentinelCheckSubjectivelyDown); + %v for scheduling", m.downMost, period, timer, slack),
	}
	d.Modes = []probes.Mode{{
		Name: "TILT", Min: m.downLeast, Max: d.Max + tiltFor,
		Why: fmt.Sprintf("the clock of a Sentinel jumped by more than 2 s, or back, or the Sentinel was held up: it acts on nothing for %v (sentinelCheckTiltCondition)", tiltFor),
	}}
	return d
}

// election is until the leader of the failover has chosen a replica.
func (m model) election() probes.Range {
	abort := min(giveUp, m.failover)
	r := probes.Range{
		Max: askPeriod + desync + timer + slack,
		Why: fmt.Sprintf("the others are asked every %v whether they agree (+odown), and for their votes up to %v later (SENTINEL_MAX_DESYNC); + %v for scheduling", askPeriod, desync, timer+slack),
	}
	r.Modes = []probes.Mode{{
		Name: "election lost", Min: 2*m.failover - abort, Max: 2*m.failover + 2*r.Max,
		Why: fmt.Sprintf("two Sentinels voted for themselves; the next attempt comes 2 × failover-timeout (%v) after the first (sentinelStartFailoverIfNeeded)", m.failover),
	}}
	return r
}

// promotion is until the chosen replica takes writes. With min-replicas-to-write
// it has to have replicas of its own first.
func (m model) promotion() probes.Range {
	r := probes.Range{Max: 2*timer + slack, Why: fmt.Sprintf("the replica is told at the next turn of the timer, and takes writes at once: 2 × %v + %v", timer, slack)}
	if m.guard > 0 {
		r.Max += infoPeriod + 2*replicaCron + timer
		r.Why += fmt.Sprintf("; but min-replicas-to-write is %d, so it refuses writes until as many follow it: they are told once it is seen to be promoted (INFO every %v), connect within %v, and are counted every %v", m.guard, infoPeriod, replicaCron, replicaCron)
	}
	return r
}

// routing is until clients are led there: the Sentinels name the new primary once
// it is seen to be promoted.
func (m model) routing() probes.Range {
	r := probes.Range{
		Max: infoPeriod + publish + m.connect + longestBackoff,
		Why: fmt.Sprintf("the leader names the new primary once INFO (every %v) shows it promoted, the others within %v; clients ask again within %v, and connect within %v", infoPeriod, publish, longestBackoff, m.connect),
	}
	if m.how == "hangs" {
		r.Max += m.statement
		r.Why += fmt.Sprintf("; those whose server hangs wait for their statement timeout %v first", m.statement)
	}
	return r
}

// total is the outage. The phases are bounded each by its own worst case; a
// failover that meets all of them at once is not possible, but so is no other
// bound.
func (m model) total() probes.Range {
	d, e := m.detection(), m.election()
	r := probes.Range{Min: d.Min, Max: d.Max + e.Max + m.promotion().Max + m.routing().Max, Why: "detection + election + promotion + routing"}
	for _, x := range append(d.Modes, e.Modes...) {
		x.Min, x.Max = max(x.Min, r.Min), x.Max+r.Max
		r.Modes = append(r.Modes, x)
	}
	return r
}

func (m model) lost() map[string]probes.Range {
	return map[string]probes.Range{
		"detection": m.detection(), "election": m.election(), "promotion": m.promotion(), "routing": m.routing(),
		"outage": m.total(), "rto": m.total(),
	}
}

// back is a server that is back before anyone held it to be down: the same
// primary, which nobody could reach meanwhile.
func (m model) back() map[string]probes.Range {
	out := probes.Range{
		Min: m.held, Max: m.held + loadMost + m.statement + m.connect + longestBackoff + slack,
		Why: fmt.Sprintf("the server is back after %v, before it is held to be down (%v); it loads its data within %v, clients are back within statement %v + connect %v + %v", m.held, m.downLeast, loadMost, m.statement, m.connect, longestBackoff),
	}
	if m.guard > 0 {
		out.Max += 2 * replicaCron
		out.Why += fmt.Sprintf("; min-replicas-to-write is %d: its replicas have to connect first, within %v", m.guard, 2*replicaCron)
	}
	return map[string]probes.Range{"outage": out, "rto": out}
}

// replica is the loss of a replica.
func (m model) replica() map[string]probes.Range {
	out := probes.Range{Max: slack, Why: "no write waits for a replica"}
	if m.guard >= m.replicas && m.guard > 0 {
		out = probes.Range{
			Max: m.held + 2*replicaCron + m.connect + longestBackoff + slack,
			Why: fmt.Sprintf("min-replicas-to-write is %d and there are %d replicas: without this one the primary refuses writes, until it is back after %v", m.guard, m.replicas, m.held),
		}
	}
	return map[string]probes.Range{"outage": out, "rto": out}
}
