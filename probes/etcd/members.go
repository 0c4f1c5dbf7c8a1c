package etcd

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/dapple-drills/dapple/probes"
)

// enough is how many entries a member may be behind and still follow: a write
// that is under way is on some members and not yet on others.
const enough = 10

// Members tells how each member takes part.
//
// The leader is asked first: what it had committed by then, a member that
// follows has applied, or is at most enough entries short of it, when it is
// asked after. Learners do not count as following: no commit waits for them.
func (s *System) Members(ctx context.Context) ([]probes.Member, error) {
	leader, committed, term := s.leading(ctx)
	places := s.all()
	all := make([]probes.Member, len(places))
	s.each(ctx, func(ctx context.Context, i int, p *place) {
		r, err := s.status(ctx, p)
		if err != nil {
			all[i] = probes.Member{Node: p.node.Name(), State: "absent", Said: silence(ctx, err)}
			return
		}
		all[i] = s.member(p.node.Name(), r, standing{leader, committed, term})
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

// standing is what a leader said of itself: its id, what it had committed, and
// its term; all 0 if there is none.
type standing struct{ leader, committed, term uint64 }

// leading asks all members and believes the claim of the highest term.
func (s *System) leading(ctx context.Context) (id, committed, term uint64) {
	looks := make([]*pb.StatusResponse, len(s.all()))
	s.each(ctx, func(ctx context.Context, i int, p *place) {
		if r, err := s.status(ctx, p); err == nil && i < len(looks) {
			looks[i] = r
		}
	})
	for _, r := range looks {
		if r != nil && r.Leader == r.Header.MemberId && r.RaftTerm >= term {
			id, committed, term = r.Leader, r.RaftIndex, r.RaftTerm
		}
	}
	return id, committed, term
}

func (s *System) member(node string, r *pb.StatusResponse, now standing) probes.Member {
	m := probes.Member{Node: node, Epoch: formatTerm(r.RaftTerm), Said: s.describe(r), State: "lagging"}
	if now.committed > r.RaftAppliedIndex {
		m.Lag = int64(now.committed - r.RaftAppliedIndex)
	}
	switch {
	case now.leader == 0 || r.Leader != now.leader:
		// It has no leader, or another one than the present.
	case r.Header.MemberId == now.leader:
		m.State = "primary"
	case r.IsLearner:
		m.Said += ", learner"
	case m.Lag <= enough && r.RaftTerm >= now.term:
		m.State, m.Sync = "following", true
	}
	return m
}

// Versions are those that the members run.
func (s *System) Versions(ctx context.Context) (map[string]string, error) {
	places := s.all()
	versions := make([]string, len(places))
	s.each(ctx, func(ctx context.Context, i int, p *place) {
		if r, err := s.status(ctx, p); err == nil {
			versions[i] = r.Version
		}
	})
	v := map[string]string{}
	for i, p := range places {
		switch {
		case versions[i] == "":
		case v["etcd"] == "":
			v["etcd"] = versions[i]
		case v["etcd"] != versions[i]:
			v["etcd on "+p.node.Name()] = versions[i]
		}
	}
	if len(v) == 0 {
		return nil, fmt.Errorf("no member of %d tells its version", len(places))
	}
	return v, nil
}
