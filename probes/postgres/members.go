package postgres

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// The states of a probes.Member.
const (
	memberPrimary   = "primary"
	memberFollowing = "following"
	memberLagging   = "lagging"
	memberAbsent    = "absent"
)

// catchUp is how long a standby may take to replay what the primary had flushed
// when the look began, and still count as following. Under load a standby is
// never at the primary's present position; one that follows is a round trip and
// a replay behind, one that was rewound or is fetching a base backup is not
// there for seconds.
const catchUp = 250 * time.Millisecond

var positionQuery = &statement{name: "dapple_position", sql: `select pg_current_wal_flush_lsn() - '0/0', ` + timelineNow}

// sendersQuery needs pg_monitor (or pg_read_all_stats); without it the columns
// are null.
var sendersQuery = &statement{name: "dapple_senders", sql: `select coalesce(host(client_addr), ''), coalesce(application_name, ''),
	coalesce(state, 'hidden'), coalesce(sync_state, '') from pg_stat_replication`}

var receiverQuery = &statement{name: "dapple_receiver", sql: `select coalesce(pg_last_wal_replay_lsn() - '0/0', 0),
	coalesce((select coalesce(status, 'hidden') from pg_stat_wal_receiver), 'no receiver'),
	coalesce((select received_tli from pg_stat_wal_receiver), (select timeline_id from pg_control_checkpoint()))`}

// Members tells how each node takes part.
//
// A standby is following if it streams on the primary's timeline and has
// replayed, within catchUp, everything that the primary had flushed just before
// it was asked. Its Lag is the bytes of WAL that it still lacked of that at the
// last look. It is Sync if the primary's commits wait for it, alone or as one
// of a quorum. Without a primary nobody follows: what answers is lagging.
func (s *System) Members(ctx context.Context) ([]probes.Member, error) {
	places := s.all()
	claims := s.claims(ctx, places)
	best := latest(claims)
	var lead *position
	if best >= 0 {
		var err error
		if lead, err = s.position(ctx, places[best]); err != nil {
			return nil, fmt.Errorf("asking %s who follows it: %w", places[best].node.Name(), err)
		}
	}
	members := make([]probes.Member, len(places))
	each(places, func(i int, p *place) {
		m := probes.Member{Node: p.node.Name(), State: memberAbsent, Epoch: claims[i].Epoch, Said: claims[i].Detail}
		switch claims[i].Role {
		case probes.Primary:
			m.State = memberPrimary
		case probes.Replica:
			s.follow(ctx, p, lead, &m)
		}
		members[i] = m
	})
	return members, nil
}

// latest is the index of the primary on the latest timeline, or -1.
func latest(claims []probes.Claim) int {
	best := -1
	for i, c := range claims {
		if c.Role == probes.Primary && (best < 0 || later(c.Epoch, claims[best].Epoch)) {
			best = i
		}
	}
	return best
}

// A position is where a primary is and to whom it sends.
type position struct {
	lsn      int64
	timeline string
	senders  [][]string // address, name, state, sync_state
}

func (s *System) position(ctx context.Context, p *place) (*position, error) {
	rows, err := s.ask(ctx, p, positionQuery)
	if err != nil {
		return nil, err
	}
	pos := &position{timeline: rows[0][1]}
	if pos.lsn, err = strconv.ParseInt(rows[0][0], 10, 64); err != nil {
		return nil, err
	}
	pos.senders, err = s.ask(ctx, p, sendersQuery)
	return pos, err
}

// follow fills in how the standby p follows lead.
func (s *System) follow(ctx context.Context, p *place, lead *position, m *probes.Member) {
	m.State = memberLagging
	if lead == nil {
		return
	}
	for _, sender := range lead.senders {
		if s.NodeName(sender[0]) == m.Node || sender[1] == m.Node {
			m.Sync = sender[3] == "sync" || sender[3] == "quorum"
			m.Said = "pg_stat_replication: " + sender[2] + " " + sender[3]
		}
	}
	// What ends is the loop, never a question that is under way: to give up an
	// answer gives up the connection, and a new one costs the server more than
	// a hundred answers, just when it is behind.
	patience := time.NewTimer(catchUp)
	defer patience.Stop()
	tick := time.NewTicker(catchUp / 10)
	defer tick.Stop()
	for {
		rows, err := s.ask(ctx, p, receiverQuery)
		if err != nil {
			m.Said = reason(err)
			return
		}
		if lead.seenBy(rows[0], m) {
			m.State = memberFollowing
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-patience.C:
			return
		case <-tick.C:
		}
	}
}

// seenBy says whether a standby's reply (replayed, status, timeline) shows that
// it has all that lead had.
func (lead *position) seenBy(reply []string, m *probes.Member) bool {
	replayed, err := strconv.ParseInt(reply[0], 10, 64)
	if err != nil {
		m.Said = "replay position " + reply[0]
		return false
	}
	m.Lag = max(0, lead.lsn-replayed)
	m.Epoch = reply[2]
	streams := reply[1] == "streaming" || reply[1] == "hidden"
	if !streams || m.Lag > 0 || m.Epoch != lead.timeline {
		m.Said = fmt.Sprintf("pg_stat_wal_receiver: %s, timeline %s of %s, %d bytes behind", reply[1], reply[2], lead.timeline, m.Lag)
		return false
	}
	return true
}

// each calls f for all places at once and waits for the last.
func each(places []*place, f func(i int, p *place)) {
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() { f(i, p) })
	}
	wg.Wait()
}
