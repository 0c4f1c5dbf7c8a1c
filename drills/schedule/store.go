package schedule

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx" of database/sql
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/dapple-drills/dapple/internal/diag"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A Store is the database in which every firing is decided once, and the queue of
// the drills that are to be done: SQLite for one machine, PostgreSQL where several
// share the work.
type Store struct {
	db       *sql.DB
	postgres bool
}

// Open opens the database, and makes its tables: a file, or a URL postgres://….
func Open(ctx context.Context, where string) (*Store, error) {
	s := &Store{postgres: Remote(where)}
	var err error
	if s.postgres {
		s.db, err = sql.Open("pgx", where)
	} else {
		s.db, err = sql.Open("sqlite", sqliteURL(where))
	}
	if err != nil {
		return nil, fmt.Errorf("open the database of the scheduler: %w", err)
	}
	if !s.postgres {
		s.db.SetMaxOpenConns(1) // SQLite has one writer; another connection would only find it busy
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(told(fmt.Errorf("open the database of the scheduler, %s: %w", Shown(where), err)), s.db.Close())
	}
	return s, nil
}

// Remote says whether where is a database server, and not a file.
func Remote(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// sqliteURL has each decision be on the disk before it is acted upon, and writers
// wait for each other.
func sqliteURL(file string) string {
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"}, "_txlock": {"immediate"}}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(file), RawQuery: q.Encode()}).String()
}

// Shown is where the database is, without a password.
func Shown(where string) string {
	if !Remote(where) {
		return where
	}
	if u, err := url.Parse(where); err == nil {
		return u.Redacted()
	}
	return "whose address cannot be read"
}

// told adds what can be done about what databases say.
func told(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "database is locked") || strings.Contains(text, "SQLITE_BUSY"):
		return diag.Hint(err, "another process has held the file for 10 s; a folder on a network disk cannot be used: give --database postgres://…")
	case strings.Contains(text, "disk is full") || strings.Contains(text, "SQLITE_FULL") || strings.Contains(text, "No space left"):
		return diag.Hint(err, "make room on the disk; nothing fires while a decision cannot be written down")
	case strings.Contains(text, "not a database"):
		return diag.Hint(err, "name another file with --database; this one is something else")
	}
	return err
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// driver is what River speaks through.
func (s *Store) driver() riverdriver.Driver[*sql.Tx] {
	if s.postgres {
		return riverdatabasesql.New(s.db)
	}
	return riversqlite.New(s.db)
}

// migrateLock keeps schedulers from making the tables at the same time; any number
// that nobody else uses.
const migrateLock = 0x6461_7070_6c65

// migrate brings the tables to our version, both ours and River's.
func (s *Store) migrate(ctx context.Context) (err error) {
	if s.postgres {
		conn, cerr := s.db.Conn(ctx)
		if cerr != nil {
			return cerr
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrateLock)); err != nil {
			return err
		}
		defer func() {
			_, uerr := conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(migrateLock))
			err = errors.Join(err, uerr)
		}()
	}
	if err := s.migrateOurs(ctx); err != nil {
		return err
	}
	m, err := rivermigrate.New(s.driver(), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (s *Store) migrateOurs(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	if s.postgres {
		dialect = goose.DialectPostgres
	}
	p, err := goose.NewProvider(dialect, s.db, files, goose.WithTableName("dapple_schedule_version"))
	if err != nil {
		return err
	}
	sources := p.ListSources()
	is, err := p.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	if newest := sources[len(sources)-1].Version; is > newest {
		return diag.Hint(fmt.Errorf("its version is %d, and this dapple knows %d", is, newest), "a newer dapple made it: use that one")
	}
	_, err = p.Up(ctx)
	return err
}
