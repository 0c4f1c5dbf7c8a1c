package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// Fork compares the members' histories by etcd's own hash of all keys with all
// their revisions, up to the highest revision that every member has. Members of
// one history have equal hashes at equal revisions; unequal ones are two
// histories.
//
// Two leaders of one term would be a proof too, but Status cannot give it: the
// term that it shows may be that of the leader before (see the package comment).
func (s *System) Fork(ctx context.Context, emit timeline.Emit) error {
	begin := time.Now()
	revision, err := s.common(ctx)
	if err != nil {
		return err
	}
	places := s.all()
	hashes := make([]*pb.HashKVResponse, len(places))
	errs := make([]error, len(places))
	s.each(ctx, func(ctx context.Context, i int, p *place) {
		err := s.asking(ctx, p, func(ctx context.Context, m pb.MaintenanceClient) (err error) {
			hashes[i], err = m.HashKV(ctx, &pb.HashKVRequest{Revision: revision})
			return err
		})
		if err != nil {
			errs[i] = fmt.Errorf("the hash of %s: %s", p.node.Name(), silence(ctx, err))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if said, forked := disagree(s, hashes); forked {
		emit(begin, time.Now(), timeline.Event{
			Kind: timeline.Forked, By: "etcd/hashkv",
			Value: fmt.Sprintf("members differ at revision %d", revision), Evidence: said,
		})
	}
	return nil
}

// common is the highest revision that every member has.
func (s *System) common(ctx context.Context) (int64, error) {
	places := s.all()
	at := make([]int64, len(places))
	errs := make([]error, len(places))
	s.each(ctx, func(ctx context.Context, i int, p *place) {
		r, err := s.status(ctx, p)
		if err != nil {
			errs[i] = fmt.Errorf("the revision of %s: %s", p.node.Name(), silence(ctx, err))
			return
		}
		at[i] = r.Header.Revision
	})
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	return slices.Min(at), nil
}

// disagree compares the hashes of members that compacted up to the same
// revision: of others they cover different things.
func disagree(s *System, all []*pb.HashKVResponse) (said string, forked bool) {
	first := map[int64]uint32{}
	var words []string
	for _, h := range all {
		words = append(words, fmt.Sprintf("%s: hash %08x, compacted %d", s.called(h.Header.MemberId), h.Hash, h.CompactRevision))
		if before, ok := first[h.CompactRevision]; ok && before != h.Hash {
			forked = true
		} else {
			first[h.CompactRevision] = h.Hash
		}
	}
	return strings.Join(words, "; "), forked
}
