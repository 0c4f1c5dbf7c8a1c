package etcd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// Expect predicts what follows the death, or the freezing, of members.
//
// raft counts ticks of one heartbeat interval h. A follower's timeout is drawn
// anew from E … 2E-1 ticks, with E = election timeout / h, and starts again with
// each message of the leader (raft.go, resetRandomizedElectionTimeout and
// tickElection). When the leader dies, the last message is between 0 and h ago,
// and the first tick comes between 0 and h after it. So a follower notices
// between (E-2)·h and (2E-1)·h after the death, and the first one counts.
//
// Then it asks for votes, which takes two round trips and an fsync on a
// majority. A member that heard of the leader less than E ticks ago refuses
// (Step, inLease), as it will if the first drew about E: then the others' own
// timeouts decide, which end (2E-1)·h after the death at the latest. A split vote
// costs another timeout: the second mode.
//
// A member is left out of this for the first 5 s after it was started: it has
// its first timeout advanced by E-2 ticks (etcdserver, adjustTicks).
func (s *System) Expect(ctx context.Context, c probes.Cause) (ranges map[string]probes.Range, failover, ok bool, err error) {
	if c.Injector != "kill" || !slices.Contains([]string{"", "main", "server", "all"}, c.Params["process"]) {
		return nil, false, false, nil
	}
	t, err := s.timing(ctx)
	if err != nil {
		return nil, false, false, err
	}
	n := len(s.all())
	if len(c.Roles) > (n-1)/2 {
		return nil, false, false, nil // no quorum is left: nothing is predicted before they are back
	}
	if !slices.Contains(c.Roles, string(probes.Primary)) {
		return nil, false, true, nil
	}
	switch c.Params["signal"] {
	case "", "KILL", "SIGKILL", "ABRT", "SIGABRT", "SEGV", "SIGSEGV":
		return s.crash(t), true, true, nil
	case "STOP", "SIGSTOP":
		if c.For < 2*t.election {
			return nil, false, false, nil // it may wake before anyone noticed
		}
		return s.crash(t), true, true, nil
	case "TERM", "SIGTERM", "INT", "SIGINT":
		return s.handover(t), true, true, nil
	}
	return nil, false, false, nil
}

// slack is for what the formulas leave out: two round trips, an fsync on each of
// a majority, the scheduler, and the period of our own polls.
const slack = 250 * time.Millisecond

func (s *System) crash(t timing) map[string]probes.Range {
	detect := probes.Range{
		Min: max(0, t.election-2*t.heartbeat),
		Max: 2*t.election - t.heartbeat + slack,
		Why: fmt.Sprintf("election timeout %v, heartbeat %v (%s): a follower's timeout is 1× … 2× the former less a heartbeat, from the leader's last message, up to 2 heartbeats ago; + %v for scheduling and polls", t.election, t.heartbeat, t.source, slack),
	}
	vote := probes.Range{
		Max: t.election + slack,
		Why: fmt.Sprintf("two votes within %v; or, where the first to notice is refused because another heard of the leader less than %v ago, by the other's timeout; a split vote adds up to %v", slack, t.election, 2*t.election),
	}
	return s.andClients(detect, vote, detect.Max)
}

// handover is a member that ends in peace: etcd transfers the leadership first.
func (s *System) handover(t timing) map[string]probes.Range {
	detect := probes.Range{
		Max: t.election + slack,
		Why: fmt.Sprintf("a leader that is told to end hands over first: round trips; it gives up after the election timeout %v (%s)", t.election, t.source),
	}
	vote := probes.Range{Max: slack + t.heartbeat, Why: "one vote, asked for by the old leader"}
	return s.andClients(detect, vote, detect.Max+vote.Max)
}

// Defaults of contract.md for clients that declare nothing.
const (
	defaultConnect   = time.Second
	defaultStatement = 2 * time.Second
	longestBackoff   = 500 * time.Millisecond
)

// andClients adds what clients see. A write that a follower had passed on to the
// dead leader is lost, and its client waits until its own statement timeout;
// one that a follower got once it knew of no leader waits there for the next.
// elected is how long after the effect there is a new leader at the latest.
func (s *System) andClients(detect, vote probes.Range, elected time.Duration) map[string]probes.Range {
	connect, statement := s.bind.Clients.Connect, s.bind.Clients.Statement
	if connect == 0 {
		connect = defaultConnect
	}
	if statement == 0 {
		statement = defaultStatement
	}
	outage := probes.Range{
		Min: detect.Min,
		Max: elected + statement + longestBackoff + connect,
		Why: fmt.Sprintf("a new leader within %v, + a client's statement timeout %v (its write was passed on to the dead leader), back-off up to %v and connect up to %v", elected, statement, longestBackoff, connect),
	}
	return map[string]probes.Range{
		"detection": detect,
		"election":  vote,
		"promotion": {Max: slack, Why: "a new leader takes writes once its first entry is committed: one round trip and fsync"},
		"outage":    outage,
		"rto":       outage,
	}
}
