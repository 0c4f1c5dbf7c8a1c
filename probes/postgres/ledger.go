package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Prepare makes the run's table and its index. Ids are indexed and not
// constrained: a constraint would refuse the duplicates that an audit is to
// find.
func (s *System) Prepare(ctx context.Context, run string) error {
	t, index := s.table(run), quote("dapple_ledger_"+run+"_id")
	if n := len("dapple_ledger_" + run + "_id"); n > 63 {
		return fmt.Errorf("making the ledger's table: the run's name %q makes a name of %d bytes, PostgreSQL takes 63", run, n)
	}
	c, _, err := s.primary(ctx)
	if err != nil {
		return err
	}
	defer bye(ctx, c)
	for _, sql := range []string{
		"create table if not exists " + t + " (client int not null, seq bigint not null, sent_ns bigint not null, node inet, epoch int)",
		"create index if not exists " + index + " on " + t + " (client, seq)",
	} {
		if _, err := c.Exec(ctx, sql); err != nil {
			return fmt.Errorf("making the ledger's table (the user of clients.dsn needs create on the schema; settings.schema chooses another): %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledgers[run] = true
	return nil
}

// Clean drops the run's table.
func (s *System) Clean(ctx context.Context, run string) error {
	c, _, err := s.primary(ctx)
	if err != nil {
		return err
	}
	defer bye(ctx, c)
	if _, err := c.Exec(ctx, "drop table if exists "+s.table(run)); err != nil {
		return fmt.Errorf("dropping the ledger's table: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ledgers, run)
	return nil
}

// again is the pause between two looks where something is waited for.
const pause = 50 * time.Millisecond

// Ready writes w to the present primary until it is acknowledged, and reads it
// back there. A try without a reply is not repeated while its row can be seen:
// then it was committed.
func (s *System) Ready(ctx context.Context, w probes.Write) error {
	for {
		err := s.barrier(ctx, w)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for a primary that takes writes: %w", err)
		case <-time.After(pause):
		}
	}
}

func (s *System) barrier(ctx context.Context, w probes.Write) error {
	p, claim, err := s.findPrimary(ctx)
	if err != nil {
		return err
	}
	x, refused := s.Open(ctx, probes.Where{Node: nodeOf(p)})
	if refused != nil {
		return errors.New(refused.Reply)
	}
	ack := x.Put(ctx, w)
	if err := x.Close(); err != nil {
		return err
	}
	if ack.Class == probes.Failed {
		return fmt.Errorf("the barrier write: %s", ack.Reply)
	}
	c, err := s.reader(ctx, p)
	if err != nil {
		return err
	}
	defer bye(ctx, c)
	var recovering bool
	var n int
	sql := "select pg_is_in_recovery(), count(*) from " + s.table(w.Run) + " where client = $1 and seq = $2"
	if err := c.QueryRow(ctx, sql, int32(w.Client), int64(w.Seq)).Scan(&recovering, &n); err != nil {
		return fmt.Errorf("reading the barrier write back: %w", err)
	}
	if recovering || n == 0 {
		return fmt.Errorf("the barrier write (%s) is not there; the server said of itself: %s", ack.Reply, claim.Detail)
	}
	return nil
}

// IDs streams the sequence numbers of one chunk.
func (s *System) IDs(ctx context.Context, n targets.Node, run string, c probes.Chunk, see func(seq uint64)) error {
	db, err := s.at(ctx, n)
	if err != nil {
		return err
	}
	defer bye(ctx, db)
	if err := s.stream(ctx, db, run, c, see); err != nil {
		return fmt.Errorf("reading the ids of chunk %d of client %d: %w", c.No, c.Client, err)
	}
	return nil
}

// stream reads a chunk in binary and in order, without holding it.
func (s *System) stream(ctx context.Context, db *pgx.Conn, run string, c probes.Chunk, see func(seq uint64)) error {
	sql := "select seq from " + s.table(run) + " where client = $1::int and seq >= $2::bigint and seq < $3::bigint"
	args := [][]byte{
		[]byte(strconv.Itoa(c.Client)),
		[]byte(strconv.FormatUint(c.No<<probes.ChunkBits, 10)),
		[]byte(strconv.FormatUint((c.No+1)<<probes.ChunkBits, 10)),
	}
	r := db.PgConn().ExecParams(ctx, sql, args, nil, nil, []int16{1})
	for r.NextRow() {
		see(binary.BigEndian.Uint64(r.Values()[0]))
	}
	_, err := r.Close()
	return err
}

// at connects to n for reading; nil is the present primary.
func (s *System) at(ctx context.Context, n targets.Node) (*pgx.Conn, error) {
	if n == nil {
		c, _, err := s.primary(ctx)
		return c, err
	}
	return s.reader(ctx, s.place(n))
}

// primary connects to the present primary.
func (s *System) primary(ctx context.Context) (*pgx.Conn, *place, error) {
	p, _, err := s.findPrimary(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.reader(ctx, p)
	return c, p, err
}

// reader connects to p, or if p is nil where the clients' DSN leads.
func (s *System) reader(ctx context.Context, p *place) (*pgx.Conn, error) {
	if p == nil {
		c, err := s.endpoint.ask(ctx)
		if err != nil {
			return nil, fmt.Errorf("connecting to the client endpoint: %s", reason(because(ctx, err)))
		}
		return c, nil
	}
	e, err := s.to(ctx, p, false)
	if err != nil {
		return nil, err
	}
	c, err := e.ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %s", p.node.Name(), reason(because(ctx, s.seen(ctx, p, err))))
	}
	return c, nil
}

// findPrimary asks all nodes at once. Of two that claim it, it is the one on
// the later timeline: the other is on a branch that failover left. Without
// nodes, nil stands for where the clients' DSN leads.
func (s *System) findPrimary(ctx context.Context) (*place, probes.Claim, error) {
	places := s.all()
	if len(places) == 0 {
		return nil, probes.Claim{}, nil
	}
	claims := s.claims(ctx, places)
	best, said := -1, ""
	for i, c := range claims {
		said += fmt.Sprintf("; %s: %s, %s", places[i].node.Name(), c.Role, c.Detail)
		if c.Role == probes.Primary && (best < 0 || later(c.Epoch, claims[best].Epoch)) {
			best = i
		}
	}
	if best < 0 {
		return nil, probes.Claim{}, fmt.Errorf("no node is primary%s", said)
	}
	return places[best], claims[best], nil
}

// look bounds the wait for nodes that do not answer, so that the others' answer
// is not held up. It is far above a round trip and below any failover.
const look = time.Second

// claims asks all places at once.
func (s *System) claims(ctx context.Context, places []*place) []probes.Claim {
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	claims := make([]probes.Claim, len(places))
	each(places, func(i int, p *place) { claims[i] = s.Role(ctx, p.node) })
	return claims
}

// later compares timelines as numbers.
func later(a, b string) bool {
	x, _ := strconv.ParseUint(a, 10, 32) // they came from a server as numbers;
	y, _ := strconv.ParseUint(b, 10, 32) // an empty one is 0
	return x > y
}

func nodeOf(p *place) targets.Node {
	if p == nil {
		return nil
	}
	return p.node
}

// bye ends a connection that was opened for reading.
func bye(ctx context.Context, c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_ = c.Close(ctx) // the server sees the end either way
}
