package schedule

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// State is what became of a firing.
type State string

// The states. A firing is decided once, as Queued, Held or Missed. Only from Queued
// does it become Begun, and that once: whoever made it so does the drill. It never
// goes back.
const (
	Queued  State = "queued"  // its drill is to be done
	Held    State = "held"    // due when no drill may begin
	Missed  State = "missed"  // due while no scheduler ran, and not made up for
	Late    State = "late"    // its turn came too late
	Begun   State = "begun"   // its drill is being done
	Done    State = "done"    // there is a record
	Refused State = "refused" // preflight or a guardrail refused: nothing was touched
	Failed  State = "failed"  // dapple could not do its work
	Lost    State = "lost"    // the scheduler died meanwhile: reverted, never done again
)

// A Decided firing is one that is in the database.
type Decided struct {
	Schedule  string    `json:"schedule"`
	Local     string    `json:"local"` // of the wall clock; see Firing
	At        time.Time `json:"at"`
	State     State     `json:"state"`
	Why       string    `json:"why,omitempty"`
	Run       string    `json:"run,omitempty"`       // of its record
	Scheduler string    `json:"scheduler,omitempty"` // who does or did the drill
}

// decide writes down what becomes of a firing, unless that was decided before, by
// whomever; then has the rest done in the same transaction. won says that it was us.
func (s *Store) decide(ctx context.Context, d Decided, then func(tx *sql.Tx) error) (won bool, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return false, told(fmt.Errorf("decide %s of %s: %w", d.Local, d.Schedule, err))
	}
	defer func() {
		if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
			err = errors.Join(err, rerr)
		}
	}()
	res, err := tx.ExecContext(ctx, `INSERT INTO dapple_firings (schedule, local, at_ms, state, why, scheduler, changed_ms)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (schedule, local) DO NOTHING`,
		d.Schedule, d.Local, d.At.UnixMilli(), string(d.State), d.Why, d.Scheduler, time.Now().UnixMilli())
	if err == nil {
		won, err = changed(res)
	}
	if err == nil && won && then != nil {
		err = then(tx)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return false, told(fmt.Errorf("decide %s of %s: %w", d.Local, d.Schedule, err))
	}
	return won, nil
}

// change takes a firing from one state to that of d, unless it is in another by
// now.
func (s *Store) change(ctx context.Context, from State, d Decided) (won bool, err error) {
	res, err := s.db.ExecContext(ctx, `UPDATE dapple_firings SET state = $1, why = $2, run = $3, scheduler = $4, changed_ms = $5
		WHERE schedule = $6 AND local = $7 AND state = $8`,
		string(d.State), d.Why, d.Run, d.Scheduler, time.Now().UnixMilli(), d.Schedule, d.Local, string(from))
	if err == nil {
		won, err = changed(res)
	}
	if err != nil {
		return false, told(fmt.Errorf("write down that %s of %s is %s: %w", d.Local, d.Schedule, d.State, err))
	}
	return won, nil
}

func changed(res sql.Result) (bool, error) {
	n, err := res.RowsAffected()
	return n == 1, err
}

// Decided lists the firings that were decided last, newest first, n at most; of one
// schedule, if it is named.
func (s *Store) Decided(ctx context.Context, schedule string, n int) ([]Decided, error) {
	return s.query(ctx, `WHERE ($1 = '' OR schedule = $2) ORDER BY at_ms DESC, schedule LIMIT $3`, schedule, schedule, n)
}

func (s *Store) query(ctx context.Context, where string, args ...any) (list []Decided, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT schedule, local, at_ms, state, why, run, scheduler FROM dapple_firings `+where, args...)
	if err != nil {
		return nil, told(fmt.Errorf("read the firings: %w", err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var d Decided
		var at int64
		if err := rows.Scan(&d.Schedule, &d.Local, &at, &d.State, &d.Why, &d.Run, &d.Scheduler); err != nil {
			return nil, fmt.Errorf("read the firings: %w", err)
		}
		d.At = time.UnixMilli(at)
		list = append(list, d)
	}
	return list, rows.Err()
}

// firstSeen notes schedules that are new at now, and says since when each is known.
func (s *Store) firstSeen(ctx context.Context, names []string, now time.Time) (since map[string]time.Time, err error) {
	fail := func(err error) (map[string]time.Time, error) {
		return nil, told(fmt.Errorf("read since when the schedules are known: %w", err))
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fail(err)
	}
	for _, name := range names {
		if _, err := tx.ExecContext(ctx, `INSERT INTO dapple_schedules (name, first_ms) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, now.UnixMilli()); err != nil {
			return fail(errors.Join(err, tx.Rollback()))
		}
	}
	if err := tx.Commit(); err != nil {
		return fail(err)
	}
	rows, err := s.db.QueryContext(ctx, `SELECT name, first_ms FROM dapple_schedules`)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	since = map[string]time.Time{}
	for rows.Next() {
		var name string
		var first int64
		if err := rows.Scan(&name, &first); err != nil {
			return fail(err)
		}
		since[name] = time.UnixMilli(first)
	}
	return since, rows.Err()
}

// lastAlive is when any scheduler was last heard of; ok is false if none ever was.
func (s *Store) lastAlive(ctx context.Context) (t time.Time, ok bool, err error) {
	var ms sql.NullInt64
	if err := s.db.QueryRowContext(ctx, `SELECT MAX(seen_ms) FROM dapple_schedulers`).Scan(&ms); err != nil {
		return t, false, told(fmt.Errorf("read when a scheduler last ran: %w", err))
	}
	return time.UnixMilli(ms.Int64), ms.Valid, nil
}

// alive notes that the scheduler runs at now.
func (s *Store) alive(ctx context.Context, id string, now time.Time) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO dapple_schedulers (id, seen_ms) VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET seen_ms = excluded.seen_ms`, id, now.UnixMilli())
	if err != nil {
		return told(fmt.Errorf("note that the scheduler runs: %w", err))
	}
	return nil
}

// open counts the drills that are to be done or being done.
func (s *Store) open(ctx context.Context) (n int, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM dapple_firings WHERE state IN ($1, $2)`, string(Queued), string(Begun)).Scan(&n)
	if err != nil {
		return 0, told(fmt.Errorf("count the drills that are to be done: %w", err))
	}
	return n, nil
}

// begunBy lists the drills that a scheduler has begun and not ended.
func (s *Store) begunBy(ctx context.Context, id string) ([]Decided, error) {
	return s.query(ctx, `WHERE state = $1 AND scheduler = $2 ORDER BY at_ms`, string(Begun), id)
}

// begunBySilent lists those of schedulers that have not been heard of since then.
func (s *Store) begunBySilent(ctx context.Context, since time.Time) ([]Decided, error) {
	return s.query(ctx, `WHERE state = $1 AND scheduler NOT IN (SELECT id FROM dapple_schedulers WHERE seen_ms >= $2) ORDER BY at_ms`,
		string(Begun), since.UnixMilli())
}
