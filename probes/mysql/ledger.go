package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Group Replication wants a primary key, and a duplicate must not be refused: so the
// key ends with a number by chance. Its order is that of the audit.
const createTable = `CREATE TABLE IF NOT EXISTS %s (
	client INT NOT NULL, seq BIGINT NOT NULL, salt BIGINT NOT NULL, sent_ns BIGINT NOT NULL, view BIGINT NOT NULL,
	PRIMARY KEY (client, seq, salt)) ENGINE=InnoDB`

// longestName is how long the name of a table may be (MySQL manual, Identifier Length Limits).
const longestName = 64

// Prepare makes the run's table.
func (s *System) Prepare(ctx context.Context, run string) error {
	if n := len("dapple_ledger_" + run); n > longestName {
		return fmt.Errorf("making the ledger's table: the run's name %q makes a name of %d bytes, MySQL takes %d", run, n, longestName)
	}
	err := s.at(ctx, nil, func(ctx context.Context, c *conn) error {
		_, _, err := c.exec(ctx, fmt.Sprintf(createTable, table(run)))
		return err
	})
	if err != nil {
		return fmt.Errorf("making the ledger's table (the user of clients.dsn needs CREATE, DROP, INSERT and SELECT in %s): %w", s.client.database, err)
	}
	return nil
}

// Clean drops the run's table.
func (s *System) Clean(ctx context.Context, run string) error {
	err := s.at(ctx, nil, func(ctx context.Context, c *conn) error {
		_, _, err := c.exec(ctx, "DROP TABLE IF EXISTS "+table(run))
		return err
	})
	if err != nil {
		return fmt.Errorf("dropping the ledger's table: %w", err)
	}
	return nil
}

const (
	// tryFor bounds one attempt of Ready, retryAfter is the pause between two.
	tryFor     = 3 * time.Second
	retryAfter = 50 * time.Millisecond
)

// Ready writes w and reads it back, until that succeeds on the present primary.
func (s *System) Ready(ctx context.Context, w probes.Write) error {
	for {
		err := s.barrier(ctx, w)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("writing a row and reading it back: %w: %w", context.Cause(ctx), err)
		case <-time.After(retryAfter):
		}
	}
}

// barrier writes the row unless it is there: its salt is always the same, so that an
// attempt whose fate is not known and this one are one row.
func (s *System) barrier(ctx context.Context, w probes.Write) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	return s.at(ctx, nil, func(ctx context.Context, c *conn) error {
		t := table(w.Run)
		_, _, err := c.exec(ctx, "INSERT IGNORE INTO "+t+" (client, seq, salt, sent_ns, view) VALUES (?, ?, 0, ?, 0)", int64(w.Client), int64(w.Seq), int64(w.Sent))
		if err != nil {
			return err
		}
		rows, err := c.query(ctx, "SELECT COUNT(*) FROM "+t+" WHERE client = ? AND seq = ? AND salt = 0", int64(w.Client), int64(w.Seq))
		if err == nil && (len(rows) != 1 || rows[0][0] != "1") {
			err = errors.New("the row is not there after it was acknowledged")
		}
		return err
	})
}

// at connects to n, and calls do with the connection; nil is the present primary.
func (s *System) at(ctx context.Context, n targets.Node, do func(context.Context, *conn) error) error {
	var c *conn
	p, err := s.placeOr(ctx, n)
	if err == nil {
		c, err = s.reach(ctx, p)
	}
	if err != nil {
		return because(ctx, err)
	}
	defer c.close()
	return do(ctx, c)
}

func (s *System) placeOr(ctx context.Context, n targets.Node) (*place, error) {
	if n != nil {
		return s.place(n)
	}
	looks := s.looks(ctx)
	if i := s.leading(looks); i >= 0 {
		return s.places[i], nil
	}
	said := ""
	for i, l := range looks {
		said += fmt.Sprintf("; %s: %s", s.places[i].node.Name(), l.words())
	}
	return nil, errors.New("no node is a primary that can commit" + said)
}

// A looked is what a look at a node brought.
type looked struct {
	view
	err error
}

func (l looked) words() string {
	if l.err != nil {
		return said(l.err)
	}
	return l.view.String()
}

// looks asks all nodes at once.
func (s *System) looks(ctx context.Context) []looked {
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	all := make([]looked, len(s.places))
	s.each(func(i int, p *place) { all[i].view, all[i].err = s.look(ctx, p) })
	return all
}

// leading is the index of the primary, or -1. Of two it is the one in the later
// reign, then the one in the larger group: the other was left behind.
func (s *System) leading(looks []looked) int {
	best := -1
	for i, l := range looks {
		if l.err == nil && l.leads() && (best < 0 || s.ahead(l.view, looks[best].view)) {
			best = i
		}
	}
	return best
}

func (s *System) ahead(a, b view) bool {
	x, _ := strconv.ParseUint(s.reigns.of(a.self, a.number), 10, 64) // we wrote it
	y, _ := strconv.ParseUint(s.reigns.of(b.self, b.number), 10, 64)
	return x > y || x == y && len(a.members) > len(b.members)
}

// mix is a hash of seq in arithmetic that does not overflow 64 bits, so that MySQL can
// compute it: two rounds of a multiplication of the low 32 bits by an odd constant,
// folded (the constants are those of xxHash, Collet 2012). mixed is the same here.
const mix = `((((%[1]s ^ (%[1]s >> 31)) & 4294967295) * 2246822519) ^ (%[1]s >> 32))`
const first = `((seq & 4294967295) ^ (seq >> 32)) * 2654435761`

func mixed(id uint64) uint64 {
	x := (id&0xffffffff ^ id>>32) * 2654435761
	return ((x^x>>31)&0xffffffff)*2246822519 ^ x>>32
}

// digestQuery goes through the primary key once.
const digestQuery = `SELECT client, no, COUNT(*), MIN(seq), MAX(seq), BIT_XOR(%[3]s)
FROM (SELECT client, seq, seq >> %[2]d AS no, CAST(%[4]s AS UNSIGNED) AS x FROM %[1]s) t GROUP BY client, no`

// Digests returns the digest of each chunk.
//
// As with PostgreSQL (docs/adr/0020), HashID is not what the server computes: it XORs
// a hash of its own. If that is the XOR over all ids from min to max, and there are
// as many rows, the chunk is these ids, each once. Of any other the ids are read.
func (s *System) Digests(ctx context.Context, n targets.Node, run string) (all []probes.Digest, err error) {
	err = s.at(ctx, n, func(ctx context.Context, c *conn) error {
		rows, err := c.query(ctx, fmt.Sprintf(digestQuery, table(run), probes.ChunkBits, fmt.Sprintf(mix, "x"), first))
		if err != nil {
			return err
		}
		for _, r := range rows {
			d, server, err := readDigest(r)
			if err != nil {
				return err
			}
			if h, ok := dense(d, server); ok {
				d.Hash = h
			} else if d, err = c.digest(ctx, run, d.Chunk); err != nil {
				return err
			}
			all = append(all, d)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the digests of run %s: %w", run, err)
	}
	slices.SortFunc(all, func(a, b probes.Digest) int {
		if a.Client != b.Client {
			return a.Client - b.Client
		}
		return int(int64(a.No) - int64(b.No))
	})
	return all, nil
}

func readDigest(r []string) (d probes.Digest, server uint64, err error) {
	var n [6]uint64
	if len(r) != len(n) {
		return d, 0, fmt.Errorf("a digest of %d columns", len(r))
	}
	for i := range n {
		if n[i], err = strconv.ParseUint(r[i], 10, 64); err != nil {
			return d, 0, err
		}
	}
	return probes.Digest{Chunk: probes.Chunk{Client: int(n[0]), No: n[1]}, Count: n[2], Min: n[3], Max: n[4]}, n[5], nil
}

// dense returns the XOR of HashID over a chunk that holds each id from min to max
// once; ok is false if it does not.
func dense(d probes.Digest, server uint64) (hash uint64, ok bool) {
	if d.Max-d.Min+1 != d.Count {
		return 0, false
	}
	var want uint64
	for id := d.Min; id <= d.Max; id++ {
		want ^= mixed(id)
		hash ^= probes.HashID(id)
	}
	return hash, want == server
}

// digest computes a chunk's digest from its ids.
func (c *conn) digest(ctx context.Context, run string, k probes.Chunk) (probes.Digest, error) {
	d := probes.Digest{Chunk: k, Min: ^uint64(0)}
	err := c.ids(ctx, run, k, func(id uint64) {
		d.Count++
		d.Min, d.Max = min(d.Min, id), max(d.Max, id)
		d.Hash ^= probes.HashID(id)
	})
	if d.Count == 0 {
		d.Min = 0
	}
	return d, err
}

// IDs streams the sequence numbers of one chunk.
func (s *System) IDs(ctx context.Context, n targets.Node, run string, k probes.Chunk, see func(seq uint64)) error {
	err := s.at(ctx, n, func(ctx context.Context, c *conn) error { return c.ids(ctx, run, k, see) })
	if err != nil {
		return fmt.Errorf("reading the ids of chunk %d of client %d: %w", k.No, k.Client, err)
	}
	return nil
}

func (c *conn) ids(ctx context.Context, run string, k probes.Chunk, see func(seq uint64)) error {
	args := []int64{int64(k.Client), int64(k.No << probes.ChunkBits), int64((k.No + 1) << probes.ChunkBits)}
	return c.stream(ctx, "SELECT seq FROM "+table(run)+" WHERE client = ? AND seq >= ? AND seq < ?", args, func(v []driver.Value) error {
		seq, err := strconv.ParseUint(text(v[0]), 10, 64)
		if err == nil {
			see(seq)
		}
		return err
	})
}
