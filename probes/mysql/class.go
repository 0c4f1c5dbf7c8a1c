package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/dapple-drills/dapple/probes"
)

// refusals are the error numbers with which a server says that it did not do, or has
// taken back, what was asked (MySQL Server Error Reference). Any other, such as 1053
// (shutdown in progress), 1180 (error during commit) or 1317 (interrupted), may come
// when the server does not know itself.
var refusals = []uint16{
	1040, 1044, 1045, 1049, 1129, 1130, 1203, 1226, // not let in
	1047,                         // not ready
	1062, 1142, 1143, 1146, 1364, // not possible, not allowed
	1021, 1041, 1114, // no room
	1205, 1213, // rolled back: lock wait timeout, deadlock
	1290, 1792, 1836, 3032, // read only, offline
	3098, 3100, 3101, 3231, // the plugin refuses, its hook failed before the commit, it rolled back, it is too large for the group
	3796, 3797, 3798, 3799, // the group's consistency could not be had
}

// elsewhere are the refusals after which an application looks for another server.
var elsewhere = []uint16{1040, 1047, 1290, 1792, 1836, 3032, 3100, 3101, 3797, 3798}

// An outcome is what came back for a write.
type outcome struct {
	sent bool  // a byte of it has left
	rows int64 // that the server says to have written
	err  error // nil if it took it
}

// classify says what became of a write, by the stage that it reached and the number
// of the error. In autocommit an OK comes after the commit, and an error that the
// server returned was rolled back unless it says that it does not know.
func (o outcome) classify() (probes.Class, string) {
	switch n := number(o.err); {
	case o.err == nil && o.rows == 1:
		return probes.Acked, "OK"
	case o.err == nil: // a trigger or a proxy swallowed it
		return probes.Failed, fmt.Sprintf("OK, %d rows", o.rows)
	case slices.Contains(refusals, n):
		return probes.Failed, told(o.err)
	case n != 0:
		return probes.Unknown, told(o.err)
	case !o.sent:
		return probes.Failed, "not sent: " + told(o.err)
	}
	return probes.Unknown, told(o.err)
}

// number is that of an error of the server, or 0.
func number(err error) uint16 {
	var said *mysqldriver.MySQLError
	if errors.As(err, &said) {
		return said.Number
	}
	return 0
}

// told words an error without what differs from one to the next, so that equal
// outcomes are equal.
func told(err error) string {
	var said *mysqldriver.MySQLError
	var errno syscall.Errno
	var dns *net.DNSError
	switch {
	case err == nil:
		return "no reply"
	case errors.As(err, &said):
		return fmt.Sprintf("%d %s", said.Number, unquoted(strings.Join(strings.Fields(said.Message), " ")))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no reply in time"
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &dns):
		return "name " + dns.Name + ": " + dns.Err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, mysqldriver.ErrInvalidConn):
		return errHungUp.Error()
	}
	return err.Error()
}

// unquoted replaces what a message of MySQL quotes: names and values.
func unquoted(s string) string {
	var b strings.Builder
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			part = "'…'"
		}
		b.WriteString(part)
	}
	return b.String()
}
