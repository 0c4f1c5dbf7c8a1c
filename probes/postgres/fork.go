package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// Fork looks whether two nodes that claim to be primary hold two histories, and
// emits timeline.Forked for each that left the latest timeline's.
//
// That its WAL goes on past the point where the later timeline branched off is
// not enough: with synchronous replication the old primary still writes WAL for
// commits that it never acknowledges. The proof is a row of the ledger that
// others can read on the old primary and that the new one does not have. Call
// it while the old primary still runs: once it was rewound, nothing is left.
func (s *System) Fork(ctx context.Context, emit timeline.Emit) error {
	places := s.all()
	lo := time.Now()
	claims := s.claims(ctx, places)
	best := latest(claims)
	for i, c := range claims {
		if i == best || c.Role != probes.Primary {
			continue
		}
		f := fork{s: s, old: places[i], young: places[best], from: c.Epoch, to: claims[best].Epoch}
		row, err := f.row(ctx)
		if err != nil {
			return fmt.Errorf("comparing the histories of %s and %s: %w", f.old.node.Name(), f.young.node.Name(), err)
		}
		if row == "" {
			continue
		}
		emit(lo, time.Now(), timeline.Event{
			Kind: timeline.Forked, Node: f.old.node.Name(), By: "fork/" + f.old.node.Name(), Epoch: f.from,
			Value:    fmt.Sprintf("timeline %s of %s is no ancestor of timeline %s of %s", f.from, f.old.node.Name(), f.to, f.young.node.Name()),
			Evidence: row + f.positions(ctx),
		})
	}
	return nil
}

// A fork is two primaries.
type fork struct {
	s          *System
	old, young *place
	from, to   string // their timelines
}

// row finds a row of the ledger that old has and young has not.
func (f *fork) row(ctx context.Context) (string, error) {
	f.s.mu.Lock()
	runs := make([]string, 0, len(f.s.ledgers))
	for run := range f.s.ledgers {
		runs = append(runs, run)
	}
	f.s.mu.Unlock()
	if len(runs) == 0 {
		return "", nil
	}
	a, err := f.s.reader(ctx, f.old)
	if err != nil {
		return "", err
	}
	defer bye(ctx, a)
	b, err := f.s.reader(ctx, f.young)
	if err != nil {
		return "", err
	}
	defer bye(ctx, b)
	for _, run := range runs {
		if row, err := f.lacking(ctx, run, a, b); row != "" || err != nil {
			return row, err
		}
	}
	return "", nil
}

// lastRows is the highest id of each client, by jumps through the index.
const lastRows = `with recursive k(client, seq) as (
	(select client, seq from %[1]s order by client desc, seq desc limit 1)
	union all
	select n.client, n.seq from k, lateral (
		select client, seq from %[1]s where client < k.client order by client desc, seq desc limit 1) n
) select client, seq from k`

func (f *fork) lacking(ctx context.Context, run string, a, b *pgx.Conn) (string, error) {
	t := f.s.table(run)
	rows, err := a.Query(ctx, fmt.Sprintf(lastRows, t))
	if err != nil {
		return "", err
	}
	type id struct {
		Client int32
		Seq    int64
	}
	ids, err := pgx.CollectRows(rows, pgx.RowToStructByPos[id])
	if err != nil {
		return "", err
	}
	for _, i := range ids {
		var there bool
		if err := b.QueryRow(ctx, "select exists(select from "+t+" where client = $1 and seq = $2)", i.Client, i.Seq).Scan(&there); err != nil {
			return "", err
		}
		if !there {
			return fmt.Sprintf("write %d/%d can be read on %s and not on %s", i.Client, i.Seq, f.old.node.Name(), f.young.node.Name()), nil
		}
	}
	return "", nil
}

// positions adds what the WAL says, where we may read it: the history file needs
// the right to read server files.
func (f *fork) positions(ctx context.Context) string {
	pos, err := f.s.position(ctx, f.old)
	if err != nil {
		return ""
	}
	said := fmt.Sprintf("; %s writes timeline %s at %s", f.old.node.Name(), f.from, lsn(pos.lsn))
	to, err := strconv.ParseUint(f.to, 10, 32)
	if err != nil {
		return said
	}
	q := &statement{name: "dapple_history_" + f.to, sql: fmt.Sprintf("select pg_read_file('pg_wal/%08X.history')", to)}
	rows, err := f.s.ask(ctx, f.young, q)
	if err != nil || len(rows) != 1 {
		return said
	}
	if at := branch(rows[0][0], f.from); at != "" {
		said += fmt.Sprintf("; timeline %s branched off it at %s", f.to, at)
	}
	return said
}

// branch finds in a history file (lines of timeline, LSN, reason) where the
// history left timeline from.
func branch(history, from string) string {
	for line := range strings.Lines(history) {
		if w := strings.Fields(line); len(w) >= 2 && w[0] == from {
			return w[1]
		}
	}
	return ""
}

// lsn writes a WAL position as PostgreSQL does.
func lsn(n int64) string { return fmt.Sprintf("%X/%X", n>>32, n&0xffffffff) }
