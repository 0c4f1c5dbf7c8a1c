package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dapple-drills/dapple/probes"
)

// oneRow is the tag of an INSERT that inserted its row.
const oneRow = "INSERT 0 1"

// classify tells what became of one INSERT from how far it got.
//
// The reasons, stage by stage:
//
//   - Nothing left: it cannot be there.
//   - ReadyForQuery after CommandComplete and no error: it is committed as the
//     session's settings ask. With a WARNING it is committed, and not as asked
//     (01000: the wait for a synchronous standby was cancelled).
//   - ReadyForQuery after an ERROR: the server has rolled back; in autocommit
//     there is no state between. Codes that mean "the server does not know
//     itself" are excepted.
//   - Everything else, an end of the session by FATAL included, is unknown: it
//     may have come while the server committed.
func (o *outcome) classify() probes.Ack {
	switch {
	case !o.left:
		return probes.Ack{Class: probes.Failed, Reply: "not sent: " + o.reply()}
	case !o.ready:
		return probes.Ack{Class: probes.Unknown, Reply: o.reply()}
	case o.code != "" && inDoubt(o.code):
		return probes.Ack{Class: probes.Unknown, Reply: o.reply()}
	case o.code != "":
		return probes.Ack{Class: probes.Failed, Reply: o.reply()}
	case o.tag != oneRow:
		// A rule or trigger swallowed the row: committed, without it.
		return probes.Ack{Class: probes.Failed, Reply: o.tag}
	case o.warned != "":
		return probes.Ack{Class: probes.Degraded, Reply: oneRow + ", WARNING " + o.warned}
	}
	return probes.Ack{Class: probes.Acked, Reply: oneRow}
}

// inDoubt lists the SQLSTATEs (PostgreSQL manual, appendix A) of class ERROR
// after which a transaction may be there nevertheless: 40003 and 08xxx are
// defined so, and come from proxies; 57P01 to 57P03 are relayed by them from a
// server that ended; 58xxx and XXxxx say that the server is not itself.
func inDoubt(code string) bool {
	switch code {
	case "40003", "57P01", "57P02", "57P03":
		return true
	}
	for _, class := range []string{"08", "58", "XX"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

// reply is what came back, short and without what differs from one equal
// outcome to the next.
func (o *outcome) reply() string {
	var words []string
	if o.rows > 0 && o.code == "" {
		words = append(words, "a row, and no end of the transaction:")
	}
	switch {
	case o.code != "":
		words = append(words, o.code, unquoted(o.text))
	case o.err != nil:
		words = append(words, reason(o.err))
	}
	if o.warned != "" {
		words = append(words, "after WARNING", unquoted(o.warned))
	}
	return strings.Join(words, " ")
}

// unquoted replaces what a message of PostgreSQL quotes: names of relations,
// files and roles, which are not what it is about.
func unquoted(s string) string {
	var b strings.Builder
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 0 {
			b.WriteString(part)
			continue
		}
		b.WriteString(`"…"`)
	}
	return b.String()
}

// reason names what broke a connection, or kept it from being made, without
// addresses.
func reason(err error) string {
	var pg *pgconn.PgError
	var sys syscall.Errno
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &pg):
		return pg.Code + " " + unquoted(pg.Message)
	case errors.Is(err, pgconn.ErrReadOnlyConnection), errors.Is(err, pgconn.ErrStandbyConnection):
		return "no host takes writes"
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no reply in time"
	case errors.As(err, &sys):
		return sys.Error()
	case errors.As(err, &dns):
		return "cannot resolve the host"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no reply in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended"
	case errors.Is(err, net.ErrClosed):
		return "the connection was closed before"
	}
	return err.Error()
}

// answered says whether err, of an attempt to connect, is a server's own reply,
// and its SQLSTATE.
func answered(err error) (code string, ok bool) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code, true
	}
	return "", false
}
