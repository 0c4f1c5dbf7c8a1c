package http

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// An endpoint is where requests go: the beginning of a URL.
type endpoint struct {
	base string // scheme, host and the beginning of the path, without a slash at the end
	addr string // host:port
	host string // for the certificate
	tls  bool
	user string
}

func parseEndpoint(text string) (endpoint, error) {
	const want = `write it as "http://10.0.0.1:8080"`
	u, err := url.Parse(text)
	if err != nil {
		var bad *url.Error // quotes the text, which might hold a password
		if errors.As(err, &bad) {
			err = bad.Err
		}
		return endpoint{}, fmt.Errorf("no URL (%w): %s", err, want)
	}
	switch _, secret := u.User.Password(); {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return endpoint{}, fmt.Errorf("%q is no http or https URL: %s", u.Redacted(), want)
	case u.RawQuery != "" || u.Fragment != "":
		return endpoint{}, fmt.Errorf("%q: only the beginning of a URL stands here, the rest in the requests: %s", u.Redacted(), want)
	case secret:
		return endpoint{}, errors.New("a password stands in the URL: put it under clients.password")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	e := endpoint{addr: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), tls: u.Scheme == "https", user: u.User.Username()}
	u.User = nil
	e.base = strings.TrimRight(u.String(), "/")
	return e, nil
}

// A place is what is kept for a node, or for the client endpoint: where it answers.
type place struct {
	name  string
	node  targets.Node // nil: the client endpoint
	fixed *endpoint    // as declared for this node; nil: by the template and the address
	form  string       // the template, with {node}

	mu   sync.Mutex
	addr string
	when time.Time // addr was asked for
	idle []*link   // for looking
}

// addrFor is how long a node's address is believed: one that is started again
// may get another.
const addrFor = 5 * time.Second

// endpoint is where the node itself answers.
func (p *place) endpoint(ctx context.Context) (endpoint, error) {
	if p.fixed != nil {
		return *p.fixed, nil
	}
	p.mu.Lock()
	addr, fresh := p.addr, time.Since(p.when) < addrFor
	p.mu.Unlock()
	if addr == "" || !fresh {
		now, err := p.ask(ctx)
		switch {
		case err == nil:
			addr = now
		case addr == "":
			return endpoint{}, err
		}
		p.mu.Lock()
		p.addr, p.when = addr, time.Now()
		p.mu.Unlock()
	}
	if strings.Contains(addr, ":") {
		addr = "[" + addr + "]"
	}
	return parseEndpoint(strings.ReplaceAll(p.form, "{node}", addr))
}

func (p *place) ask(ctx context.Context) (string, error) {
	a, ok := p.node.(targets.Addresser)
	if !ok {
		return "", fmt.Errorf("where %s answers is not known: it has no url, and no address of its own", p.name)
	}
	all, err := a.Addresses(ctx)
	if err != nil {
		return "", fmt.Errorf("the address of %s: %w", p.name, err)
	}
	if len(all) == 0 {
		return "", fmt.Errorf("%s has no address now", p.name)
	}
	return all[0], nil
}

// inside dials from inside of a node. Names are resolved here: what a node dials
// is a number.
func inside(n targets.Node) (dial, error) {
	d, ok := n.(targets.Dialer)
	if !ok {
		return nil, fmt.Errorf("dialling from inside %s: %w", n.Name(), targets.ErrUnsupported)
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		if net.ParseIP(host) == nil {
			found, err := net.DefaultResolver.LookupHost(ctx, host)
			if err != nil {
				return nil, err
			}
			host = found[0]
		}
		return d.DialContext(ctx, network, net.JoinHostPort(host, port))
	}, nil
}

// make makes a request of r for e.
func (s *System) make(ctx context.Context, e endpoint, r request, v values) (*nethttp.Request, error) {
	path, body, headers, err := r.render(v)
	if err != nil {
		return nil, err
	}
	q, err := nethttp.NewRequestWithContext(ctx, r.method, e.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body == "" {
		q.Body, q.ContentLength = nil, 0
	} else {
		q.Header.Set("Content-Type", contentType(body))
	}
	q.Header.Set("User-Agent", "dapple")
	if s.authorization != "" {
		q.Header.Set("Authorization", s.authorization)
	}
	for _, h := range headers {
		if h[0] == "Host" {
			q.Host = h[1]
			continue
		}
		q.Header.Set(h[0], h[1])
	}
	return q, nil
}

// contentType is what a body that says nothing of itself is taken for.
func contentType(body string) string {
	if b := strings.TrimSpace(body); strings.HasPrefix(b, "{") || strings.HasPrefix(b, "[") {
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// credentials is the header that carries the password: Basic with the user of
// clients.url, else a bearer token.
func credentials(user string, password func() (string, error)) (string, error) {
	if password == nil {
		return "", nil
	}
	secret, err := password()
	if err != nil {
		return "", fmt.Errorf("reading clients.password: %w", err)
	}
	if user == "" {
		return "Bearer " + secret, nil
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret)), nil
}
