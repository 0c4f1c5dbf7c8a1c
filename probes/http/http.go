// Package http is any service as drills see it that is written and read by URL: a
// team drills its own without writing Go. The system file says in its section
// "http" which requests are a write, the ids of what is there, the role of a node,
// and so on; this package makes them, once each, and reads the answers.
//
// What becomes of a write is told by how far it came and by the status of a whole
// answer: failed if no byte of it left or the status is among those declared as
// refused; acked if it is among those declared as acked; everything else, a reset,
// a time-out, half an answer, a redirect, another status, is unknown. Nothing is
// sent twice: see link.
//
// It knows nothing of the service but the answers: no settings, no history of its
// leaders, no copy's lag but by the ids that it lists. What it cannot tell, Untold
// says. It speaks HTTP/1.1, over TLS where the URL is https, follows no redirect
// and no proxy of the environment, and reads no answer page by page.
package http

import (
	"context"
	"errors"
	"fmt"
	nethttp "net/http"
	"slices"
	"sync"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Kind is a service by its URLs.
var Kind = probes.Kind{
	Name:    "http",
	Summary: "any service by its URLs: the system file says by which requests it is written and read",
	Section: &probes.Section{Params: (*Params)(nil), Check: Check},
	Open: func(_ context.Context, b probes.Binding) (probes.System, error) {
		return Open(b)
	},
}

// A System is one service: its nodes and its client endpoint.
type System struct {
	svc           *service
	clients       endpoint
	authorization string
	places        []*place // of the nodes
	front         *place   // the client endpoint
	checked       bool     // the system file has a health check of its own
	marks         marks
	pace          pace

	mu   sync.Mutex
	runs map[string]map[int]bool // run → the clients that wrote in it
}

var (
	_ probes.System        = (*System)(nil)
	_ probes.Ledger        = (*System)(nil)
	_ probes.Observer      = (*System)(nil)
	_ probes.Membership    = (*System)(nil)
	_ probes.Settings      = (*System)(nil)
	_ probes.Reticent      = (*System)(nil)
	_ probes.HealthChecker = (*System)(nil)
)

// Open reads b. Nothing is asked: a service that is down can be opened.
func Open(b probes.Binding) (*System, error) {
	if b.Section == nil {
		return nil, errors.New("the section http is missing: say by which requests the service is written and read")
	}
	svc, err := compile(b.Section)
	if err != nil {
		return nil, fmt.Errorf("the section http: %w", err)
	}
	if b.Clients.DSN == "" {
		return nil, diag.Hint(errors.New("clients.url is missing"), `say where clients come: clients: {url: "http://127.0.0.1:9000"}`)
	}
	s := &System{svc: svc, checked: b.Health != "", runs: map[string]map[int]bool{}}
	if s.clients, err = parseEndpoint(b.Clients.DSN); err != nil {
		return nil, fmt.Errorf("clients.url: %w", err)
	}
	s.front = &place{name: "clients", fixed: &s.clients}
	if s.authorization, err = credentials(s.clients.user, b.Clients.Password); err != nil {
		return nil, err
	}
	for _, n := range b.Nodes {
		p := &place{name: n.Name(), node: n, form: svc.url}
		if u := b.URLs[n.Name()]; u != "" {
			e, err := parseEndpoint(u)
			if err != nil {
				return nil, fmt.Errorf("the url of node %s: %w", n.Name(), err)
			}
			p.fixed = &e
		} else if svc.url == "" {
			return nil, diag.Hint(fmt.Errorf("where node %s answers is not known", n.Name()), `give it a url, or write http: {url: "http://{node}:8080"}`)
		}
		s.places = append(s.places, p)
	}
	return s, nil
}

// place finds what is kept for n; n need not be one of the nodes of the binding.
func (s *System) place(n targets.Node) (*place, error) {
	for _, p := range s.places {
		if p.name == n.Name() {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%s is not a node of this system", n.Name())
}

// each calls do for every place at once and waits.
func each(places []*place, do func(i int, p *place)) {
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() { do(i, p) })
	}
	wg.Wait()
}

// NodeName maps what an answer calls the taker of a write (write.taker) to the
// node: its name, or where it answers.
func (s *System) NodeName(taker string) string {
	for _, p := range s.places {
		if taker == p.name || p.fixed != nil && (taker == p.fixed.base || taker == p.fixed.addr) {
			return p.name
		}
	}
	return ""
}

// tried remembers that a client wrote in a run: whose ids are to be asked for.
func (s *System) tried(w probes.Write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs[w.Run] == nil {
		s.runs[w.Run] = map[int]bool{}
	}
	s.runs[w.Run][w.Client] = true
}

// Untold says what this service cannot tell, since the requests for it are not
// declared.
func (s *System) Untold() map[string]string {
	u := map[string]string{}
	if s.svc.role == nil {
		u[probes.UntoldRoles] = "http.role is not declared: nobody says who is primary, so there is no dual claim and no promotion to be seen"
	}
	if s.svc.detect == nil {
		u["detection"] = "http.detect is not declared: how the service shows that it knows of a failure is not known"
	}
	if s.svc.health == nil && !s.checked {
		why := "neither http.health nor health is declared"
		u["false_green"], u["false_red"] = why, why
	}
	if s.svc.ids == nil {
		u["loss"] = "http.ids is not declared: which writes are there cannot be asked"
		u["rejoin"], u["redundancy"] = u["loss"], u["loss"]
	}
	return u
}

// Close ends what looks keep open.
func (s *System) Close() error {
	for _, p := range slices.Concat(s.places, []*place{s.front}) {
		p.hangUp()
	}
	return nil
}

// errStatus is wrapped where a node answers, and with another status than one
// from 200 to 299: it is there, and does not say what was asked.
var errStatus = errors.New("another status")

func good(resp *nethttp.Response) bool { return resp.StatusCode >= 200 && resp.StatusCode <= 299 }
