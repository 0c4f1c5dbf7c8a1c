package http

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// plainRun is what a run may be called: its name is part of each id.
var plainRun = regexp.MustCompile(`^[0-9A-Za-z_]+$`)

// Prepare has nothing to make; it refuses a run whose ids could not be told from
// another's.
func (s *System) Prepare(_ context.Context, run string) error {
	if !plainRun.MatchString(run) {
		return fmt.Errorf("run %q cannot be part of an id: letters, digits and _ can", run)
	}
	return nil
}

// Clean asks the service to remove what the run wrote, if it is declared how
// (http.clean); else that stays. A 404 says that there is nothing.
func (s *System) Clean(ctx context.Context, run string) error {
	r := s.svc.clean
	if r == nil {
		return nil
	}
	clients := []int{0}
	if r.uses("Client") {
		clients = s.writers(run)
	}
	for _, c := range clients {
		if err := s.remove(ctx, *r, run, c); err != nil {
			return fmt.Errorf("removing what run %s wrote: %w", run, err)
		}
	}
	return nil
}

func (s *System) remove(ctx context.Context, r request, run string, client int) error {
	ctx, cancel := context.WithTimeout(ctx, orElse(r.timeout, cleanFor))
	defer cancel()
	l, err := connect(ctx, s.clients, fromHere())
	if err != nil {
		return because(ctx, err)
	}
	defer l.close()
	q, err := s.make(ctx, s.clients, r, values{Run: run, Client: client})
	if err != nil {
		return err
	}
	resp, _, err := l.do(q)
	if err != nil {
		return because(ctx, err)
	}
	body, err := take(resp.Body)
	if err == nil && !good(resp) && resp.StatusCode != 404 {
		err = fmt.Errorf("%s answers %s: %w", r, said(reply{resp, body}), errStatus)
	}
	return because(ctx, err)
}

// writers are the clients that wrote in a run, as far as this process knows.
func (s *System) writers(run string) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.runs[run]))
}

const (
	// cleanFor bounds one request to remove what a run wrote.
	cleanFor = 10 * time.Second
	// tryFor bounds one attempt of Ready, retryAfter is the pause between two.
	tryFor     = 3 * time.Second
	retryAfter = 50 * time.Millisecond
)

// Ready writes w through the client endpoint and looks for it in the ids there,
// until it is found. A write whose fate is not known may still come: it is looked
// for until tryFor is over before it is written again.
func (s *System) Ready(ctx context.Context, w probes.Write) error {
	if s.svc.ids == nil {
		return errors.New(s.Untold()["loss"])
	}
	b := barrier{s: s, w: w}
	for {
		err := b.try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("writing an id and reading it back: %w: %w", context.Cause(ctx), err)
		case <-time.After(retryAfter):
		}
	}
}

// A barrier is one write that is to be read back.
type barrier struct {
	s     *System
	w     probes.Write
	doubt time.Time // until then it may come without being written again
}

func (b *barrier) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	if !time.Now().Before(b.doubt) {
		if err := b.write(ctx); err != nil {
			return err
		}
	}
	there := false
	err := b.s.list(ctx, b.s.front, b.w.Run, b.w.Client, func(client int, seq uint64) {
		there = there || client == b.w.Client && seq == b.w.Seq
	})
	if err == nil && !there {
		err = fmt.Errorf("the id %s is not among those listed", idOf(b.w.Run, b.w.Client, b.w.Seq))
	}
	return err
}

func (b *barrier) write(ctx context.Context) error {
	x, refused := b.s.Open(ctx, probes.Where{})
	if refused != nil {
		return errors.New(refused.Reply)
	}
	ack := x.Put(ctx, b.w)
	err := x.Close()
	switch ack.Class {
	case probes.Acked, probes.Unknown:
		b.doubt = time.Now().Add(tryFor)
		return err
	}
	return fmt.Errorf("a write through the client endpoint: %s", ack.Reply)
}

// from is where ids are read: at a node as it is, or at the client endpoint.
func (s *System) from(n targets.Node) (*place, error) {
	if n == nil {
		return s.front, nil
	}
	return s.place(n)
}

// Digests reads the ids once for each client that wrote in the run, or once for
// all if the request does not name one. What another process wrote is not known
// here: IDs finds it.
func (s *System) Digests(ctx context.Context, n targets.Node, run string) ([]probes.Digest, error) {
	p, err := s.from(n)
	if err != nil {
		return nil, err
	}
	if s.svc.ids == nil {
		return nil, errors.New(s.Untold()["loss"])
	}
	d := digesting{}
	if !s.svc.ids.uses("Client") {
		err = s.list(ctx, p, run, 0, d.add)
	}
	for _, c := range s.writers(run) {
		if err != nil || !s.svc.ids.uses("Client") {
			break
		}
		err = s.list(ctx, p, run, c, func(client int, seq uint64) {
			if client == c {
				d.add(client, seq)
			}
		})
	}
	if err != nil {
		return nil, fmt.Errorf("reading the ids at %s: %w", p.name, err)
	}
	var all []probes.Digest
	for _, x := range d {
		all = append(all, *x)
	}
	slices.SortFunc(all, func(a, b probes.Digest) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.No, b.No))
	})
	return all, nil
}

// IDs reads the ids of the client again, and gives those of the chunk.
func (s *System) IDs(ctx context.Context, n targets.Node, run string, c probes.Chunk, see func(seq uint64)) error {
	p, err := s.from(n)
	if err != nil {
		return err
	}
	err = s.list(ctx, p, run, c.Client, func(client int, seq uint64) {
		if client == c.Client && seq>>probes.ChunkBits == c.No {
			see(seq)
		}
	})
	if err != nil {
		return fmt.Errorf("reading the ids of client %d at %s: %w", c.Client, p.name, err)
	}
	return nil
}
