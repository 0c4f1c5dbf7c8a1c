package history

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dapple-drills/dapple/drills"
)

// ErrUnfinished is wrapped by Add: the drill never came to its end, so its record
// proves nothing and may still change.
var ErrUnfinished = errors.New("the drill never came to its end")

// Keep adds the run directories to the chain of home, and nothing else: what a
// drill does at its end, and what needs no database. They must be below the home's
// runs, whole and finished. Runs that are in the chain already are passed over. how
// is ByDrill or ByHand, by is who says so.
func Keep(ctx context.Context, home, how, by string, dirs ...string) ([]Link, error) {
	var add []Link
	for _, dir := range dirs {
		link, err := linkOf(home, dir)
		if err != nil {
			return nil, err
		}
		link.How, link.By, link.Added = how, by, time.Now().UTC()
		add = append(add, link)
	}
	_, added, err := ChainFile(home).append(ctx, add)
	return added, err
}

func linkOf(home, dir string) (k Link, err error) {
	rel, err := filepath.Rel(home, dir)
	if err != nil || !filepath.IsLocal(rel) || filepath.Dir(rel) != "runs" {
		return k, fmt.Errorf("add %s to the history: it is not in %s, where the runs of the history are", dir, filepath.Join(home, "runs"))
	}
	rec, err := drills.ReadRecord(dir)
	if err != nil {
		return k, fmt.Errorf("add to the history: %w", err)
	}
	if rec.Finished.IsZero() {
		return k, fmt.Errorf("add %s to the history: %w", dir, ErrUnfinished)
	}
	k.Run, k.Dir = rec.Run, filepath.ToSlash(rel)
	k.Files, err = evidence(dir)
	return k, err
}

// Add keeps the run directories (see Keep) and brings the database up to the
// chain. If only the latter fails, the error is a *DatabaseError, and what was
// added is in the chain: nothing is lost.
func (x *Index) Add(ctx context.Context, how, by string, dirs ...string) ([]Link, error) {
	added, err := Keep(ctx, x.home, how, by, dirs...)
	if err != nil {
		return added, err
	}
	return added, x.sync(ctx)
}

// sync brings the database up to the chain. A chain that is not there yet is
// begun with the runs that are.
func (x *Index) sync(ctx context.Context) error {
	chain := ChainFile(x.home)
	ls, err := chain.lines()
	if err != nil {
		return err
	}
	if len(ls) == 0 {
		if known, err := x.any(ctx); err != nil || known {
			return err // the chain was there and is gone: Witness tells
		}
		if ls, err = x.adopt(ctx); err != nil || len(ls) == 0 {
			return err
		}
	}
	head, err := readHead(ls[0])
	if err != nil {
		return fmt.Errorf("read the chain %s: %w", chain.path, err)
	}
	x.origin = head.Origin
	have, err := x.last(ctx, head.Origin)
	if err != nil || have >= len(ls)-1 {
		return err
	}
	return x.in(ctx, func(tx *sql.Tx) error {
		for _, l := range ls[have+1:] {
			link, err := readLink(l)
			if err != nil {
				continue // told by Verify; there is nothing to be shown of it
			}
			if err := x.put(ctx, tx, head.Origin, link); err != nil {
				return err
			}
		}
		return nil
	})
}

// any says whether a database of this home alone knows any run.
func (x *Index) any(ctx context.Context) (known bool, err error) {
	if x.postgres {
		return false, nil
	}
	err = x.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM runs)`).Scan(&known)
	return known, asDatabaseError(x.name(), err)
}

// adopt begins the chain with the finished runs that are there, oldest first: they
// were made before dapple kept a chain, or the chain was lost.
func (x *Index) adopt(ctx context.Context) ([]line, error) {
	entries, _, err := List(x.runs())
	if err != nil {
		return nil, err
	}
	var add []Link
	for i := len(entries) - 1; i >= 0; i-- {
		link, err := linkOf(x.home, entries[i].Dir)
		if errors.Is(err, ErrUnfinished) {
			continue
		}
		if err != nil {
			return nil, err
		}
		link.How, link.Added = ByAdding, time.Now().UTC()
		add = append(add, link)
	}
	if len(add) == 0 {
		return nil, nil
	}
	if _, _, err := ChainFile(x.home).append(ctx, add); err != nil {
		return nil, err
	}
	return ChainFile(x.home).lines()
}

// last is the number of the last link of the origin that the database has.
func (x *Index) last(ctx context.Context, origin string) (n int, err error) {
	err = x.db.QueryRowContext(ctx, x.q(`SELECT COALESCE(MAX(link_n), 0) FROM runs WHERE origin = ?`), origin).Scan(&n)
	return n, asDatabaseError(x.name(), err)
}

// put writes the row of a link. A record that cannot be read, or is not that of
// the link any more, has a row that says no more than the link: it proves nothing.
func (x *Index) put(ctx context.Context, tx *sql.Tx, origin string, link Link) error {
	dir := filepath.Join(x.home, filepath.FromSlash(link.Dir))
	r, rs := Run{Run: link.Run, Dir: dir}, []Reading(nil)
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err == nil && sum(data) == link.Record {
		var rec drills.Record
		if json.NewDecoder(bytes.NewReader(data)).Decode(&rec) == nil && rec.Schema == drills.Schema {
			r, rs = fromRecord(dir, &rec), readings(&rec)
		}
	}
	r.Origin, r.SHA256 = origin, link.Record
	r.Link = Linked{link.N, link.Hash, link.Prev, link.How, link.Added}
	return x.insert(ctx, tx, &r, link.Dir, rs)
}

// insert writes a run, whose directory is rel below its home.
func (x *Index) insert(ctx context.Context, tx *sql.Tx, r *Run, rel string, rs []Reading) error {
	digest, err := json.Marshal(r.Digest)
	if err != nil {
		return err
	}
	for _, table := range []string{"readings", "runs"} {
		if _, err := tx.ExecContext(ctx, x.q(`DELETE FROM `+table+` WHERE run = ?`), r.Run); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, x.q(`INSERT INTO runs (run, origin, link_n, link_hash, link_prev, how, added, dir, sha256, prev_sha256,
		system, kind, environment, scenario, started, finished, verdict, operator, trials, digest)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`),
		r.Run, r.Origin, r.Link.N, r.Link.Hash, r.Link.Prev, r.Link.How, unixMS(r.Link.Added), rel, r.SHA256, r.Prev,
		r.System, r.Kind, r.Environment, r.Scenario, unixMS(r.Started), unixMS(r.Finished), string(r.Verdict), r.Operator, r.Trials, string(digest))
	if err != nil {
		return err
	}
	for _, m := range rs {
		censored := 0
		if m.Censored {
			censored = 1
		}
		if _, err := tx.ExecContext(ctx, x.q(`INSERT INTO readings (run, metric, trial, lo_ms, hi_ms, censored) VALUES (?, ?, ?, ?, ?, ?)`),
			r.Run, m.Metric, m.Trial, m.Lo, m.Hi, censored); err != nil {
			return err
		}
	}
	return nil
}

// Times are milliseconds since 1970; 0 is none.
func unixMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromUnixMS(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
