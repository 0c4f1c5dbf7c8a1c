package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// catchUp is how long a replica may take to apply what the primary had when the
// look began, and still count as following.
const catchUp = 250 * time.Millisecond

// Members tells how each node takes part.
//
// A replica is following if its link is up, its history is the primary's, and it
// has applied, within catchUp, everything that the primary had just before it was
// asked. Its Lag is the bytes of the replication stream that it still lacked at
// the last look. It is Sync if applications wait for replicas (settings.wait): for
// any of them. Of several that claim to be the primary, it is the one that the
// Sentinels name; without one nobody follows.
func (s *System) Members(ctx context.Context) ([]probes.Member, error) {
	looks := make([]info, len(s.places))
	errs := make([]error, len(s.places))
	s.each(func(i int, p *place) { looks[i], errs[i] = s.look(ctx, p) })
	lead := s.leading(ctx, looks)
	all := make([]probes.Member, len(s.places))
	s.each(func(i int, p *place) {
		m := probes.Member{Node: p.node.Name(), State: "absent", Epoch: looks[i].replid}
		switch {
		case errs[i] != nil:
			m.Said = told(because(ctx, errs[i]))
		case i == lead:
			m.State, m.Said = "primary", fmt.Sprintf("role:%s, %d replicas", saysPrimary, looks[i].replicas)
		case lead < 0 || looks[i].role == saysPrimary:
			m.State, m.Said = "lagging", s.claim(looks[i]).Detail
		default:
			s.follow(ctx, p, looks[lead], &m)
		}
		all[i] = m
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

// leading is the index of the primary, or -1.
func (s *System) leading(ctx context.Context, looks []info) int {
	var claims []int
	for i, l := range looks {
		if l.role == saysPrimary {
			claims = append(claims, i)
		}
	}
	if len(claims) < 2 {
		return append(claims, -1)[0]
	}
	named, err := s.seek(ctx)
	if err != nil {
		return -1
	}
	for _, i := range claims {
		if p := s.at(named.host); p == s.places[i] {
			return i
		}
	}
	return -1
}

// follow fills in how the replica p follows lead.
func (s *System) follow(ctx context.Context, p *place, lead info, m *probes.Member) {
	m.State = "lagging"
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	tick := time.NewTicker(catchUp / 10)
	defer tick.Stop()
	for {
		i, err := s.look(ctx, p)
		if err != nil {
			m.Said = told(because(ctx, err))
			return
		}
		if follows(i, lead, m) {
			m.State, m.Sync = "following", s.wait.replicas > 0
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// follows says whether i has all that lead had.
func follows(i, lead info, m *probes.Member) bool {
	m.Epoch, m.Lag = i.replid, max(0, lead.offset-i.offset)
	switch {
	case i.syncing:
		m.Said = "a whole copy is under way"
	case !i.linkUp:
		m.Said = "master_link_status:down"
	case i.replid != lead.replid:
		m.Said = "it is on another history than the primary"
	case m.Lag > 0:
		m.Said = "master_link_status:up, behind"
	default:
		m.Said = "master_link_status:up"
		return true
	}
	return false
}
