package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// clientPort is etcd's own for clients (IANA, etcd-client).
const clientPort = 2379

// An endpoint is where one member, or a proxy before it, answers clients.
type endpoint struct {
	addr string // host:port
	host string // for the certificate
	tls  bool
	user string
}

// parseEndpoints reads a comma-separated list of URLs, as etcdctl takes it; the
// scheme may be left out.
func parseEndpoints(list string) ([]endpoint, error) {
	var all []endpoint
	for one := range strings.SplitSeq(list, ",") {
		e, err := parseEndpoint(strings.TrimSpace(one))
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

func parseEndpoint(text string) (endpoint, error) {
	const want = `want something like "http://etcd1:2379"`
	if text == "" {
		return endpoint{}, errors.New("an empty endpoint: " + want)
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		var bad *url.Error // quotes the text, which might hold a password
		if errors.As(err, &bad) {
			err = bad.Err
		}
		return endpoint{}, fmt.Errorf("an endpoint that is no URL (%w): %s", err, want)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return endpoint{}, fmt.Errorf("endpoint with scheme %q: %s, or https", u.Scheme, want)
	}
	if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return endpoint{}, fmt.Errorf("endpoint %q: %s", u.Redacted(), want)
	}
	if _, secret := u.User.Password(); secret {
		return endpoint{}, fmt.Errorf("a password stands in the endpoint %q: put it under clients.password", u.Redacted())
	}
	port := u.Port()
	if port == "" {
		port = strconv.Itoa(clientPort)
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return endpoint{}, fmt.Errorf("endpoint %q: %q is no port", u.Redacted(), port)
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return endpoint{}, fmt.Errorf("endpoint %q: no host: %s", u.Redacted(), want)
	}
	return endpoint{
		addr: addr, host: u.Hostname(),
		tls: u.Scheme == "https", user: u.User.Username(),
	}, nil
}

// parseNamed reads node=url,….
func parseNamed(list string) (map[string]endpoint, error) {
	pairs, err := parsePairs(list)
	if err != nil {
		return nil, err
	}
	all := map[string]endpoint{}
	for name, text := range pairs {
		if all[name], err = parseEndpoint(text); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

// parsePairs reads node=value,….
func parsePairs(list string) (map[string]string, error) {
	all := map[string]string{}
	if list == "" {
		return all, nil
	}
	for one := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(one), "=")
		if !ok || name == "" || value == "" {
			return nil, fmt.Errorf("%q: want node=value, such as n1=…", one)
		}
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("node %s is there twice", name)
		}
		all[name] = value
	}
	return all, nil
}

// nodePort is the port at which the nodes themselves answer: as declared, else
// that of the clients' endpoints.
func nodePort(declared string, clients []endpoint) (string, error) {
	if declared != "" {
		if n, err := strconv.ParseUint(declared, 10, 16); err != nil || n == 0 {
			return "", fmt.Errorf("settings.etcd_port: %q is no port: say a number from 1 to 65535", declared)
		}
		return declared, nil
	}
	port := ""
	for _, e := range clients {
		_, p, err := net.SplitHostPort(e.addr)
		if err != nil {
			return "", fmt.Errorf("clients.dsn: %w", err)
		}
		if port != "" && p != port {
			return strconv.Itoa(clientPort), nil // they differ, so they tell nothing
		}
		port = p
	}
	return port, nil
}

// how is how connections are made, besides where to.
type how struct{ tls *tls.Config }

func readTLS(extra map[string]string, clients []endpoint) (how, error) {
	secure := clients[0].tls
	for _, e := range clients {
		if e.tls != secure {
			return how{}, errors.New("clients.dsn mixes http and https: use one")
		}
	}
	if !secure {
		return how{}, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if file := extra["ca"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return how{}, fmt.Errorf("settings.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return how{}, fmt.Errorf("settings.ca: no certificate in %s", file)
		}
	}
	if extra["cert"] != "" || extra["key"] != "" {
		pair, err := tls.LoadX509KeyPair(extra["cert"], extra["key"])
		if err != nil {
			return how{}, fmt.Errorf("settings.cert and settings.key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return how{tls: c}, nil
}
