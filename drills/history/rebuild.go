package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Rebuild makes the index of home again from its run directories and its chain.
// What a PostgreSQL of several machines knows of the others stays. A database file
// that cannot be used is moved aside, and aside is where to.
func Rebuild(ctx context.Context, home, dsn string) (n int, aside string, err error) {
	x, err := open(ctx, home, dsn)
	if dsn == "" && (errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer)) {
		if aside, err = setAside(home); err != nil {
			return 0, "", err
		}
		x, err = open(ctx, home, dsn)
	}
	if err != nil {
		return 0, aside, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	n, err = x.rebuild(ctx)
	if dsn != "" || !errors.Is(err, ErrCorrupt) {
		return n, aside, err
	}
	// Its first pages were whole, and others are not.
	if err := x.db.Close(); err != nil {
		return 0, aside, err
	}
	if aside, err = setAside(home); err != nil {
		return 0, "", err
	}
	if x, err = open(ctx, home, dsn); err != nil {
		return 0, aside, err
	}
	n, err = x.rebuild(ctx)
	return n, aside, err
}

func (x *Index) rebuild(ctx context.Context) (n int, err error) {
	head, _, _, err := ChainFile(x.home).Read()
	if err != nil {
		return 0, err
	}
	where, args := "", []any{}
	if x.postgres {
		where, args = ` WHERE origin = ?`, []any{head.Origin}
	}
	err = x.in(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, x.q(`DELETE FROM readings WHERE run IN (SELECT run FROM runs`+where+`)`), args...); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, x.q(`DELETE FROM runs`+where), args...)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := x.sync(ctx); err != nil {
		return 0, err
	}
	if head, _, _, err = ChainFile(x.home).Read(); err != nil {
		return 0, err
	}
	return x.last(ctx, head.Origin)
}

// setAside moves the database file away: what is in it may be wanted by somebody.
func setAside(home string) (to string, err error) {
	path := DatabaseFile(home)
	to = path + ".aside-" + time.Now().UTC().Format("20060102T150405.000")
	if err := os.Rename(path, to); err != nil {
		return "", fmt.Errorf("move the database of the history aside: %w", err)
	}
	for _, ext := range []string{"-wal", "-shm"} { // of the file that is gone: SQLite would mix them into the new one
		if err := os.Rename(path+ext, to+ext); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("move the database of the history aside: %w", err)
		}
	}
	return to, nil
}
