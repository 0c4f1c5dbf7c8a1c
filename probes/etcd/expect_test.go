package etcd

import (
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// named is a node of which nothing but its name is known.
type named struct{ targets.Node }

func (named) Name() string { return "n" }

func three() *System {
	s := &System{names: map[uint64]string{1: "n1", 2: "n2"}, terms: map[uint64]uint64{}}
	for range 3 {
		s.places = append(s.places, newPlace(named{}, false, "2379"))
	}
	return s
}

func TestOnlyWhatTheModelCoversIsExpected(t *testing.T) {
	kill := func(roles []string, hold time.Duration, params map[string]string) probes.Cause {
		return probes.Cause{Injector: "kill", Roles: roles, For: hold, Params: params}
	}
	primary, replica := []string{"primary"}, []string{"replica"}
	for name, c := range map[string]struct {
		cause        probes.Cause
		ok, failover bool
		min, max     time.Duration // of the detection
	}{
		"a crash":                    {kill(primary, 0, map[string]string{"signal": "KILL"}), true, true, 800 * time.Millisecond, 2150 * time.Millisecond},
		"a freeze":                   {kill(primary, time.Minute, map[string]string{"signal": "STOP"}), true, true, 800 * time.Millisecond, 2150 * time.Millisecond},
		"a freeze too short to tell": {kill(primary, time.Second, map[string]string{"signal": "STOP"}), false, false, 0, 0},
		"a hand-over":                {kill(primary, 0, map[string]string{"signal": "TERM"}), true, true, 0, 1250 * time.Millisecond},
		"a harmless signal":          {kill(primary, 0, map[string]string{"signal": "HUP"}), false, false, 0, 0},
		"a replica":                  {kill(replica, 0, nil), true, false, 0, 0},
		"a majority":                 {kill([]string{"primary", "replica"}, 0, nil), false, false, 0, 0},
		"another process":            {kill(primary, 0, map[string]string{"process": "sidecar"}), false, false, 0, 0},
		"another fault":              {probes.Cause{Injector: "noop", Roles: primary}, false, false, 0, 0},
	} {
		ranges, failover, ok, err := three().Expect(t.Context(), c.cause)
		d := ranges["detection"]
		if err != nil || ok != c.ok || failover != c.failover || d.Min != c.min || d.Max != c.max {
			t.Errorf("%s: %v failover %v, detection %+v, %v", name, ok, failover, d, err)
		}
	}
}

func TestALeaderThatShowsTheTermOfAnotherHasNoEpochYet(t *testing.T) {
	s := three()
	look := func(id, leader, term uint64) probes.Claim {
		r := &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: id}, Leader: leader, RaftTerm: term}
		s.learn(s.places[0], r)
		return s.claim(r)
	}
	for i, c := range []struct {
		id, leader, term uint64
		role             probes.Role
		epoch            string
	}{
		{1, 1, 5, probes.Primary, "5"},
		{2, 1, 5, probes.Replica, "5"},
		{2, 2, 5, probes.Primary, ""},  // elected; it has not applied the first entry of its term
		{1, 1, 5, probes.Primary, "5"}, // the old one does not know yet: a dual claim in two terms
		{2, 2, 6, probes.Primary, "6"},
		{1, 0, 5, probes.None, "5"},
	} {
		if got := look(c.id, c.leader, c.term); got.Role != c.role || got.Epoch != c.epoch || got.Detail == "" {
			t.Errorf("look %d: %+v, want %s in epoch %q", i, got, c.role, c.epoch)
		}
	}
}

func TestMembersFollowIfTheyHaveWhatTheLeaderHadCommitted(t *testing.T) {
	s := three()
	now := standing{leader: 1, committed: 100, term: 5}
	status := func(id, leader, term, applied uint64) *pb.StatusResponse {
		return &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: id}, Leader: leader, RaftTerm: term, RaftAppliedIndex: applied, RaftIndex: applied}
	}
	learner := status(2, 1, 5, 100)
	learner.IsLearner = true
	for name, c := range map[string]struct {
		r     *pb.StatusResponse
		state string
		lag   int64
		sync  bool
	}{
		"the leader":           {status(1, 1, 5, 100), "primary", 0, false},
		"up to date":           {status(2, 1, 5, 103), "following", 0, true},
		"a write under way":    {status(2, 1, 5, 99), "following", 1, true},
		"far behind":           {status(2, 1, 5, 50), "lagging", 50, false},
		"in an older term":     {status(2, 1, 4, 100), "lagging", 0, false},
		"without a leader":     {status(2, 0, 5, 100), "lagging", 0, false},
		"with another leader":  {status(2, 3, 4, 100), "lagging", 0, false},
		"a learner, caught up": {learner, "lagging", 0, false},
	} {
		if m := s.member("n", c.r, now); m.State != c.state || m.Lag != c.lag || m.Sync != c.sync || m.Said == "" {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestOnlyDifferentHashesOfTheSameHistoryAreAFork(t *testing.T) {
	hash := func(id uint64, hash uint32, compacted int64) *pb.HashKVResponse {
		return &pb.HashKVResponse{Header: &pb.ResponseHeader{MemberId: id}, Hash: hash, CompactRevision: compacted}
	}
	for name, c := range map[string]struct {
		all  []*pb.HashKVResponse
		fork bool
	}{
		"equal":                      {[]*pb.HashKVResponse{hash(1, 7, 0), hash(2, 7, 0), hash(3, 7, 0)}, false},
		"one differs":                {[]*pb.HashKVResponse{hash(1, 7, 0), hash(2, 7, 0), hash(3, 8, 0)}, true},
		"they cover different parts": {[]*pb.HashKVResponse{hash(1, 7, 0), hash(2, 8, 5), hash(3, 7, 0)}, false},
		"but two of them the same":   {[]*pb.HashKVResponse{hash(1, 7, 0), hash(2, 8, 5), hash(3, 9, 5)}, true},
	} {
		if said, forked := disagree(three(), c.all); forked != c.fork || said == "" {
			t.Errorf("%s: forked %v, %s", name, forked, said)
		}
	}
}
