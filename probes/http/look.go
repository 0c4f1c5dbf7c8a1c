package http

import (
	"context"
	"fmt"
	nethttp "net/http"
	"strings"
	"time"
)

// lookFor is how long the answer to a look is waited for, where the request does
// not say it.
const lookFor = time.Second

// A reply is a whole answer to a look.
type reply struct {
	resp *nethttp.Response
	body string
}

// look asks a node, on a connection that is kept for looks. One that broke is
// given up: after silence TCP repeats ever more rarely, so a node that is back
// would be seen back long after it is. Since the server may have closed it at any
// time, a question that found it closed is asked again on a new one; a look changes
// nothing.
func (s *System) look(ctx context.Context, p *place, r request) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, orElse(r.timeout, lookFor))
	defer cancel()
	e, err := p.endpoint(ctx)
	if err != nil {
		return reply{}, err
	}
	if l := p.kept(); l != nil {
		if got, err := s.ask(ctx, p, l, e, r); err == nil || ctx.Err() != nil {
			return got, because(ctx, err)
		}
	}
	l, err := connect(ctx, e, fromHere())
	if err != nil {
		return reply{}, because(ctx, err)
	}
	got, err := s.ask(ctx, p, l, e, r)
	return got, because(ctx, err)
}

// ask asks over l, and keeps l if it can be used again.
func (s *System) ask(ctx context.Context, p *place, l *link, e endpoint, r request) (reply, error) {
	q, err := s.make(ctx, e, r, values{Node: p.nodeName()})
	if err != nil {
		l.close()
		return reply{}, err
	}
	resp, _, err := l.do(q)
	if err != nil {
		l.close()
		return reply{}, err
	}
	body, err := take(resp.Body)
	if err != nil || resp.Close {
		l.close()
		return reply{resp, body}, err
	}
	p.keep(l)
	return reply{resp, body}, nil
}

// mostKept is how many connections for looks are kept to a node: role, detect and
// epoch are asked side by side.
const mostKept = 4

// nodeName is what templates see as .Node.
func (p *place) nodeName() string {
	if p.node == nil {
		return ""
	}
	return p.name
}

func (p *place) kept() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		l := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if !l.over() {
			return l
		}
		l.close()
	}
	return nil
}

func (p *place) keep(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= mostKept {
		l.close()
		return
	}
	p.idle = append(p.idle, l)
}

func (p *place) hangUp() {
	for l := p.kept(); l != nil; l = p.kept() {
		l.close()
	}
}

// value is what the answer says, and the answer as evidence.
func (a *answer) value(got reply) (value, evidence string) {
	value = strings.TrimSpace(got.body)
	if a.json != nil {
		value = a.json.first(got.body)
	}
	return value, said(got)
}

// said is an answer in one line.
func said(got reply) string {
	return strings.TrimSuffix(fmt.Sprintf("%s: %s", status(got.resp), clip(got.body)), ": ")
}

// longest is how much of an answer is evidence.
const longest = 120

func clip(body string) string {
	text := strings.ToValidUTF8(strings.Join(strings.Fields(body), " "), "?")
	if r := []rune(text); len(r) > longest {
		return string(r[:longest]) + "…"
	}
	return text
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// anew asks a node on a connection of its own.
func (s *System) anew(ctx context.Context, p *place, r request) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, orElse(r.timeout, lookFor))
	defer cancel()
	e, err := p.endpoint(ctx)
	if err != nil {
		return reply{}, because(ctx, err)
	}
	l, err := connect(ctx, e, fromHere())
	if err != nil {
		return reply{}, because(ctx, err)
	}
	defer l.close()
	q, err := s.make(ctx, e, r, values{Node: p.nodeName()})
	if err != nil {
		return reply{}, err
	}
	resp, _, err := l.do(q)
	if err != nil {
		return reply{}, because(ctx, err)
	}
	body, err := take(resp.Body)
	return reply{resp, body}, because(ctx, err)
}
