package mysql

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// catchUp is how long a member may take to apply what the primary had when the look
// began, and still count as following.
const catchUp = 250 * time.Millisecond

// Members tells how each node takes part.
//
// A member is following if it is ONLINE by its own word, in the primary's view, and
// has applied, within catchUp, everything that the primary had just before it was
// asked. Its Lag is the transactions that it still lacked at the last look. Every
// member of the majority is waited for by commits, which of them is not told; so none
// is Sync.
func (s *System) Members(ctx context.Context) ([]probes.Member, error) {
	looks := s.looks(ctx)
	lead := s.leading(looks)
	had, err := s.executed(ctx, lead)
	all := make([]probes.Member, len(s.places))
	s.each(func(i int, p *place) {
		l := looks[i]
		m := probes.Member{Node: p.node.Name(), State: "absent", Said: l.words()}
		switch {
		case l.err != nil:
		case i == lead:
			m.State, m.Epoch = "primary", s.reigns.of(l.self, l.number)
		case lead < 0 || err != nil || l.me().state != online || l.number != looks[lead].number:
			m.State = "lagging"
		default:
			m.Epoch = s.reigns.of(looks[lead].self, looks[lead].number)
			s.follow(ctx, p, had, &m)
		}
		all[i] = m
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

// executed are the transactions that the node has.
func (s *System) executed(ctx context.Context, i int) (gtids string, err error) {
	if i < 0 {
		return "", nil
	}
	p := s.places[i]
	err = p.line.ask(ctx, func(ctx context.Context) (*conn, error) { return s.reach(ctx, p) }, func(ctx context.Context, c *conn) error {
		rows, err := c.query(ctx, "SELECT @@global.gtid_executed")
		if err == nil && len(rows) == 1 {
			gtids = strings.Join(strings.Fields(rows[0][0]), "")
		}
		return err
	})
	return gtids, err
}

// follow fills in how p follows a primary that had these transactions.
func (s *System) follow(ctx context.Context, p *place, had string, m *probes.Member) {
	m.State = "lagging"
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	tick := time.NewTicker(catchUp / 10)
	defer tick.Stop()
	for {
		lacks, err := s.lacks(ctx, p, had)
		switch {
		case err != nil:
			m.Said = said(because(ctx, err))
			return
		case lacks == 0:
			m.State, m.Lag = "following", 0
			return
		}
		m.Lag = lacks
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lacks counts the transactions that p has not.
func (s *System) lacks(ctx context.Context, p *place, had string) (n int64, err error) {
	if !plainGTIDs(had) {
		return 0, fmt.Errorf("the primary's gtid_executed is %q", had)
	}
	err = p.line.ask(ctx, func(ctx context.Context) (*conn, error) { return s.reach(ctx, p) }, func(ctx context.Context, c *conn) error {
		rows, err := c.query(ctx, "SELECT GTID_SUBTRACT('"+had+"', @@global.gtid_executed)")
		if err == nil && len(rows) == 1 {
			n, err = countGTIDs(rows[0][0])
		}
		return err
	})
	return n, err
}

// plainGTIDs says whether a text that a server gave as a set of GTIDs has nothing in
// it that ends a string of SQL.
func plainGTIDs(set string) bool { return !strings.ContainsAny(set, `'\`) }

// countGTIDs counts the transactions of a set: UUID[:TAG]:1-5:7,UUID:3 has seven.
func countGTIDs(set string) (n int64, err error) {
	for source := range strings.SplitSeq(set, ",") {
		for i, part := range strings.Split(strings.TrimSpace(source), ":") {
			if i == 0 || part == "" || part[0] < '0' || part[0] > '9' { // the uuid, or a tag
				continue
			}
			lo, hi, ranged := strings.Cut(part, "-")
			if !ranged {
				hi = lo
			}
			a, err1 := strconv.ParseInt(lo, 10, 64)
			b, err2 := strconv.ParseInt(hi, 10, 64)
			if err1 != nil || err2 != nil || b < a {
				return 0, fmt.Errorf("%q is no set of GTIDs", set)
			}
			n += b - a + 1
		}
	}
	return n, nil
}
