package history

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/durable"
)

// busy is how long another process may keep us from the database or the chain.
// Tests wait less.
var busy = 5 * time.Second

//go:embed migrations/*.sql
var migrations embed.FS

// An Index is the database of the history of a home: of its run directories and
// its chain, from which it can be made again. It is safe for concurrent use, and
// by several processes.
type Index struct {
	home     string
	origin   string // of the chain of home; "" while there is none
	db       *sql.DB
	postgres bool
	memory   bool // of this process alone, since the database cannot be used
}

// DatabaseFile is the database of a home, where no other is named.
func DatabaseFile(home string) string { return filepath.Join(home, "history.db") }

// Open opens the index of home, and makes it if there is none. The database is
// DatabaseFile(home), or the PostgreSQL of dsn, which several machines may share.
// What the run directories and the chain have and the database has not is added.
//
// The error is a *DatabaseError if the database cannot be used: what it would
// tell is still in the run directories, see OpenAnyway.
func Open(ctx context.Context, home, dsn string) (*Index, error) {
	x, err := open(ctx, home, dsn)
	if err != nil {
		return nil, err
	}
	if err := x.sync(ctx); err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// OpenAnyway is Open for who only asks. If the database cannot be used, the index
// is made in memory, from the run directories and the chain, and why says what is
// wrong with it; nothing that is added then stays in the database. If the chain
// itself cannot be read, the index is empty, since no record is known to be what it
// was; List still shows what is there.
func OpenAnyway(ctx context.Context, home, dsn string) (x *Index, why, err error) {
	x, why = Open(ctx, home, dsn)
	if why == nil {
		return x, nil, nil
	}
	if x, err = openMemory(ctx, home); err != nil {
		return nil, why, err
	}
	var database *DatabaseError
	if serr := x.sync(ctx); serr != nil && errors.As(why, &database) {
		why = errors.Join(why, serr) // both; else it is the same again
	}
	return x, why, nil
}

// open connects and migrates.
func open(ctx context.Context, home, dsn string) (*Index, error) {
	x := &Index{home: home, postgres: dsn != ""}
	err := x.connect(dsn)
	if err == nil {
		err = x.migrate(ctx)
	}
	if err != nil {
		if x.db != nil {
			err = errors.Join(err, x.db.Close())
		}
		return nil, asDatabaseError(x.name(), err)
	}
	return x, nil
}

func openMemory(ctx context.Context, home string) (*Index, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // each connection would be a database of its own
	x := &Index{home: home, db: db, memory: true}
	if err := x.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return x, nil
}

func (x *Index) connect(dsn string) (err error) {
	if x.postgres {
		cfg, err := pgx.ParseConfig(dsn)
		if err != nil {
			// Not err itself: it quotes what it could not read.
			return errors.New("its DSN cannot be read: want postgres://user@host/database")
		}
		cfg.ConnectTimeout = busy
		x.db = stdlib.OpenDB(*cfg)
		x.db.SetMaxOpenConns(4)
		return nil
	}
	if err := durable.MkdirAll(x.home, 0o700); err != nil {
		return err
	}
	path := DatabaseFile(x.home)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would make it readable by all
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	q := url.Values{"_pragma": {
		"busy_timeout(" + strconv.FormatInt(busy.Milliseconds(), 10) + ")",
		"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
	}, "_txlock": {"immediate"}}
	x.db, err = sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	return err
}

// migrate brings the tables to what this dapple knows. A database that a later
// one has changed is left as it is.
func (x *Index) migrate(ctx context.Context) (err error) {
	p, err := x.provider()
	if err != nil {
		return err
	}
	known := p.ListSources()
	last := known[len(known)-1].Version
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	switch {
	case have > last:
		return fmt.Errorf("%w: it is at version %d, and this dapple knows %d", ErrNewer, have, last)
	case have == last:
		return nil
	}
	if !x.postgres && !x.memory { // PostgreSQL's own lock is goose's
		unlock, err := ChainFile(x.home).lock(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	_, err = p.Up(ctx)
	return err
}

func (x *Index) provider() (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithTableName("dapple_history_version")}
	if !x.postgres {
		return goose.NewProvider(goose.DialectSQLite3, x.db, dir, options...)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, x.db, dir, append(options, goose.WithSessionLocker(locker))...)
}

// Close ends the use of the database.
func (x *Index) Close() error {
	if err := x.db.Close(); err != nil {
		return asDatabaseError(x.name(), err)
	}
	return nil
}

// name is the database as errors name it, without what a DSN may hold of secrets.
func (x *Index) name() string {
	switch {
	case x.memory:
		return "in memory"
	case x.postgres:
		return "PostgreSQL"
	}
	return DatabaseFile(x.home)
}

// runs is where the run directories are.
func (x *Index) runs() string { return filepath.Join(x.home, "runs") }

// q writes a statement's ? as PostgreSQL wants them: $1, $2, …
func (x *Index) q(statement string) string {
	if !x.postgres {
		return statement
	}
	var b strings.Builder
	n := 0
	for _, r := range statement {
		if r == '?' {
			n++
			fmt.Fprintf(&b, "$%d", n)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// in does something in one transaction.
func (x *Index) in(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return asDatabaseError(x.name(), err)
	}
	if err := do(tx); err != nil {
		return asDatabaseError(x.name(), errors.Join(err, tx.Rollback()))
	}
	return asDatabaseError(x.name(), tx.Commit())
}

// hintRebuild is what makes the index again.
func hintRebuild(err error) error {
	return diag.Hint(err, "no record is lost: the run directories are the truth, and `dapple list --rebuild` makes the index again from them")
}
