package history

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/dapple-drills/dapple/internal/diag"
)

// What may be wrong with the database; a *DatabaseError wraps one of them if it
// is known which.
var (
	ErrNewer   = errors.New("a newer dapple has changed its tables")
	ErrLocked  = errors.New("another process keeps it locked")
	ErrFull    = errors.New("there is no room for it")
	ErrCorrupt = errors.New("it is damaged, or no database")
	ErrAway    = errors.New("its server cannot be reached")
)

// A DatabaseError says that the database of the history cannot be used. Nothing
// is lost by it: the run directories and the chain are the truth.
type DatabaseError struct {
	Name string // the file, or "PostgreSQL"
	Err  error
}

func (e *DatabaseError) Error() string {
	return fmt.Sprintf("the database of the history (%s): %v", e.Name, e.Err)
}

// Unwrap gives the reason to errors.Is and errors.As.
func (e *DatabaseError) Unwrap() error { return e.Err }

// asDatabaseError names what is wrong, with what can be done about it; nil stays nil.
func asDatabaseError(name string, err error) error {
	if err == nil {
		return nil
	}
	var already *DatabaseError
	if errors.As(err, &already) {
		return err
	}
	kind := kindOf(err)
	if kind != nil && !errors.Is(err, kind) {
		err = fmt.Errorf("%w: %w", kind, err)
	}
	err = &DatabaseError{name, err}
	switch kind {
	case ErrNewer:
		return diag.Hint(err, "use that dapple; or move the file away and run `dapple list --rebuild`: the run directories are the truth")
	case ErrLocked:
		return diag.Hint(err, "try again when it is free; `dapple list` adds what is missing by then")
	case ErrFull:
		return diag.Hint(err, "make room on its disk; then `dapple list` adds what is missing")
	case ErrAway:
		return diag.Hint(err, "see $DAPPLE_DATABASE; `dapple list` adds what is missing once the server answers")
	}
	return hintRebuild(err)
}

// kindOf is what is wrong, or nil if it is nothing that we know.
func kindOf(err error) error {
	for _, known := range []error{ErrNewer, ErrLocked, ErrFull, ErrCorrupt, ErrAway} {
		if errors.Is(err, known) {
			return known
		}
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff { // the rest says more of the same (https://sqlite.org/rescode.html)
		case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
			return ErrLocked
		case lib.SQLITE_FULL:
			return ErrFull
		case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
			return ErrCorrupt
		}
	}
	var refused *pgconn.ConnectError
	if errors.As(err, &refused) {
		return ErrAway
	}
	var answered *pgconn.PgError
	if errors.As(err, &answered) && answered.Code == "53100" { // disk_full
		return ErrFull
	}
	return nil
}
