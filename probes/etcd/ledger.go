package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Prepare has nothing to make; it refuses a run whose keys could not be told
// from another's.
func (s *System) Prepare(_ context.Context, run string) error {
	if run == "" || strings.Contains(run, "/") {
		return fmt.Errorf("run %q cannot be part of a key: it is empty or holds a slash", run)
	}
	return nil
}

// Clean deletes the run's keys.
func (s *System) Clean(ctx context.Context, run string) error {
	if err := s.Prepare(ctx, run); err != nil {
		return err
	}
	p := prefix(run)
	err := s.via(ctx, nil, func(ctx context.Context, x *session) error {
		_, err := x.kv.DeleteRange(x.as(ctx), &pb.DeleteRangeRequest{Key: []byte(p), RangeEnd: end(p)})
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting the keys below %s: %w", p, err)
	}
	return nil
}

// via does something over a connection of its own, to n or, if n is nil, by the
// client endpoint.
func (s *System) via(ctx context.Context, n targets.Node, do func(context.Context, *session) error) error {
	x, err := s.open(ctx, probes.Where{Node: n})
	if err != nil {
		return because(ctx, err)
	}
	err = do(ctx, x)
	return errors.Join(err, x.Close())
}

const (
	// tryFor bounds one attempt of Ready, retryAfter is the pause between two.
	tryFor     = 3 * time.Second
	retryAfter = 50 * time.Millisecond
)

// Ready writes w and reads it back linearizably, until that succeeds. It writes
// only if the key is not there, so an attempt whose fate is not known is not
// written a second time by the next.
func (s *System) Ready(ctx context.Context, w probes.Write) error {
	k := []byte(key(w.Run, w.Client, w.Seq))
	for {
		err := s.barrier(ctx, k, strconv.AppendInt(nil, int64(w.Sent), 10))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("writing a key and reading it back: %w: %w", context.Cause(ctx), err)
		case <-time.After(retryAfter):
		}
	}
}

func (s *System) barrier(ctx context.Context, key, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	return s.via(ctx, nil, func(ctx context.Context, x *session) error {
		_, err := x.kv.Txn(x.as(ctx), &pb.TxnRequest{
			Compare: []*pb.Compare{{
				Key: key, Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL,
				TargetUnion: &pb.Compare_Version{Version: 0},
			}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}},
		})
		if err != nil {
			return err
		}
		r, err := x.kv.Range(x.as(ctx), &pb.RangeRequest{Key: key})
		if err != nil {
			return err
		}
		if len(r.Kvs) != 1 {
			return fmt.Errorf("the key %s is not there after it was acknowledged", key)
		}
		return nil
	})
}

// Digests reads the keys of the run, without their values, page by page at one
// revision. A nil node is read linearizably through the client endpoint; a node
// is read as it is.
func (s *System) Digests(ctx context.Context, n targets.Node, run string) ([]probes.Digest, error) {
	at := map[probes.Chunk]*probes.Digest{}
	p := prefix(run)
	err := s.scan(ctx, n, [2][]byte{[]byte(p), end(p)}, func(k string, times int64) error {
		client, seq, err := parseKey(run, k)
		if err != nil {
			return err
		}
		c := probes.Chunk{Client: client, No: seq >> probes.ChunkBits}
		d := at[c]
		if d == nil {
			d = &probes.Digest{Chunk: c, Min: seq, Max: seq}
			at[c] = d
		}
		d.Min, d.Max = min(d.Min, seq), max(d.Max, seq)
		d.Count += uint64(times)
		if times%2 == 1 { // twice the same in an XOR is nothing
			d.Hash ^= probes.HashID(seq)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the keys below %s: %w", p, err)
	}
	var all []probes.Digest
	for _, d := range at {
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b probes.Digest) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.No, b.No))
	})
	return all, nil
}

// IDs reads the keys of one chunk. A key that was written more than once is one
// key, but its version counts the writes: it is seen as often.
func (s *System) IDs(ctx context.Context, n targets.Node, run string, c probes.Chunk, see func(seq uint64)) error {
	first := c.No << probes.ChunkBits
	last := first + 1<<probes.ChunkBits - 1
	bounds := [2][]byte{[]byte(key(run, c.Client, first)), append([]byte(key(run, c.Client, last)), 0)}
	err := s.scan(ctx, n, bounds, func(k string, times int64) error {
		_, seq, err := parseKey(run, k)
		if err != nil {
			return err
		}
		for range times {
			see(seq)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the keys of client %d, chunk %d: %w", c.Client, c.No, err)
	}
	return nil
}

// page is how many keys one reply holds: about 1 MB.
const page = 8192

// scan calls see for each key in [bounds[0], bounds[1]), and how often it was
// written, all at the revision of the first page.
func (s *System) scan(ctx context.Context, n targets.Node, bounds [2][]byte, see func(k string, times int64) error) error {
	return s.via(ctx, n, func(ctx context.Context, x *session) error {
		q := &pb.RangeRequest{Key: bounds[0], RangeEnd: bounds[1], Limit: page, KeysOnly: true, Serializable: n != nil}
		for {
			r, err := x.kv.Range(x.as(ctx), q)
			if err != nil {
				return err
			}
			for _, kv := range r.Kvs {
				if err := see(string(kv.Key), kv.Version); err != nil {
					return err
				}
			}
			if !r.More || len(r.Kvs) == 0 {
				return nil
			}
			if q.Revision == 0 {
				q.Revision = r.Header.Revision
			}
			q.Key = append(r.Kvs[len(r.Kvs)-1].Key, 0)
		}
	})
}

// end is the key after all that begin with p.
func end(p string) []byte {
	e := []byte(p)
	e[len(e)-1]++ // p ends in a slash, so this cannot overflow
	return e
}
