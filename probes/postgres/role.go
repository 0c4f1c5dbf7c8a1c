package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// roleQuery asks a server what it is and on which timeline. A standby's is that
// of its WAL receiver; without one, that of its last restartpoint.
var roleQuery = &statement{name: "dapple_role", sql: `select pg_is_in_recovery(),
	case when pg_is_in_recovery()
		then coalesce((select received_tli from pg_stat_wal_receiver), (select timeline_id from pg_control_checkpoint()))
		else ` + timelineNow + ` end`}

// Role asks the server of n over a connection that stays open from one call to
// the next: one round trip. Whoever claims to be primary may still be unable to
// commit; that is for writes to show.
//
// A server that takes no connections yet or any more (57P03) is None. One that
// refuses us for another reason (53300 too many connections, a wrong password)
// has not answered, and is Silent with that reason.
func (s *System) Role(ctx context.Context, n targets.Node) probes.Claim {
	rows, err := s.ask(ctx, s.place(n), roleQuery)
	switch {
	case err != nil:
		if code, _ := answered(err); code == "57P03" {
			return probes.Claim{Role: probes.None, Detail: reason(err)}
		}
		return probes.Claim{Role: probes.Silent, Detail: reason(err)}
	case len(rows) != 1 || len(rows[0]) != 2:
		return probes.Claim{Role: probes.Silent, Detail: fmt.Sprintf("a reply of %d rows", len(rows))}
	}
	recovering, timeline := rows[0][0], rows[0][1]
	claim := probes.Claim{Role: probes.Primary, Epoch: timeline, Detail: "pg_is_in_recovery " + recovering + ", timeline " + timeline}
	if recovering == "t" {
		claim.Role = probes.Replica
	}
	return claim
}

// ask runs a query that reads on the place's persistent connection, from inside
// the node where that can be. A connection that turns out to be dead is made
// anew once: the question changes nothing, so asking it twice is harmless.
func (s *System) ask(ctx context.Context, p *place, q *statement) ([][]string, error) {
	select {
	case p.sem <- struct{}{}:
		defer func() { <-p.sem }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	kept := p.line != nil
	rows, err := s.askOnce(ctx, p, q)
	if err != nil && kept && p.line == nil && ctx.Err() == nil {
		rows, err = s.askOnce(ctx, p, q)
	}
	return rows, err
}

func (s *System) askOnce(ctx context.Context, p *place, q *statement) (rows [][]string, err error) {
	if p.line == nil {
		if p.line, err = s.dial(ctx, p); err != nil {
			p.line = nil
			return nil, because(ctx, err)
		}
	}
	own := *q // bind is written to
	o := p.line.exec(ctx, &own, func(v [][]byte) { rows = append(rows, texts(v)) })
	if p.line.gone {
		p.line = nil
	}
	return rows, o.failure()
}

// failure is why a question has no answer, or nil.
func (o *outcome) failure() error {
	if o.code != "" {
		return &refusal{o.code, o.text}
	}
	return o.err
}

// dial prefers the inside of the node, and remembers if that is not to be had.
func (s *System) dial(ctx context.Context, p *place) (*conn, error) {
	if p.fromInside() {
		e, err := s.to(ctx, p, true)
		if err != nil {
			return nil, err
		}
		c, err := e.open(ctx)
		if err == nil || !errors.Is(err, targets.ErrUnsupported) {
			return c, s.seen(ctx, p, err)
		}
		p.fromOutside()
	}
	e, err := s.to(ctx, p, false)
	if err != nil {
		return nil, err
	}
	c, err := e.open(ctx)
	return c, s.seen(ctx, p, err)
}

// seen has the addresses of p looked up again if nobody was there.
func (s *System) seen(ctx context.Context, p *place, err error) error {
	if _, there := answered(err); err != nil && !there {
		s.moved(ctx, p)
	}
	return err
}

func texts(v [][]byte) []string {
	row := make([]string, len(v))
	for i, b := range v {
		row[i] = string(b)
	}
	return row
}

// hangUp ends the persistent connection; a question under way ends first.
func (p *place) hangUp() {
	p.sem <- struct{}{}
	defer func() { <-p.sem }()
	if p.line != nil {
		p.line.close()
		p.line = nil
	}
}

// A refusal is a server's error reply to a question.
type refusal struct{ code, text string }

func (r *refusal) Error() string { return r.code + " " + strings.TrimSpace(r.text) }
