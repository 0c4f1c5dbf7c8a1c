package etcd

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Role asks the member itself.
//
// The epoch of a leader that shows a term which another member led is empty: it
// was elected, and has not applied the first entry of its own term yet, so its
// term is not known.
func (s *System) Role(ctx context.Context, n targets.Node) probes.Claim {
	p, err := s.place(n)
	if err != nil {
		return probes.Claim{Role: probes.Silent, Detail: err.Error()}
	}
	r, err := s.status(ctx, p)
	if err != nil {
		return probes.Claim{Role: probes.Silent, Detail: silence(ctx, err)}
	}
	return s.claim(r)
}

func (s *System) claim(r *pb.StatusResponse) probes.Claim {
	id := r.Header.MemberId
	c := probes.Claim{Role: probes.Replica, Epoch: formatTerm(r.RaftTerm)}
	switch {
	case r.Leader == 0:
		c.Role = probes.None
	case r.Leader == id:
		c.Role = probes.Primary
		if s.ledBefore(r.RaftTerm, id) {
			c.Epoch = ""
		}
	}
	c.Detail = "leader " + s.called(r.Leader)
	if r.IsLearner {
		c.Detail += ", learner"
	}
	return c
}

// called names a member for people: its node, or its id.
func (s *System) called(id uint64) string {
	if id == 0 {
		return "none"
	}
	if name := s.name(id); name != "" {
		return name
	}
	return "member " + formatID(id)
}

// silence words why a member did not answer.
func silence(ctx context.Context, err error) string {
	err = because(ctx, err)
	if _, ok := status.FromError(err); ok {
		return told(err)
	}
	return reason(err)
}

func (s *System) describe(r *pb.StatusResponse) string {
	return fmt.Sprintf("leader %s, term %d, applied %d of %d", s.called(r.Leader), r.RaftTerm, r.RaftAppliedIndex, r.RaftIndex)
}
