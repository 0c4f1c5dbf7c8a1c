package http

import (
	"context"
	"io"
	nethttp "net/http"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// session is a probes.Session: one connection, to a node or to the client
// endpoint.
type session struct {
	s    *System
	e    endpoint
	node string // "" at the client endpoint
	dial dial
	l    *link

	parted bool // the server announced the end of the connection in its last answer
	broken bool
}

// Open connects. To connect is all: what a server that takes connections does
// with them shows at the first write.
func (s *System) Open(ctx context.Context, from probes.Where) (probes.Session, *probes.Ack) {
	x, err := s.open(ctx, from)
	if err != nil {
		return nil, &probes.Ack{Class: probes.Failed, Reply: "not connected: " + reason(because(ctx, err))}
	}
	return x, nil
}

func (s *System) open(ctx context.Context, from probes.Where) (x *session, err error) {
	x = &session{s: s, e: s.clients, dial: fromHere()}
	if from.Node != nil {
		p, err := s.place(from.Node)
		if err != nil {
			return nil, err
		}
		if x.e, err = p.endpoint(ctx); err != nil {
			return nil, err
		}
		x.node = from.Node.Name()
	}
	if from.Inside {
		if x.dial, err = inside(from.Node); err != nil {
			return nil, err
		}
	}
	x.l, err = connect(ctx, x.e, x.dial)
	return x, err
}

// Put sends one write, once. A server may close a connection after a whole answer:
// at the client endpoint the next write then has a connection of its own, as an
// application's has. On a node that is the end of the session, since who comes anew
// may be treated otherwise; unless the server announced it in its answer
// ("Connection: close", HTTP/1.0): there nobody has a session that lasts.
func (x *session) Put(ctx context.Context, w probes.Write) probes.Ack {
	x.s.tried(w)
	if x.l.over() {
		if ack := x.again(ctx); ack != nil {
			return *ack
		}
	}
	ctx, cancel := x.limit(ctx)
	defer cancel()
	v := values{Run: w.Run, Client: w.Client, Seq: w.Seq, ID: idOf(w.Run, w.Client, w.Seq), Node: x.node}
	q, err := x.s.make(ctx, x.e, x.s.svc.write.request, v)
	if err != nil {
		return probes.Ack{Class: probes.Failed, Reply: "not sent: " + err.Error()}
	}
	ack := x.send(ctx, q)
	if ack.Class == probes.Acked && x.node == "" {
		x.s.marks.note(w, time.Now())
	}
	return ack
}

// limit gives a write the declared time-out, if it has a deadline at all: an old
// session waits for ever, since so long it can be acknowledged.
func (x *session) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok && x.s.svc.write.timeout > 0 {
		return context.WithTimeout(ctx, x.s.svc.write.timeout)
	}
	return ctx, func() {}
}

// again connects anew, or says why not.
func (x *session) again(ctx context.Context) *probes.Ack {
	if x.node != "" && !x.parted {
		x.broken = true
		return &probes.Ack{Class: probes.Failed, Reply: "not sent: " + reason(x.l.conn.why())}
	}
	x.l.close()
	l, err := connect(ctx, x.e, x.dial)
	if err != nil {
		x.broken = true
		return &probes.Ack{Class: probes.Failed, Reply: "not connected: " + reason(because(ctx, err))}
	}
	x.l = l
	return nil
}

// send is the one place where a write leaves. Its class follows from how far it
// came: no byte of it left, or an answer came whole; and from the status of that.
func (x *session) send(ctx context.Context, q *nethttp.Request) probes.Ack {
	resp, sent, err := x.l.do(q)
	if err != nil {
		x.broken = true
		if !sent {
			return probes.Ack{Class: probes.Failed, Reply: "not sent: " + reason(because(ctx, err))}
		}
		return probes.Ack{Class: probes.Unknown, Reply: reason(because(ctx, err))}
	}
	body, err := take(resp.Body)
	if err != nil {
		x.broken = true
		x.l.close()
		return probes.Ack{Class: probes.Unknown, Reply: status(resp) + ", and half an answer: " + reason(because(ctx, err))}
	}
	if x.parted = resp.Close; x.parted {
		x.l.close()
	}
	return x.s.svc.write.class(resp, body)
}

// kept is how much of an answer is kept; the rest is read and dropped.
const kept = 64 << 10

// take reads the whole body: an answer that breaks off is none.
func take(body io.ReadCloser) (begin string, err error) {
	defer body.Close()
	var b strings.Builder
	if _, err := io.CopyN(&b, body, kept); err != nil {
		if err == io.EOF {
			err = nil
		}
		return b.String(), err
	}
	_, err = io.Copy(io.Discard, body)
	return b.String(), err
}

// class is what a whole answer says of a write.
func (w *write) class(resp *nethttp.Response, body string) probes.Ack {
	ack := probes.Ack{Class: probes.Unknown, Reply: status(resp)}
	switch {
	case slices.Contains(w.acked, resp.StatusCode):
		ack.Class = probes.Acked
		ack.Node, ack.Epoch = w.taker.in(resp, body), w.epoch.in(resp, body)
	case slices.Contains(w.refused, resp.StatusCode):
		ack.Class = probes.Failed
	case resp.StatusCode >= 300 && resp.StatusCode <= 399:
		ack.Reply += ", which is not followed"
	}
	return ack
}

// in finds what is told in an answer; "" if it is not there.
func (t *told) in(resp *nethttp.Response, body string) string {
	switch {
	case t == nil:
		return ""
	case t.header != "":
		return strings.TrimSpace(resp.Header.Get(t.header))
	}
	return t.json.first(body)
}

// Broken says that the session is of no more use.
func (x *session) Broken() bool { return x.broken }

// Close hangs up.
func (x *session) Close() error {
	x.l.close()
	return nil
}
