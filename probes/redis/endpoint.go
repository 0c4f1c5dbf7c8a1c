package redis

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
	"time"
)

// The ports that the programs have if nothing is said (redis.conf, sentinel.conf).
const (
	serverPort   = "6379"
	sentinelPort = "26379"
)

// defaultService is what everybody calls what Sentinels watch, after the sample
// configuration of Redis.
const defaultService = "mymaster"

// An endpoint is how an application finds its primary: by asking Sentinels, or at
// a fixed address, behind which something else leads to it.
type endpoint struct {
	sentinels []string // host:port, in the order in which they are declared
	service   string   // what the Sentinels call what they watch
	fixed     string   // host:port; "" with Sentinels
	db        int
	user      string
	tls       bool
}

const wantDSN = `want something like "redis-sentinel://s1:26379,s2:26379,s3:26379/0#mymaster", or "redis://host:6379/0" where something else leads to the primary`

// parseEndpoint reads
//
//	redis-sentinel://[user@]host[:port][,host[:port]…][/db][#service]
//	redis://[user@]host[:port][/db]
//
// as Lettuce has them; with rediss in place of redis the connections have TLS.
func parseEndpoint(dsn string) (endpoint, error) {
	scheme, rest, ok := strings.Cut(dsn, "://")
	e := endpoint{tls: strings.HasPrefix(scheme, "rediss"), service: defaultService}
	byName := scheme == "redis-sentinel" || scheme == "rediss-sentinel"
	if !ok || !byName && scheme != "redis" && scheme != "rediss" {
		return e, errors.New(wantDSN)
	}
	rest, service, named := strings.Cut(rest, "#")
	if named {
		if !byName {
			return e, fmt.Errorf("#%s names what Sentinels watch, and %s: asks none: %s", service, scheme, wantDSN)
		}
		e.service = service
	}
	if e.service == "" || strings.ContainsAny(e.service, " \t\r\n#") {
		return e, fmt.Errorf("%q is no name of what Sentinels watch: %s", e.service, wantDSN)
	}
	rest, db, there := strings.Cut(rest, "/")
	if there && db != "" {
		n, err := strconv.ParseUint(db, 10, 15)
		if err != nil {
			return e, fmt.Errorf("%q is no number of a database: %s", db, wantDSN)
		}
		e.db = int(n)
	}
	hosts, err := e.parseUser(rest)
	if err != nil {
		return e, err
	}
	return e, e.parseHosts(hosts, byName)
}

func (e *endpoint) parseUser(text string) (hosts string, err error) {
	i := strings.LastIndex(text, "@")
	if i < 0 {
		return text, nil
	}
	if strings.Contains(text[:i], ":") {
		return "", errors.New("a password stands in it: put it under clients.password")
	}
	if e.user, err = url.PathUnescape(text[:i]); err != nil {
		return "", fmt.Errorf("the user: %w", err)
	}
	return text[i+1:], nil
}

func (e *endpoint) parseHosts(hosts string, sentinels bool) error {
	port := serverPort
	if sentinels {
		port = sentinelPort
	}
	for one := range strings.SplitSeq(hosts, ",") {
		addr, err := withPort(strings.TrimSpace(one), port)
		if err != nil {
			return err
		}
		e.sentinels = append(e.sentinels, addr)
	}
	if sentinels {
		return nil
	}
	if len(e.sentinels) > 1 {
		return fmt.Errorf("%d addresses without Sentinels: %s", len(e.sentinels), wantDSN)
	}
	e.fixed, e.sentinels = e.sentinels[0], nil
	return nil
}

// withPort reads host, host:port, or [address]:port.
func withPort(text, port string) (string, error) {
	host := text
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	} else if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		host = text[1 : len(text)-1]
	} else if strings.Contains(text, ":") {
		return "", fmt.Errorf("%q is no host with a port: %s", text, wantDSN)
	}
	if host == "" || strings.ContainsAny(host, " \t\r\n/@#[]") {
		return "", fmt.Errorf("%q is no host: %s", text, wantDSN)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q is no port: say a number from 1 to 65535", port)
	}
	return net.JoinHostPort(host, port), nil
}

// ports are where the nodes themselves answer.
type ports struct{ server, sentinel string }

func readPorts(extra map[string]string) (ports, error) {
	p := ports{server: serverPort, sentinel: sentinelPort}
	for name, into := range map[string]*string{"redis_port": &p.server, "sentinel_port": &p.sentinel} {
		text := extra[name]
		if text == "" || text == "0" {
			continue
		}
		if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
			return p, fmt.Errorf("settings.%s: %q is no port: say a number from 1 to 65535", name, text)
		}
		*into = text
	}
	return p, nil
}

// wait is for how many replicas an application waits after a write, and how long;
// 0 for as long as the write may take.
type wait struct {
	replicas int
	timeout  time.Duration
}

func readWait(extra map[string]string) (w wait, err error) {
	if text := extra["wait"]; text != "" {
		n, err := strconv.ParseUint(text, 10, 8)
		if err != nil {
			return w, fmt.Errorf("settings.wait: %q is no number of replicas: say 0, 1 or more", text)
		}
		w.replicas = int(n)
	}
	if text := extra["wait_timeout"]; text != "" {
		w.timeout, err = time.ParseDuration(text)
		switch {
		case err != nil || w.timeout < time.Millisecond:
			return w, fmt.Errorf("settings.wait_timeout: %q is no duration of at least 1ms: write it as 500ms or 2s", text)
		case w.replicas == 0:
			return w, errors.New("settings.wait_timeout: for how many replicas? Say settings.wait: 1")
		}
	}
	return w, nil
}

func readTLS(extra map[string]string, secure bool) (*tls.Config, error) {
	if !secure {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := extra["ca"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("settings.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("settings.ca: no certificate in %s", file)
		}
	}
	if extra["cert"] != "" || extra["key"] != "" {
		pair, err := tls.LoadX509KeyPair(extra["cert"], extra["key"])
		if err != nil {
			return nil, fmt.Errorf("settings.cert and settings.key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
