package selftest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// kind is that of the scripted system.
var kind = probes.Kind{Name: "scripted", Summary: "an in-process system that does what a script says"}

// A system is a world as the probes see it: over its sockets alone. Of the world
// itself it uses one thing, and only to tell it something: what clients were told
// of their writes, which is the truth about acknowledgements.
type system struct {
	addrs map[string]string // by the name of the gate
	told  func(id, probes.Class)
	asked func(request) // of each request to write
	acked func() []id   // for a control that is to be found wrong
}

// A request is one write at a gate, from when it was really begun.
type request struct {
	gate       string
	client     int // of the ledger; nobody: it came to no write
	sent, back time.Time
	class      probes.Class
}

// nobody is the client of a request for a connection that was not had.
const nobody = -1

// dial connects to a gate. What this end closes is reset, so that a thousand
// runs do not leave their connections in TIME_WAIT.
func (s *system) dial(ctx context.Context, gate string) (*session, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.addrs[gate])
	if err != nil {
		return nil, err
	}
	return &session{s: s, c: c, in: bufio.NewReaderSize(c, 512), gate: gate}, nil
}

// A session is one connection.
type session struct {
	s    *system
	c    net.Conn
	in   *bufio.Reader
	gate string
	over bool
	// began is when it was begun to connect, until something was asked.
	began time.Time
}

// ask sends a question and returns the first line of the answer. sent says that
// bytes may have left.
func (x *session) ask(ctx context.Context, question string) (answer string, sent bool, err error) {
	// A deadline in the past ends what is under way, whatever ctx ends of.
	defer context.AfterFunc(ctx, func() { _ = x.c.SetDeadline(time.Unix(1, 0)) })()
	n, err := x.c.Write([]byte(question + "\n"))
	if err == nil {
		answer, err = x.in.ReadString('\n')
	}
	if err != nil {
		x.over = true
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", n > 0, err
	}
	return strings.TrimSuffix(answer, "\n"), true, nil
}

// list asks for a list.
func (x *session) list(ctx context.Context, question string, see func(words []string) error) error {
	line, _, err := x.ask(ctx, question)
	defer context.AfterFunc(ctx, func() { _ = x.c.SetDeadline(time.Unix(1, 0)) })()
	for err == nil && line != endOfList {
		if err = see(strings.Fields(line)); err == nil {
			line, err = x.in.ReadString('\n')
			line = strings.TrimSuffix(line, "\n")
		}
	}
	return err
}

// Put writes w.
func (x *session) Put(ctx context.Context, w probes.Write) probes.Ack {
	sent := x.began
	if sent.IsZero() {
		sent = time.Now()
	}
	x.began = time.Time{}
	a := x.put(ctx, askWrite, w)
	x.s.told(id{w.Client, w.Seq}, a.Class)
	x.s.asked(request{x.gate, w.Client, sent, time.Now(), a.Class})
	return a
}

func (x *session) put(ctx context.Context, question string, w probes.Write) probes.Ack {
	answer, sent, err := x.ask(ctx, fmt.Sprintf("%s %d %d", question, w.Client, w.Seq))
	words := strings.Fields(answer)
	switch {
	case err != nil && !sent:
		return probes.Ack{Class: probes.Failed, Reply: "not sent: " + reason(err)}
	case err != nil:
		return probes.Ack{Class: probes.Unknown, Reply: reason(err)}
	case len(words) == 3 && words[0] == saidOK:
		return probes.Ack{Class: probes.Acked, Node: words[1], Epoch: words[2], Reply: saidOK}
	}
	return probes.Ack{Class: probes.Failed, Reply: answer}
}

// reason is err without addresses, so that equal outcomes are equal.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, io.EOF):
		return "connection closed"
	}
	return err.Error()
}

func (x *session) Broken() bool { return x.over }

func (x *session) Close() error {
	reset(x.c)
	return nil
}

// once asks one question on a connection of its own.
func (s *system) once(ctx context.Context, gate, question string) (string, error) {
	x, err := s.dial(ctx, gate)
	if err != nil {
		return "", err
	}
	answer, _, err := x.ask(ctx, question)
	return answer, errors.Join(err, x.Close())
}

// gateOf is the gate of a node, or of the clients.
func gateOf(n targets.Node) string {
	if n == nil {
		return front
	}
	return n.Name()
}

// Open connects.
func (s *system) Open(ctx context.Context, from probes.Where) (probes.Session, *probes.Ack) {
	began, gate := time.Now(), gateOf(from.Node)
	x, err := s.dial(ctx, gate)
	if err != nil {
		s.asked(request{gate, nobody, began, time.Now(), probes.Failed})
		return nil, &probes.Ack{Class: probes.Failed, Reply: "not connected: " + reason(err)}
	}
	x.began = began
	return x, nil
}

// Role asks the node.
func (s *system) Role(ctx context.Context, n targets.Node) probes.Claim {
	answer, err := s.once(ctx, n.Name(), askRole)
	if err != nil {
		return probes.Claim{Role: probes.Silent, Detail: reason(err)}
	}
	role, epoch, _ := strings.Cut(answer, " ")
	return probes.Claim{Role: probes.Role(role), Epoch: epoch, Detail: answer}
}

// NodeName is the name itself.
func (s *system) NodeName(taker string) string { return taker }

// Close has nothing to close.
func (s *system) Close() error { return nil }

// Prepare has nothing to make, and Clean nothing to remove: the world ends with
// its run.
func (s *system) Prepare(context.Context, string) error { return nil }

// Clean removes nothing.
func (s *system) Clean(context.Context, string) error { return nil }

// Ready writes a barrier and reads it back.
func (s *system) Ready(ctx context.Context, w probes.Write) error {
	x, err := s.dial(ctx, front)
	if err != nil {
		return err
	}
	defer reset(x.c)
	if a := x.put(ctx, askBarrier, w); a.Class != probes.Acked {
		return errors.New(a.Reply)
	}
	found := false
	err = s.IDs(ctx, nil, w.Run, probes.Chunk{Client: w.Client, No: w.Seq >> probes.ChunkBits}, func(seq uint64) { found = found || seq == w.Seq })
	if err == nil && !found {
		err = fmt.Errorf("barrier %d/%d is not there after it was acknowledged", w.Client, w.Seq)
	}
	return err
}

// Digests reads the present history.
func (s *system) Digests(ctx context.Context, n targets.Node, _ string) (all []probes.Digest, err error) {
	x, err := s.dial(ctx, gateOf(n))
	if err != nil {
		return nil, err
	}
	defer reset(x.c)
	err = x.list(ctx, askDigests, func(words []string) error {
		v, err := numbers(words, 6)
		if err == nil {
			all = append(all, probes.Digest{
				Chunk: probes.Chunk{Client: int(v[0]), No: v[1]}, Count: v[2], Min: v[3], Max: v[4], Hash: v[5],
			})
		}
		return err
	})
	return all, err
}

// IDs reads the present history.
func (s *system) IDs(ctx context.Context, n targets.Node, _ string, c probes.Chunk, see func(seq uint64)) error {
	x, err := s.dial(ctx, gateOf(n))
	if err != nil {
		return err
	}
	defer reset(x.c)
	return x.list(ctx, fmt.Sprintf("%s %d %d", askIDs, c.Client, c.No), func(words []string) error {
		v, err := numbers(words, 1)
		if err == nil {
			see(v[0])
		}
		return err
	})
}

func numbers(words []string, n int) ([]uint64, error) {
	if len(words) != n {
		return nil, fmt.Errorf("%q are not %d numbers", words, n)
	}
	v := make([]uint64, n)
	for i, w := range words {
		x, err := strconv.ParseUint(w, 10, 64)
		if err != nil {
			return nil, err
		}
		v[i] = x
	}
	return v, nil
}

// Members asks the control plane.
func (s *system) Members(ctx context.Context) (all []probes.Member, err error) {
	x, err := s.dial(ctx, plane)
	if err != nil {
		return nil, err
	}
	defer reset(x.c)
	err = x.list(ctx, askMembers, func(words []string) error {
		if len(words) != 3 {
			return fmt.Errorf("%q is no member", words)
		}
		all = append(all, probes.Member{Node: words[0], State: words[1], Epoch: words[2], Said: strings.Join(words, " ")})
		return nil
	})
	return all, err
}

// observeEvery is how often the control plane is asked for its leader.
const observeEvery = 25 * time.Millisecond

// Observe polls the control plane, and emits each change of its view.
func (s *system) Observe(ctx context.Context, emit timeline.Emit, ready func()) error {
	x, err := s.dial(ctx, plane)
	if err != nil {
		return err
	}
	defer reset(x.c)
	t := time.NewTicker(observeEvery)
	defer t.Stop()
	var before time.Time // the last look at the view before began then
	view := "none yet"
	for {
		asked := time.Now()
		answer, _, err := x.ask(ctx, askLeader)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ask the scripted control plane: %w", err)
		}
		if answer != view {
			emitView(emit, before, asked, answer)
			ready()
		}
		view, before = answer, asked
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func emitView(emit timeline.Emit, before, asked time.Time, answer string) {
	node, epoch, _ := strings.Cut(answer, " ")
	if node == endOfList {
		node = ""
	}
	if before.IsZero() {
		before = asked
	}
	emit(before, time.Now(), timeline.Event{Kind: timeline.Leader, Node: node, By: plane, Epoch: epoch, Evidence: answer})
}
