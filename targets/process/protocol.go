package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/dapple-drills/dapple/targets"
)

// A request is one JSON value on a connection of its own; a reply is the answer
// to it. The socket's directory is only its owner's, so whoever can connect may
// ask.
type request struct {
	Do   string `json:"do"` // start, stop, state, members, run, socket, shutdown
	Name string `json:"name,omitempty"`
	// For run: beside it come three descriptors, its stdin, stdout and stderr.
	Argv []string `json:"argv,omitempty"`
	Env  []string `json:"env,omitempty"`
	V6   bool     `json:"v6,omitempty"` // for socket

	files []*os.File // to be handed over
}

type reply struct {
	State   targets.State              `json:"state,omitzero"`
	Members []Member                   `json:"members,omitempty"`
	Error   string                     `json:"error,omitempty"`
	Gone    bool                       `json:"gone,omitempty"`   // the error is that there is no such member (any more)
	Code    int                        `json:"code,omitempty"`   // of run
	Places  map[string]json.RawMessage `json:"places,omitempty"` // see Housing

	files []int // that were handed over, for who asked to close
}

// maxMessage bounds a request: no honest one is longer.
const maxMessage = 64 << 10

// ask sends q to the keeper at socket. The error wraps targets.ErrGone if there
// is no keeper any more.
func ask(ctx context.Context, socket string, q request) (reply, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			err = targets.ErrGone
		}
		return reply{}, fmt.Errorf("asking the keeper at %s: %w", socket, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	r, err := exchange(conn, q)
	switch {
	case err == nil:
		return r, r.err()
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		err = fmt.Errorf("it died while it was asked to %s: %w", q.Do, targets.ErrGone)
	}
	return reply{}, fmt.Errorf("asking the keeper at %s: %w", socket, err)
}

func exchange(conn net.Conn, q request) (reply, error) {
	var r reply
	l := &line{conn: conn.(*net.UnixConn)}
	var fds []int
	for _, f := range q.files {
		fds = append(fds, int(f.Fd()))
	}
	if err := l.send(q, fds...); err != nil {
		return r, err
	}
	if err := json.NewDecoder(l).Decode(&r); err != nil {
		l.drop()
		return r, err
	}
	r.files = l.take()
	return r, nil
}

func (r reply) err() error {
	switch {
	case r.Error == "":
		return nil
	case r.Gone:
		return fmt.Errorf("%s: %w", r.Error, targets.ErrGone)
	default:
		return errors.New(r.Error)
	}
}

func replyTo(s targets.State, err error) reply {
	r := reply{State: s}
	if err != nil {
		r.Error, r.Gone = err.Error(), errors.Is(err, targets.ErrGone)
	}
	return r
}
