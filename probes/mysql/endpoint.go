package mysql

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

// defaultPort is MySQL's own (IANA, mysql).
const defaultPort = "3306"

// An endpoint is how an application finds its primary: by asking several servers, or
// at one address, behind which something else leads to it.
type endpoint struct {
	hosts    []string // host:port, in the order in which they are declared
	user     string
	database string
	tls      string // "", "true", "skip-verify"
}

const wantDSN = `want something like "mysql://app@m1:3306,m2:3306,m3:3306/orders", or one address where something else leads to the primary`

// parseEndpoint reads mysql://user@host[:port][,host[:port]…]/database[?tls=true|skip-verify].
func parseEndpoint(dsn string) (endpoint, error) {
	var e endpoint
	scheme, rest, ok := strings.Cut(dsn, "://")
	if !ok || scheme != "mysql" {
		return e, errors.New(wantDSN)
	}
	rest, query, _ := strings.Cut(rest, "?")
	if err := e.parseQuery(query); err != nil {
		return e, err
	}
	i := strings.LastIndex(rest, "@")
	if i <= 0 {
		return e, fmt.Errorf("the user is missing: %s", wantDSN)
	}
	if strings.Contains(rest[:i], ":") {
		return e, errors.New("a password stands in it: put it under clients.password")
	}
	var err error
	if e.user, err = url.PathUnescape(rest[:i]); err != nil {
		return e, fmt.Errorf("the user: %w", err)
	}
	hosts, database, _ := strings.Cut(rest[i+1:], "/")
	if database == "" {
		return e, fmt.Errorf("the database is missing, in which the ledger's table is made: %s", wantDSN)
	}
	if e.database, err = url.PathUnescape(database); err != nil {
		return e, fmt.Errorf("the database: %w", err)
	}
	for one := range strings.SplitSeq(hosts, ",") {
		addr, err := withPort(strings.TrimSpace(one))
		if err != nil {
			return e, err
		}
		e.hosts = append(e.hosts, addr)
	}
	return e, nil
}

func (e *endpoint) parseQuery(text string) error {
	q, err := url.ParseQuery(text)
	if err != nil {
		return err
	}
	for name, v := range q {
		if name != "tls" || len(v) != 1 || v[0] != "true" && v[0] != "false" && v[0] != "skip-verify" {
			return fmt.Errorf("?%s: it knows tls=true, tls=skip-verify and tls=false", text)
		}
		if v[0] != "false" {
			e.tls = v[0]
		}
	}
	return nil
}

// withPort reads host, host:port, or [address]:port.
func withPort(text string) (string, error) {
	host, port := text, defaultPort
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	} else if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		host = text[1 : len(text)-1]
	} else if strings.Contains(text, ":") {
		return "", fmt.Errorf("%q is no host with a port: %s", text, wantDSN)
	}
	if host == "" || strings.ContainsAny(host, " \t\r\n/@#[]()") {
		return "", fmt.Errorf("%q is no host: %s", text, wantDSN)
	}
	if _, err := readPort(port); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, port), nil
}

func readPort(text string) (string, error) {
	if text == "" {
		return defaultPort, nil
	}
	if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q is no port: say a number from 1 to 65535", text)
	}
	return text, nil
}

// readTLS is how connections are secured; nil is not at all.
func readTLS(ca, how string) (*tls.Config, error) {
	switch {
	case how == "" && ca != "":
		return nil, errors.New("settings.ca: clients.dsn asks for no TLS: add ?tls=true")
	case how == "":
		return nil, nil
	case how == "skip-verify":
		return &tls.Config{InsecureSkipVerify: true}, nil //nolint:gosec // it was asked for
	}
	c := &tls.Config{}
	if ca == "" {
		return c, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("settings.ca: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("settings.ca: there is no certificate in %s", ca)
	}
	return c, nil
}

// forHost asks for the certificate of the host that is dialled.
func forHost(c *tls.Config, addr string) *tls.Config {
	c = c.Clone()
	if host, _, err := net.SplitHostPort(addr); err == nil {
		c.ServerName = host
	}
	return c
}
