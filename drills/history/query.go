package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/verdict"
)

// A Query says which runs are asked for; what is zero excludes none.
type Query struct {
	Run         string // an id, or the beginning of one
	System      string
	Scenario    string // the drill's name
	Environment string
	Verdict     verdict.Verdict
	Since       time.Time // started at or after
	Until       time.Time // started before
	Limit       int
}

func (q Query) where() (clause string, args []any) {
	var and []string
	is := func(what string, value any) {
		and, args = append(and, what), append(args, value)
	}
	for column, value := range map[string]string{"system": q.System, "scenario": q.Scenario, "environment": q.Environment, "verdict": string(q.Verdict)} {
		if value != "" {
			is(column+" = ?", value)
		}
	}
	if q.Run != "" {
		is("substr(run, 1, ?) = ?", len(q.Run))
		args = append(args, q.Run)
	}
	if !q.Since.IsZero() {
		is("started >= ?", q.Since.UnixMilli())
	}
	if !q.Until.IsZero() {
		is("started < ?", q.Until.UnixMilli())
	}
	if len(and) > 0 {
		clause = " WHERE " + strings.Join(and, " AND ")
	}
	return clause, args
}

// Runs returns the runs that are in the chain and are asked for, newest first.
func (x *Index) Runs(ctx context.Context, q Query) (out []Run, err error) {
	where, args := q.where()
	limit := ""
	if q.Limit > 0 {
		limit = fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	rows, err := x.db.QueryContext(ctx, x.q(`SELECT run, origin, link_n, link_hash, link_prev, how, added, dir, sha256, prev_sha256,
		system, kind, environment, scenario, started, finished, verdict, operator, trials, digest
		FROM runs`+where+` ORDER BY started DESC, run DESC`+limit), args...)
	if err != nil {
		return nil, asDatabaseError(x.name(), err)
	}
	defer func() { err = asDatabaseError(x.name(), errors.Join(err, rows.Close())) }()
	for rows.Next() {
		var r Run
		var added, started, finished int64
		var digest []byte
		if err := rows.Scan(&r.Run, &r.Origin, &r.Link.N, &r.Link.Hash, &r.Link.Prev, &r.Link.How, &added, &r.Dir, &r.SHA256, &r.Prev,
			&r.System, &r.Kind, &r.Environment, &r.Scenario, &started, &finished, &r.Verdict, &r.Operator, &r.Trials, &digest); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(digest, &r.Digest); err != nil {
			return nil, fmt.Errorf("%w: the digest of run %s: %w", ErrCorrupt, r.Run, err)
		}
		if r.Origin == x.origin {
			r.Dir = filepath.Join(x.home, filepath.FromSlash(r.Dir))
		} else {
			r.Dir = ""
		}
		r.Link.Added, r.Started, r.Finished = fromUnixMS(added), fromUnixMS(started), fromUnixMS(finished)
		out = append(out, r)
	}
	return out, rows.Err()
}

// Proven returns those of Runs whose record is what it was when it was kept, as far
// as this machine has it. Of records that were changed, or are gone, why says so.
func (x *Index) Proven(ctx context.Context, q Query) (out []Run, why []error, err error) {
	runs, err := x.Runs(ctx, q)
	for _, r := range runs {
		if bad := Unchanged(r.Dir, r.SHA256); bad != nil {
			why = append(why, fmt.Errorf("run %s does not count: %w", r.Run, bad))
		} else if r.Link.N > 0 {
			out = append(out, r)
		}
	}
	return out, why, err
}

// Readings returns what the trials of the runs measured, by run, in the order of
// metrics and trials.
func (x *Index) Readings(ctx context.Context, q Query) (out map[string][]Reading, err error) {
	where, args := q.where()
	where = strings.NewReplacer("substr(run,", "substr(runs.run,").Replace(where)
	rows, err := x.db.QueryContext(ctx, x.q(`SELECT readings.run, metric, trial, lo_ms, hi_ms, censored
		FROM readings JOIN runs ON runs.run = readings.run`+where+` ORDER BY readings.run, metric, trial`), args...)
	if err != nil {
		return nil, asDatabaseError(x.name(), err)
	}
	defer func() { err = asDatabaseError(x.name(), errors.Join(err, rows.Close())) }()
	out = map[string][]Reading{}
	for rows.Next() {
		var run string
		var m Reading
		var censored int
		if err := rows.Scan(&run, &m.Metric, &m.Trial, &m.Lo, &m.Hi, &censored); err != nil {
			return nil, err
		}
		m.Censored = censored != 0
		out[run] = append(out[run], m)
	}
	return out, rows.Err()
}
