package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// historyQuery needs pg_monitor. The clock is read in the same round trip, so
// that the file's time can be carried over to ours.
var historyQuery = &statement{name: "dapple_histories", sql: `select name, extract(epoch from modification)::bigint,
	(extract(epoch from clock_timestamp()) * 1000000)::bigint from pg_ls_waldir() where name like '%.history'`}

// Promotions dates the present primary's promotion by the history file of its
// timeline, which the server writes while it ends recovery (xlog.c,
// StartupXLOG), and emits timeline.Promoted if that may be after since.
//
// The file's time is of the server's clock in whole seconds. Where that clock is
// against ours is known to the width of the round trip that read both; so the
// interval is that width and a second wide.
func (s *System) Promotions(ctx context.Context, since time.Time, emit timeline.Emit) error {
	places := s.all()
	for i, c := range s.claims(ctx, places) {
		if c.Role != probes.Primary || c.Epoch == "1" { // the first timeline has no history
			continue
		}
		w, err := s.written(ctx, places[i], c.Epoch)
		if err != nil {
			return fmt.Errorf("dating the promotion of %s (needs the role pg_monitor): %w", places[i].node.Name(), err)
		}
		if w == nil || w.hi.Before(since) {
			continue
		}
		name := places[i].node.Name()
		emit(w.lo, w.hi, timeline.Event{
			Kind: timeline.Promoted, Node: name, By: "history/" + name, Epoch: c.Epoch,
			Value: "timeline " + c.Epoch, Evidence: w.proof,
		})
	}
	return nil
}

// A writing is when a file was written, on our clock.
type writing struct {
	lo, hi time.Time
	proof  string
}

// written dates the history file of a timeline; nil if p has none.
func (s *System) written(ctx context.Context, p *place, epoch string) (*writing, error) {
	n, err := strconv.ParseUint(epoch, 10, 32)
	if err != nil {
		return nil, err
	}
	before := time.Now()
	rows, err := s.ask(ctx, p, historyQuery)
	after := time.Now()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%08X.history", n)
	for _, r := range rows {
		if r[0] != name {
			continue
		}
		w := &writing{proof: fmt.Sprintf("pg_wal/%s was written at second %s of the server's clock", name, r[1])}
		w.lo, w.hi, err = carry(r[1], r[2], before, after)
		return w, err
	}
	return nil, nil
}

// carry turns a file's second of the server's clock into an interval of ours:
// the server read its clock (in µs) somewhere between before and after.
func carry(second, clock string, before, after time.Time) (lo, hi time.Time, err error) {
	s, err := strconv.ParseInt(second, 10, 64)
	if err != nil {
		return lo, hi, err
	}
	c, err := strconv.ParseInt(clock, 10, 64)
	if err != nil {
		return lo, hi, err
	}
	ago := time.Duration(c-s*1e6) * time.Microsecond // from the file's whole second to the reading
	return before.Add(-ago), after.Add(-ago + time.Second), nil
}
