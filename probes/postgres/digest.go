package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// chunksQuery jumps through the index from chunk to chunk.
const chunksQuery = `with recursive k(client, no) as (
	(select client, seq >> %[2]d from %[1]s order by client, seq limit 1)
	union all
	select n.client, n.seq >> %[2]d from k, lateral (
		select client, seq from %[1]s
		where (client, seq) >= (k.client, (k.no + 1) << %[2]d) order by client, seq limit 1) n
) select client, no from k`

// digestQuery scans each chunk's part of the index once. The aggregates are the
// two cheapest that can tell: min and max come from the ends of the index, and
// a GROUP BY of the whole scan would cost more than the scan.
const digestQuery = `select k.client, k.no, d.n, d.h,
	(select seq from %[1]s where client = k.client and seq >= k.no << %[2]d order by client, seq limit 1),
	(select seq from %[1]s where client = k.client and seq < (k.no + 1) << %[2]d order by client desc, seq desc limit 1)
from unnest($1::int[], $2::bigint[]) k(client, no), lateral (
	select count(*) n, bit_xor(hashint8extended(seq, 0)) h from %[1]s
	where client = k.client and seq >= k.no << %[2]d and seq < (k.no + 1) << %[2]d) d`

// indexOnly keeps the planner, which has no statistics of a young table, on the
// index; compiling the statement would cost more than it saves.
const indexOnly = `set enable_seqscan = off; set enable_bitmapscan = off; set jit = off; set max_parallel_workers_per_gather = 0`

// bitXor is the first version that has the aggregate bit_xor for bigint.
const bitXor = 140000

// Digests returns the digest of each chunk.
//
// HashID cannot be computed by PostgreSQL: it has no arithmetic modulo 2^64. So
// the server XORs a hash of its own (see pgHash). If that is the XOR over all
// ids from min to max, and there are as many rows, then the chunk is these ids,
// each once, and the XOR of HashID over them is computed here. A chunk for which
// it is not has gaps or duplicates; its ids are read. See docs/adr/0020.
func (s *System) Digests(ctx context.Context, n targets.Node, run string) ([]probes.Digest, error) {
	a := audit{s: s, run: run, n: n}
	digests, err := a.all(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the digests of run %s: %w", run, err)
	}
	return digests, nil
}

// An audit is one reading of all digests at one place.
type audit struct {
	s   *System
	run string
	n   targets.Node
}

func (a *audit) all(ctx context.Context) ([]probes.Digest, error) {
	first, err := a.s.at(ctx, a.n)
	if err != nil {
		return nil, err
	}
	defer bye(ctx, first)
	able, workers, err := a.prelude(ctx, first)
	if err != nil {
		return nil, err
	}
	chunks, err := a.chunks(ctx, first)
	if err != nil {
		return nil, err
	}
	if !able {
		return a.each(ctx, first, chunks)
	}
	return a.spread(ctx, chunks, workers)
}

// prelude asks whether the server can hash as we do, and how many processes it
// would itself give to one scan: so many connections are used.
func (a *audit) prelude(ctx context.Context, c *pgx.Conn) (able bool, workers int, err error) {
	var version int
	if err := c.QueryRow(ctx, "select current_setting('server_version_num')::int, current_setting('max_parallel_workers_per_gather')::int").Scan(&version, &workers); err != nil {
		return false, 0, err
	}
	if _, err := c.Exec(ctx, indexOnly, pgx.QueryExecModeSimpleProtocol); err != nil {
		return false, 0, err
	}
	if version < bitXor {
		return false, 0, nil
	}
	able = true
	for _, id := range []int64{0, 1, 65535, 1 << 20, 1<<40 + 77} {
		var h int64
		if err := c.QueryRow(ctx, "select hashint8extended($1, 0)", id).Scan(&h); err != nil {
			return false, 0, err
		}
		able = able && uint64(h) == pgHash(uint64(id))
	}
	return able, workers + 1, nil
}

func (a *audit) chunks(ctx context.Context, c *pgx.Conn) ([]probes.Chunk, error) {
	rows, err := c.Query(ctx, fmt.Sprintf(chunksQuery, a.s.table(a.run), probes.ChunkBits))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (probes.Chunk, error) {
		var client int32
		var no int64
		err := r.Scan(&client, &no)
		return probes.Chunk{Client: int(client), No: uint64(no)}, err
	})
}

// spread gives each of some connections its part of the chunks.
func (a *audit) spread(ctx context.Context, chunks []probes.Chunk, workers int) ([]probes.Digest, error) {
	workers = max(1, min(workers, len(chunks)))
	digests := make([]probes.Digest, len(chunks))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		lo, hi := len(chunks)*w/workers, len(chunks)*(w+1)/workers
		wg.Go(func() { errs[w] = a.part(ctx, chunks[lo:hi], digests[lo:hi]) })
	}
	wg.Wait()
	return digests, errors.Join(errs...)
}

// part fills in the digests of some chunks over a connection of its own.
func (a *audit) part(ctx context.Context, chunks []probes.Chunk, digests []probes.Digest) error {
	if len(chunks) == 0 {
		return nil
	}
	c, err := a.s.at(ctx, a.n)
	if err != nil {
		return err
	}
	defer bye(ctx, c)
	if _, err := c.Exec(ctx, indexOnly, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	hashes, err := a.scan(ctx, c, chunks, digests)
	if err != nil {
		return err
	}
	for i := range digests {
		d := &digests[i]
		if h, ok := dense(*d, hashes[i]); ok {
			d.Hash = h
			continue
		}
		if *d, err = a.read(ctx, c, d.Chunk); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) scan(ctx context.Context, c *pgx.Conn, chunks []probes.Chunk, digests []probes.Digest) ([]uint64, error) {
	clients, nos := make([]int32, len(chunks)), make([]int64, len(chunks))
	for i, k := range chunks {
		clients[i], nos[i] = int32(k.Client), int64(k.No)
	}
	rows, err := c.Query(ctx, fmt.Sprintf(digestQuery, a.s.table(a.run), probes.ChunkBits), clients, nos)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	hashes := make([]uint64, 0, len(chunks))
	for i := 0; rows.Next() && i < len(digests); i++ {
		var client int32
		var no, n, lo, hi int64
		var h *int64
		if err := rows.Scan(&client, &no, &n, &h, &lo, &hi); err != nil {
			return nil, err
		}
		if h == nil {
			return nil, fmt.Errorf("chunk %d of client %d became empty under the audit", no, client)
		}
		digests[i] = probes.Digest{Chunk: probes.Chunk{Client: int(client), No: uint64(no)}, Count: uint64(n), Min: uint64(lo), Max: uint64(hi)}
		hashes = append(hashes, uint64(*h))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(hashes) != len(chunks) {
		return nil, fmt.Errorf("asked for %d chunks and got %d", len(chunks), len(hashes))
	}
	return hashes, nil
}

// dense returns the XOR of HashID over a chunk that holds each id from min to
// max once; ok is false if it does not.
func dense(d probes.Digest, server uint64) (hash uint64, ok bool) {
	if d.Max-d.Min+1 != d.Count {
		return 0, false
	}
	var want uint64
	for id := d.Min; id <= d.Max; id++ {
		want ^= pgHash(id)
		hash ^= probes.HashID(id)
	}
	return hash, want == server
}

// each reads the ids of all chunks: what is left where the server cannot hash.
func (a *audit) each(ctx context.Context, c *pgx.Conn, chunks []probes.Chunk) ([]probes.Digest, error) {
	digests := make([]probes.Digest, len(chunks))
	for i, k := range chunks {
		var err error
		if digests[i], err = a.read(ctx, c, k); err != nil {
			return nil, err
		}
	}
	return digests, nil
}

// read computes a chunk's digest from its ids.
func (a *audit) read(ctx context.Context, c *pgx.Conn, k probes.Chunk) (probes.Digest, error) {
	d := probes.Digest{Chunk: k, Min: ^uint64(0)}
	err := a.s.stream(ctx, c, a.run, k, func(id uint64) {
		d.Count++
		d.Min, d.Max = min(d.Min, id), max(d.Max, id)
		d.Hash ^= probes.HashID(id)
	})
	if d.Count == 0 {
		d.Min = 0
	}
	return d, err
}

// pgHash is hashint8extended(id, 0) of PostgreSQL: Bob Jenkins's final mix of
// one 32-bit word (lookup3.c, 2006, public domain) with the initial state that
// hash_bytes_uint32_extended gives it. PostgreSQL keeps it stable because hash
// partitioning stores by it; the audit checks it against the server all the
// same. Within a chunk it is injective before mixing, since only the low 16
// bits of the folded word differ.
func pgHash(id uint64) uint64 {
	word := uint32(id) ^ uint32(id>>32) // ids are not negative
	const start = 0x9e3779b9 + 4 + 3923095
	a, b, c := uint32(start)+word, uint32(start), uint32(start)
	c = (c ^ b) - rot(b, 14)
	a = (a ^ c) - rot(c, 11)
	b = (b ^ a) - rot(a, 25)
	c = (c ^ b) - rot(b, 16)
	a = (a ^ c) - rot(c, 4)
	b = (b ^ a) - rot(a, 14)
	c = (c ^ b) - rot(b, 24)
	return uint64(b)<<32 | uint64(c)
}

func rot(x uint32, k int) uint32 { return x<<k | x>>(32-k) }
