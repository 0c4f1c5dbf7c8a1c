// Package health asks each node's declared health URL as a load balancer would,
// so that a check which says healthy while clients fail (false green), or the
// opposite, can be told.
//
// It asks from where dapple runs, on a new connection each time, and follows no
// redirect. It does not know what the answer should be.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

const (
	// Period is how often each node is asked.
	Period = 250 * time.Millisecond
	// Deadline is how long one answer is waited for: as long as HAProxy's and
	// keepalived's checks do by default is seconds, but a check that takes
	// longer than 1 s is red for any load balancer that is set for failover.
	Deadline = time.Second
	// again is how often the address of a node that is red is asked for: a
	// container may have come back with another one.
	again = 2 * time.Second
)

// The values of a Health event.
const (
	Green = "green"
	Red   = "red"
)

type probe struct {
	template string
	nodes    []targets.Node
	client   *http.Client
}

// New makes the probe. The template is http://, https:// or tcp:// (a connection
// that is accepted is green) and holds {node}, which is replaced by the node's
// first own address, or its name if it knows none. Any status from 200 to 399 is
// green, as HAProxy's httpchk has it. Events are by "health/NODE".
func New(template string, nodes []targets.Node) (probes.Probe, error) {
	return newProbe(template, nodes, (&net.Dialer{}).DialContext)
}

type dial func(ctx context.Context, network, addr string) (net.Conn, error)

func newProbe(template string, nodes []targets.Node, d dial) (*probe, error) {
	if !strings.Contains(template, "{node}") && len(nodes) > 1 {
		return nil, fmt.Errorf("health URL %q is the same for all nodes: put {node} where the address goes", template)
	}
	u, err := url.Parse(strings.ReplaceAll(template, "{node}", "node"))
	if err != nil {
		return nil, fmt.Errorf("health URL %q: %w", template, err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "tcp":
		return nil, fmt.Errorf("health URL %q: scheme %q; known are http, https and tcp", template, u.Scheme)
	case u.Scheme == "tcp" && u.Port() == "":
		return nil, fmt.Errorf("health URL %q: no port to connect to; write tcp://{node}:PORT", template)
	case u.Hostname() == "":
		return nil, fmt.Errorf("health URL %q: no host; write %s://{node}:PORT/PATH", template, u.Scheme)
	}
	return &probe{template: template, nodes: nodes, client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: d},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Of makes the probe of a check that the system knows itself.
func Of(c probes.HealthChecker, nodes []targets.Node) probes.Probe {
	return &own{c, nodes}
}

type own struct {
	checker probes.HealthChecker
	nodes   []targets.Node
}

func (p *own) Watch(ctx context.Context, emit timeline.Emit) error {
	var wg sync.WaitGroup
	for _, n := range p.nodes {
		wg.Go(func() {
			poll(ctx, n, timeline.NewStream(emit), func(ctx context.Context) (string, string) {
				ctx, cancel := context.WithTimeout(ctx, Deadline)
				defer cancel()
				ok, said := p.checker.Health(ctx, n)
				if ok {
					return Green, said
				}
				return Red, said
			})
		})
	}
	wg.Wait()
	return nil
}

func (p *probe) Watch(ctx context.Context, emit timeline.Emit) error {
	var wg sync.WaitGroup
	for _, n := range p.nodes {
		wg.Go(func() { p.watch(ctx, n, timeline.NewStream(emit)) })
	}
	wg.Wait()
	return nil
}

func (p *probe) watch(ctx context.Context, n targets.Node, line *timeline.Stream) {
	host, looked := address(ctx, n), time.Now()
	red := false
	poll(ctx, n, line, func(ctx context.Context) (value, said string) {
		if red && time.Since(looked) >= again {
			host, looked = address(ctx, n), time.Now()
		}
		value, said = p.check(ctx, host)
		red = value == Red
		return value, said
	})
}

// poll asks a node's check every Period until ctx ends.
func poll(ctx context.Context, n targets.Node, line *timeline.Stream, check func(context.Context) (value, said string)) {
	defer line.Flush()
	t := time.NewTicker(Period)
	defer t.Stop()
	for {
		asked := time.Now()
		value, said := check(ctx)
		if ctx.Err() != nil {
			return
		}
		line.Add(asked, time.Now(), timeline.Event{
			Kind: timeline.Health, Node: n.Name(), By: "health/" + n.Name(), Value: value, Evidence: said,
		})
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// address is what {node} stands for. A node that cannot tell its address right
// now (it is dead) is asked for by name, which is as red as it should be.
func address(ctx context.Context, n targets.Node) string {
	if a, ok := n.(targets.Addresser); ok {
		ctx, cancel := context.WithTimeout(ctx, Deadline)
		defer cancel()
		if all, err := a.Addresses(ctx); err == nil && len(all) > 0 {
			if strings.Contains(all[0], ":") {
				return "[" + all[0] + "]"
			}
			return all[0]
		}
	}
	return n.Name()
}

func (p *probe) check(ctx context.Context, host string) (value, said string) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	u := strings.ReplaceAll(p.template, "{node}", host)
	if addr, ok := strings.CutPrefix(u, "tcp://"); ok {
		return p.connect(ctx, strings.TrimSuffix(addr, "/"))
	}
	return p.get(ctx, u)
}

func (p *probe) connect(ctx context.Context, addr string) (value, said string) {
	c, err := p.client.Transport.(*http.Transport).DialContext(ctx, "tcp", addr)
	if err != nil {
		return Red, reason(err)
	}
	if err := c.Close(); err != nil {
		return Red, reason(err)
	}
	return Green, "accepted"
}

func (p *probe) get(ctx context.Context, u string) (value, said string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return Red, err.Error()
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return Red, reason(err)
	}
	defer resp.Body.Close()
	// The whole answer belongs to the check, within reason: a server that stops
	// in the middle is not healthy.
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return Red, reason(err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return Red, resp.Status
	}
	return Green, resp.Status
}

// reason is err without addresses and ports, which differ from try to try, so
// that equal outcomes are equal.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %v", Deadline)
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed before the answer was whole"
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}
