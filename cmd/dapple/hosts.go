package main

import (
	"context"
	"errors"
	"net"
	"net/url"

	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/host"
)

// hostNodes makes the nodes of this machine, and asks each that is a service
// whether it can be seen: a unit that is not there is found before anything is
// touched.
func hostNodes(ctx context.Context, hosts []scenarios.HostNode) ([]targets.Node, error) {
	var nodes []targets.Node
	var errs []error
	for _, h := range hosts {
		n, err := host.New(h.Name, hostConfig(h))
		if err == nil {
			if p, ok := n.(targets.Processes); ok {
				_, err = p.Processes(ctx)
			}
		}
		nodes, errs = append(nodes, n), append(errs, err)
	}
	return nodes, errors.Join(errs...)
}

// urlsOf are the nodes' own URLs.
func urlsOf(hosts []scenarios.HostNode) map[string]string {
	urls := map[string]string{}
	for _, h := range hosts {
		if h.URL != "" {
			urls[h.Name] = h.URL
		}
	}
	return urls
}

func hostConfig(h scenarios.HostNode) host.Config {
	c := host.Config{Unit: h.Unit, PIDFile: h.PIDFile, Start: h.Start}
	address, _, err := net.SplitHostPort(h.Addr)
	if u, uerr := url.Parse(h.URL); err != nil && uerr == nil {
		address = u.Hostname()
	}
	if address != "" {
		c.Addresses = []string{address}
	}
	return c
}

func examineHost(ctx context.Context) (string, error) {
	const always = "processes by their pidfile; this machine's own network is never cut"
	says, err := host.Doctor(ctx)
	if err != nil {
		return "", err
	}
	return "units of " + says + "; " + always, nil
}
