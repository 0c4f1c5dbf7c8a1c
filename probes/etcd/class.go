package etcd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapple-drills/dapple/probes"
)

// refusals are the codes with which etcd says that it did not do, and will not
// do, what was asked: before it proposed the write to raft (too large, too many,
// not capable, a learner, no leader known and one required), or when each member
// applied it and refused it alike (authentication, permission, no space,
// corrupt). A code alone is not enough: gRPC uses the same ones for its own
// troubles, which prove nothing. So the description must be one of etcd's own,
// which are its protocol (api/v3/v3rpc/rpctypes, error.go) and are sent by the
// server only.
var refusals = map[codes.Code]bool{
	codes.InvalidArgument:    true,
	codes.PermissionDenied:   true,
	codes.Unauthenticated:    true,
	codes.FailedPrecondition: true,
	codes.OutOfRange:         true,
	codes.NotFound:           true,
	codes.ResourceExhausted:  true,
	codes.DataLoss:           true,
}

// classify says what became of a write that ended with err. sent says whether
// its payload was handed to the transport.
func classify(err error, sent bool) (probes.Class, string) {
	if err == nil {
		return probes.Acked, "OK"
	}
	if !sent {
		return probes.Failed, "not sent: " + told(err)
	}
	if isEtcds(err) && (refusals[status.Code(err)] || rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader)) {
		return probes.Failed, told(err)
	}
	// Among these: "request timed out" in all its forms, "leader changed" and
	// "server stopped", each of which may come after the proposal.
	return probes.Unknown, told(err)
}

// isEtcds says whether err is one of etcd's own, word for word.
func isEtcds(err error) bool {
	var e rpctypes.EtcdError
	return errors.As(rpctypes.Error(err), &e)
}

// told is an error without what differs from one to the next, so that equal
// outcomes are equal.
func told(err error) string {
	if isEtcds(err) {
		return status.Code(err).String() + " " + rpctypes.ErrorDesc(err)
	}
	switch code := status.Code(err); code {
	case codes.Unknown:
		return reason(err)
	case codes.Unavailable:
		return code.String() + " connection broke"
	case codes.DeadlineExceeded, codes.Canceled:
		return code.String() + " no reply in time"
	default:
		return code.String()
	}
}

// reason words a failure to connect without addresses and ports.
func reason(err error) string {
	var errno syscall.Errno
	var dns *net.DNSError
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &dns):
		return "name " + dns.Name + ": " + dns.Err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.Is(err, io.EOF):
		return "closed by the other side"
	}
	return err.Error()
}

func parseID(s string) (uint64, error) { return strconv.ParseUint(s, 16, 64) }
func formatID(id uint64) string        { return strconv.FormatUint(id, 16) }
func formatTerm(term uint64) string    { return strconv.FormatUint(term, 10) }
