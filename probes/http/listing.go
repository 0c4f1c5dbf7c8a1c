package http

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// listFor is how long a whole list of ids is waited for, where the request does not
// say it.
const listFor = time.Minute

// list reads the ids that a place has of a client, as they come in: see is called
// for each that is of the run. A service may list more than was asked for (other
// clients, other runs, items of others): that is not looked at.
func (s *System) list(ctx context.Context, p *place, run string, client int, see func(client int, seq uint64)) error {
	x := s.svc.ids
	if x == nil {
		return errors.New(s.Untold()["loss"])
	}
	ctx, cancel := context.WithTimeout(ctx, orElse(x.timeout, listFor))
	defer cancel()
	e, err := p.endpoint(ctx)
	if err != nil {
		return err
	}
	l, err := connect(ctx, e, fromHere())
	if err != nil {
		return because(ctx, err)
	}
	defer l.close()
	q, err := s.make(ctx, e, x.request, values{Run: run, Client: client, Node: p.nodeName()})
	if err != nil {
		return err
	}
	resp, _, err := l.do(q)
	if err != nil {
		return because(ctx, err)
	}
	defer resp.Body.Close()
	if !good(resp) {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, kept)) // as evidence; the status decides
		return fmt.Errorf("%s answers %s: %w", x.path.whole, said(reply{resp, string(body)}), errStatus)
	}
	return because(ctx, x.read(resp, run, see))
}

// read reads the ids of an answer.
func (x *ids) read(resp *nethttp.Response, run string, see func(client int, seq uint64)) error {
	one := func(id string) {
		if client, seq, ok := parseID(run, id); ok {
			see(client, seq)
		}
	}
	if resp.StatusCode == nethttp.StatusNoContent {
		return nil
	}
	if x.json != nil {
		return x.json.each(resp.Body, one)
	}
	return lines(resp.Body, one)
}

// longestLine is that of an id and what may be around it; a longer one is none of
// ours.
const longestLine = 4096

// lines calls see for each line without the space around it. It keeps one line at
// most.
func lines(r io.Reader, see func(string)) error {
	b := bufio.NewReaderSize(r, longestLine)
	for {
		line, long, err := b.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !long {
			see(strings.TrimSpace(string(line)))
		}
		for long && err == nil {
			_, long, err = b.ReadLine()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

// A digesting collects digests of ids as they come.
type digesting map[probes.Chunk]*probes.Digest

func (d digesting) add(client int, seq uint64) {
	c := probes.Chunk{Client: client, No: seq >> probes.ChunkBits}
	x := d[c]
	if x == nil {
		x = &probes.Digest{Chunk: c, Min: seq, Max: seq}
		d[c] = x
	}
	x.Count++
	x.Min, x.Max = min(x.Min, seq), max(x.Max, seq)
	x.Hash ^= probes.HashID(seq)
}
