package redis

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

	redigo "github.com/gomodule/redigo/redis"

	"github.com/dapple-drills/dapple/probes"
)

// refusals are the codes (the first word of an error reply) with which a server
// says that it did not do what was asked. They are checked before a command runs
// (server.c, processCommand). Any other code, such as a plain ERR, may be of
// something between us and the server, and proves nothing.
var refusals = []string{
	"READONLY", "NOREPLICAS", "LOADING", "MASTERDOWN", "MISCONF", "OOM", "CLUSTERDOWN", "MOVED", "ASK",
	"NOAUTH", "NOPERM", "WRONGPASS", "WRONGTYPE", "BUSY", "EXECABORT", "DENIED",
}

// elsewhere are the refusals after which an application asks anew who the primary
// is: this server is none, or none that may serve.
var elsewhere = []string{"READONLY", "NOREPLICAS", "LOADING", "MASTERDOWN"}

// An outcome is what came back for a write.
type outcome struct {
	sent   bool   // a byte of it has left
	said   error  // the server's own word on it; nil if it took it
	took   bool   // the server answered that it did it
	epoch  string // in which reign, if it took it
	waited int64  // how many replicas have it
	asked  int    // how many were waited for
	err    error  // of the connection, or of time: some reply did not come
}

// classify says what became of a write.
func (o outcome) classify() (probes.Class, string) {
	switch {
	case o.said != nil && slices.Contains(refusals, code(o.said)):
		return probes.Failed, told(o.said)
	case o.said != nil:
		return probes.Unknown, told(o.said)
	case o.took && o.err == nil && o.waited >= int64(o.asked):
		return probes.Acked, "OK"
	case o.took && o.err == nil:
		return probes.Degraded, fmt.Sprintf("OK, on %d of %d replicas", o.waited, o.asked)
	case o.took:
		return probes.Unknown, "OK, on no replica in time: " + told(o.err)
	case !o.sent:
		return probes.Failed, "not sent: " + told(o.err)
	}
	return probes.Unknown, told(o.err)
}

// code is the first word of an error reply.
func code(err error) string {
	var said redigo.Error
	if !errors.As(err, &said) {
		return ""
	}
	first, _, _ := strings.Cut(string(said), " ")
	return first
}

// told words an error without what differs from one to the next, so that equal
// outcomes are equal.
func told(err error) string {
	var said redigo.Error
	var errno syscall.Errno
	var dns *net.DNSError
	switch {
	case err == nil:
		return "no reply"
	case errors.As(err, &said):
		return strings.Join(strings.Fields(string(said)), " ")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no reply in time"
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &dns):
		return "name " + dns.Name + ": " + dns.Err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errHungUp.Error()
	}
	return err.Error()
}
